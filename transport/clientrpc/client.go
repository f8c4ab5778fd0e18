package clientrpc

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"time"

	"connectrpc.com/connect"
	"connectrpc.com/validate"
	"google.golang.org/protobuf/proto"

	"github.com/holdfastvpn/holdfast/transport/clientrpc/internal/pb"
	"github.com/holdfastvpn/holdfast/transport/sealed"
)

// ClientConfig is for NewClient.
type ClientConfig struct {
	// Deployment is the core's; required.
	Deployment string
	// Identity is the device's; required.
	Identity sealed.Identity
	// Trust are the fingerprints of the core's keys: those of the token, or those that
	// Trusted was told last; required.
	Trust []sealed.Fingerprint
	// Trusted is told, one call at a time, which keys the core has from now on: to be
	// kept. It must not use the Client, and may be nil.
	Trusted func([]sealed.Fingerprint)
	// Errors are those of the core's HandlerConfig.
	Errors []Sentinel
	// Now is the time, by default time.Now. It may be wrong: the core says what it is.
	Now func() time.Time
}

// Client is a device's end, by way of one proxy. It is safe for concurrent use.
type Client struct {
	cfg ClientConfig
	rpc pb.ClientServiceClient

	mu    sync.Mutex
	core  sealed.CorePublic // to seal to; zero: to be asked for
	trust []sealed.Fingerprint
	ahead time.Duration // of the core's clock
	last  time.Time     // that was claimed
}

// NewClient asks the proxy at base, such as https://vpn.example.org. It dials nothing by
// itself.
func NewClient(c connect.HTTPClient, base string, cfg ClientConfig) (*Client, error) {
	switch {
	case cfg.Deployment == "":
		return nil, errors.New("clientrpc: client: Deployment: it is required")
	case cfg.Identity.IsZero():
		return nil, errors.New("clientrpc: client: Identity: it is required")
	case len(cfg.Trust) == 0:
		return nil, errors.New("clientrpc: client: Trust: without a fingerprint no core can be trusted")
	}
	if err := checkSentinels(cfg.Errors); err != nil {
		return nil, err
	}
	if cfg.Now == nil {
		cfg.Now = time.Now
	}
	return &Client{cfg: cfg, trust: slices.Clone(cfg.Trust), rpc: pb.NewClientServiceClient(c, base,
		connect.WithInterceptors(validate.NewInterceptor(validate.WithValidateResponses())),
		connect.WithReadMaxBytes(maxMessage), connect.WithSendMaxBytes(maxMessage),
		connect.WithAcceptCompression("gzip", nil, nil),
	)}, nil
}

// Call asks for a method as the device that Identity is. The error is one of the core's
// (see ClientConfig.Errors and this package), ErrAway, sealed.ErrRefused if the core
// does not know this device, sealed.ErrCore if it is not the right core, or
// sealed.ErrClock if no time suits it.
func Call[Q, A any, PQ Message[Q], PA Message[A]](ctx context.Context, c *Client, name string, q PQ) (PA, error) {
	a := PA(new(A))
	body, err := proto.Marshal(q)
	if err == nil {
		err = c.exchange(ctx, ask{method: name, body: func(sealed.CorePublic) ([]byte, error) { return body, nil }}, a)
	}
	if err != nil {
		return nil, fmt.Errorf("clientrpc: asking for %s: %w", name, err)
	}
	return a, nil
}

// ask is one call.
type ask struct {
	method   string
	stranger bool
	body     func(sealed.CorePublic) ([]byte, error)
}

// tries is how often a call is made: with the key that the core has by now, and twice
// with the time that it told.
const tries = 4

func (c *Client) exchange(ctx context.Context, q ask, into proto.Message) error {
	core, err := c.coreKey(ctx)
	if err != nil {
		return err
	}
	for range tries {
		var answer sealed.Answer
		answer, err = c.once(ctx, core, q)
		switch {
		case err == nil:
			return c.read(answer.Body, into)
		case errors.Is(err, sealed.ErrClock): // with the time to claim, which is claimed next
		case errors.Is(err, sealed.ErrRefused):
			before := core.Fingerprint()
			c.forget(before)
			var kerr error
			if core, kerr = c.coreKey(ctx); kerr != nil || core.Fingerprint() == before {
				return errors.Join(err, kerr)
			}
		default:
			return err
		}
	}
	return err
}

// once seals, sends and opens.
func (c *Client) once(ctx context.Context, core sealed.CorePublic, q ask) (sealed.Answer, error) {
	body, err := q.body(core)
	if err != nil {
		return sealed.Answer{}, err
	}
	envelope, waiting, err := sealed.Seal(sealed.Request{
		Deployment: c.cfg.Deployment, Core: core, Identity: c.cfg.Identity, Stranger: q.stranger,
		At: c.claim(), Method: q.method, Body: body,
	})
	if err != nil {
		return sealed.Answer{}, err
	}
	r, err := c.rpc.Exchange(ctx, &pb.ExchangeRequest{Envelope: envelope})
	if err != nil {
		return sealed.Answer{}, decode(err)
	}
	answer, err := waiting.Open(r.GetEnvelope())
	switch {
	case err == nil:
		c.learn(answer.Keys)
	case errors.Is(err, sealed.ErrClock):
		c.learn(answer.Keys)
		c.adjust(answer.At)
	default: // somebody on the way answered, not the core
		return sealed.Answer{}, fmt.Errorf("%w: what came is not its answer to this request", ErrAway)
	}
	return answer, err
}

// read reads the body of an answer.
func (c *Client) read(body []byte, into proto.Message) error {
	var reply pb.Reply
	if err := parse(body, &reply); err != nil {
		return err
	}
	if f := reply.GetFault(); f != nil {
		return errorOf(c.cfg.Errors, f)
	}
	return parse(reply.GetResult(), into)
}

// coreKey is the newest key of the core that this device trusts; the proxy is asked for
// it once.
func (c *Client) coreKey(ctx context.Context) (sealed.CorePublic, error) {
	c.mu.Lock()
	core := c.core
	c.mu.Unlock()
	if !core.IsZero() {
		return core, nil
	}
	r, err := c.rpc.Key(ctx, &pb.KeyRequest{})
	if err != nil {
		return sealed.CorePublic{}, decode(err)
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, b := range r.GetKeys() {
		p, err := sealed.ParseCorePublic(b)
		if err == nil && slices.Contains(c.trust, p.Fingerprint()) {
			c.core = p
			return p, nil
		}
	}
	return sealed.CorePublic{}, fmt.Errorf("%w: the proxy leads elsewhere, or the core's keys were all replaced while this device was away: enrol again", sealed.ErrCore)
}

// forget has the key asked for again.
func (c *Client) forget(key sealed.Fingerprint) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.core.Fingerprint() == key {
		c.core = sealed.CorePublic{}
	}
}

// learn takes over what the core says of its keys.
func (c *Client) learn(keys []sealed.Fingerprint) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if len(keys) == 0 || slices.Equal(keys, c.trust) {
		return
	}
	c.trust = slices.Clone(keys)
	if c.core.Fingerprint() != keys[0] {
		c.core = sealed.CorePublic{} // there is a newer one
	}
	if c.cfg.Trusted != nil {
		c.cfg.Trusted(slices.Clone(keys))
	}
}

// claim is the time that a request says: always another.
func (c *Client) claim() time.Time {
	c.mu.Lock()
	defer c.mu.Unlock()
	at := c.cfg.Now().Add(c.ahead)
	if !at.After(c.last) {
		at = c.last.Add(1)
	}
	c.last = at
	return at
}

// adjust takes over the time that the core told, for what is claimed, and nothing else.
func (c *Client) adjust(core time.Time) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.ahead = core.Sub(c.cfg.Now())
	c.last = core.Add(-1)
}
