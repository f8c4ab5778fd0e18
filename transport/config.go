package transport

import (
	"context"
	"crypto/rand"
	"crypto/x509"
	"errors"
	"log/slog"
	"net"
	"time"

	"github.com/holdfastvpn/holdfast/transport/internal/h2"
)

// Version is the newest version of what is said on links that this release speaks.
const Version = 1

// Config is for either end of links.
type Config struct {
	// Holder has this end's credentials; required.
	Holder *Holder
	// Roles are those that may be at the other end; required.
	Roles []Role
	// Check is asked about each certificate at its handshake, and twice a second while
	// its link is up; it answers at once, with an error that is ErrRevoked or
	// ErrUnlisted. Nil: nobody is revoked.
	Check func(*x509.Certificate) error

	// Software is the release that runs, for people: "core 1.2.3".
	Software string
	// Instance tells processes with one identity apart. By default it is random.
	Instance string
	// Oldest and Newest are the versions that this end speaks, by default Version.
	Oldest, Newest uint32

	// PingAfter is how long a link may be silent until it is asked whether it lives,
	// and PingAnswer how long that may take; by default 2 s each.
	PingAfter, PingAnswer time.Duration
	// Handshake is how long connecting may take, then TLS, and then the Hello, by
	// default 5 s each.
	Handshake time.Duration
	// Retry is the longest pause between two tries to dial, by default 5 s.
	Retry time.Duration
	// Dialer connects, by default over TCP.
	Dialer func(ctx context.Context, addr string) (net.Conn, error)

	// Relay connects to whoever has the ID, for those who are let in and ask for it; it
	// has to know whom they may reach. There is one such connection at a time for each of
	// them and each ID. Nil: nobody is relayed.
	Relay func(ctx context.Context, id string) (net.Conn, error)

	// Roots is told, on a Client, which roots are trusted now, the newest first, after
	// each welcome and when they change. By default they are not looked at.
	Roots func([]*x509.Certificate)
	// Trace is told what happens.
	Trace Trace
	// Log gets what an operator may want to know; by default nothing is logged.
	Log *slog.Logger
	// Now is the time, by default time.Now.
	Now func() time.Time
}

// Trace is told what happens to links. Each function may be nil, is called from
// several goroutines, and must not block.
type Trace struct {
	// Up says that a link is up.
	Up func(Peer)
	// Down says that a link which was up is not any more, and why; nil if the other
	// end hung up without a word.
	Down func(Peer, error)
	// Failed says that dialling addr has to be done again after a pause, and why.
	Failed func(addr string, why error, pause time.Duration)
	// Refused says that somebody at addr tried to connect to us, and why it did not
	// become a link.
	Refused func(addr string, why error)
}

// Target is whom to dial.
type Target struct {
	// Addr is host and port.
	Addr string
	// Want is who has to be there; zero: anybody in one of Config.Roles.
	Want Identity
	// Relays are those by way of whom to try if Addr does not answer, which needs Want;
	// nil: nobody. It is asked each time. Who relays can neither read nor change what is
	// said, and while it does, Addr is tried each 10 s.
	Relays func() []Target
}

const (
	checkEvery  = 250 * time.Millisecond // on live links, twice a second and to spare
	grace       = 250 * time.Millisecond // for a link's last words
	lived       = 10 * time.Second       // a link that did not live as long counts as a failure
	mostLinks   = 4096                   // that one end accepted
	mostStrange = 64                     // of one listener, at once, that have not shown a certificate
)

func (c *Config) defaults() error {
	if c.Holder == nil || len(c.Roles) == 0 {
		return errors.New("transport: Config: Holder and Roles are required")
	}
	if c.Instance == "" {
		c.Instance = rand.Text()
	}
	if c.Newest == 0 {
		c.Newest = Version
	}
	if c.Oldest == 0 {
		c.Oldest = min(Version, c.Newest)
	}
	if c.Oldest > c.Newest {
		return errors.New("transport: Config: Oldest is newer than Newest")
	}
	def(&c.PingAfter, 2*time.Second)
	def(&c.PingAnswer, 2*time.Second)
	def(&c.Handshake, 5*time.Second)
	def(&c.Retry, 5*time.Second)
	if c.Dialer == nil {
		d := &net.Dialer{KeepAlive: -1} // HTTP/2 pings say more
		c.Dialer = func(ctx context.Context, addr string) (net.Conn, error) { return d.DialContext(ctx, "tcp", addr) }
	}
	if c.Log == nil {
		c.Log = slog.New(slog.DiscardHandler)
	}
	if c.Now == nil {
		c.Now = time.Now
	}
	if c.Trace.Up == nil {
		c.Trace.Up = func(Peer) {}
	}
	if c.Trace.Down == nil {
		c.Trace.Down = func(Peer, error) {}
	}
	if c.Trace.Failed == nil {
		c.Trace.Failed = func(string, error, time.Duration) {}
	}
	if c.Trace.Refused == nil {
		c.Trace.Refused = func(string, error) {}
	}
	return nil
}

func def(d *time.Duration, v time.Duration) {
	if *d <= 0 {
		*d = v
	}
}

func (c *Config) pings() h2.Pings { return h2.Pings{After: c.PingAfter, Answer: c.PingAnswer} }

// policy is whom this end accepts now.
func (c *Config) policy(want Identity) Policy {
	own := c.Holder.Get()
	return Policy{Deployment: own.Identity().Deployment, Roots: own.Roots(), Roles: c.Roles, Want: want, Check: c.Check}
}
