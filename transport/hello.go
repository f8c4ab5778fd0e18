package transport

import (
	"errors"
	"fmt"
	"strings"
	"time"
	"unicode"

	"connectrpc.com/connect"
	"google.golang.org/protobuf/types/known/timestamppb"

	"github.com/holdfastvpn/holdfast/transport/internal/pb"
	"github.com/holdfastvpn/holdfast/transport/internal/wire"
)

// What a Hello is refused with, and what is refused without one.
var (
	// ErrTooOld says that the end that asks has to be upgraded.
	ErrTooOld = errors.New("transport: too old")
	// ErrTooNew says that the end that serves has to be upgraded.
	ErrTooNew = errors.New("transport: too new")
	// ErrHello says that a Hello was missing, came too late, or contradicts the
	// certificate.
	ErrHello = errors.New("transport: no proper hello")
	// ErrRenewOnly says that an expired certificate may be renewed, and nothing else. It
	// is ErrExpired, too.
	ErrRenewOnly = fmt.Errorf("%w, and has to be renewed first", ErrExpired)
)

var words = []wire.Word{ //nolint:gochecknoglobals // a constant
	{Word: "too_old", Is: ErrTooOld, Code: connect.CodeFailedPrecondition},
	{Word: "too_new", Is: ErrTooNew, Code: connect.CodeFailedPrecondition},
	{Word: "hello", Is: ErrHello, Code: connect.CodeFailedPrecondition},
	{Word: "renew_only", Is: ErrRenewOnly, Code: connect.CodePermissionDenied},
	{Word: "replaced", Is: ErrReplaced, Code: connect.CodeAborted},
	{Word: "revoked", Is: ErrRevoked, Code: connect.CodePermissionDenied},
	{Word: "untrusted", Is: ErrUntrusted, Code: connect.CodePermissionDenied},
	{Word: "unlisted", Is: ErrUnlisted, Code: connect.CodePermissionDenied},
}

// maxHello is the size of the largest message about a link.
const maxHello = 128 << 10

func (c *Config) end() *pb.End {
	return &pb.End{
		Identity: c.Holder.Get().Identity().String(), Instance: c.Instance, Software: c.Software,
		Oldest: c.Oldest, Newest: c.Newest, Now: timestamppb.New(c.Now()),
	}
}

// meet makes a Peer of what the other end says of itself and what its certificate
// shows.
func meet(said *pb.End, v Verified, addr string, now time.Time) (Peer, error) {
	if said.GetIdentity() != v.Identity.String() {
		return Peer{}, fmt.Errorf("%w: it says that it is %.300q, and its certificate %s", ErrHello, said.GetIdentity(), v.Identity)
	}
	p := Peer{
		Identity: v.Identity, Instance: clean(said.GetInstance()), Software: clean(said.GetSoftware()),
		RenewOnly: v.Expired, Certificate: v.Certificate, Addr: addr, Since: now,
	}
	if t := said.GetNow(); t != nil {
		p.Skew = t.AsTime().Sub(now)
	}
	return p, nil
}

// expired is err, which is ErrExpired or ErrRenewOnly, about a peer whose certificate is.
func expired(err error, p Peer) error {
	return fmt.Errorf("%w: %s, on %s", err, p.Identity, p.Certificate.NotAfter.UTC().Format(time.RFC3339))
}

// clean takes out what a terminal would obey.
func clean(s string) string {
	return strings.Map(func(r rune) rune {
		if !unicode.IsPrint(r) {
			return '?'
		}
		return r
	}, s)
}

// choose finds the version that a link speaks: the newest that both ends do.
func choose(ours *pb.End, theirs *pb.End) (uint32, error) {
	switch {
	case theirs.GetNewest() < ours.GetOldest():
		return 0, fmt.Errorf("%w: %s (%s) speaks version %d at most, and %s (%s) needs %d: upgrade the former", ErrTooOld,
			theirs.GetIdentity(), clean(theirs.GetSoftware()), theirs.GetNewest(), ours.GetIdentity(), ours.GetSoftware(), ours.GetOldest())
	case theirs.GetOldest() > ours.GetNewest():
		return 0, fmt.Errorf("%w: %s (%s) needs version %d, and %s (%s) speaks %d at most: upgrade the latter first", ErrTooNew,
			theirs.GetIdentity(), clean(theirs.GetSoftware()), theirs.GetOldest(), ours.GetIdentity(), ours.GetSoftware(), ours.GetNewest())
	}
	return min(ours.GetNewest(), theirs.GetNewest()), nil
}

// farewell is why a link ends, for the other end.
func farewell(why error) *pb.HelloResponse {
	g := &pb.Goodbye{Text: "the other end stops"}
	for _, w := range words {
		if errors.Is(why, w.Is) {
			g.Word, g.Text = w.Word, fmt.Sprintf("%.1000s", why.Error())
		}
	}
	return &pb.HelloResponse{Word: &pb.HelloResponse_Goodbye{Goodbye: g}}
}

// heard is farewell, at the other end.
func heard(g *pb.Goodbye) error {
	for _, w := range words {
		if w.Word == g.GetWord() {
			return told{is: w.Is, text: clean(g.GetText())}
		}
	}
	return fmt.Errorf("transport: the other end ended the link: %s", clean(g.GetText()))
}

// told is an error that the other end told us.
type told struct {
	is   error
	text string
}

func (t told) Error() string { return t.text }
func (t told) Unwrap() error { return t.is }
