package gatewayrpc

import (
	"context"
	"errors"
	"fmt"
	"io"
	"iter"
	"time"

	"connectrpc.com/connect"
	"connectrpc.com/validate"

	"github.com/holdfastvpn/holdfast/gateway"
	"github.com/holdfastvpn/holdfast/transport/gatewayrpc/internal/pb"
)

// ClientConfig is for NewClient.
type ClientConfig struct {
	// Clock is this machine's; by default a new one. Whoever makes several clients
	// gives all of them the same.
	Clock *Clock
	// Now is the time, by default time.Now.
	Now func() time.Time
}

// NewClient returns a control plane that asks, over c, the one that is served at base,
// such as "https://core". It wants HTTP/2, and dials nothing by itself. Errors that
// are no reason of package gateway, no end of a context and not ErrInvalid or
// ErrTooLarge are ErrLost, or what the other end said.
func NewClient(c connect.HTTPClient, base string, cfg ClientConfig) gateway.ControlPlane {
	if cfg.Clock == nil {
		cfg.Clock = NewClock(nil)
	}
	if cfg.Now == nil {
		cfg.Now = time.Now
	}
	return &client{c: cfg, rpc: pb.NewGatewayServiceClient(c, base,
		connect.WithInterceptors(validate.NewInterceptor(validate.WithValidateResponses())),
		connect.WithReadMaxBytes(maxMessage), connect.WithSendMaxBytes(maxMessage),
		connect.WithAcceptCompression("gzip", nil, nil),
	)}
}

type client struct {
	c   ClientConfig
	rpc pb.GatewayServiceClient
}

var errEnded = fmt.Errorf("%w: the stream ended without a reason", ErrLost)

// because is why a call failed.
func because(ctx context.Context, call string, at gateway.LocationID, err error) error {
	err = decode(err)
	if errors.Is(err, io.EOF) {
		err = errEnded
	}
	if why := ctx.Err(); why != nil {
		err = why
	}
	if at == "" {
		return fmt.Errorf("gatewayrpc: %s: %w", call, err)
	}
	return fmt.Errorf("gatewayrpc: %s location %q: %w", call, at, err)
}

// Assigned implements gateway.ControlPlane.
func (c *client) Assigned(ctx context.Context, id gateway.ID) iter.Seq2[[]gateway.Assignment, error] {
	return func(yield func([]gateway.Assignment, error) bool) {
		inner, cancel := context.WithCancel(ctx)
		defer cancel()
		s, err := c.rpc.Assigned(inner, &pb.AssignedRequest{Gateway: string(id)})
		if err == nil {
			defer s.Close() //nolint:errcheck // there is nothing left to hear
			defer cancel()
			var j assigned
			for err == nil && s.Receive() {
				var whole bool
				if whole, err = j.add(s.Msg()); whole && !yield(j.list, nil) {
					return
				}
			}
			if err == nil {
				err = s.Err()
			}
			if err == nil {
				err = errEnded
			}
		}
		if ctx.Err() == nil {
			yield(nil, because(ctx, "assigned", "", err))
		}
	}
}

// Watch implements gateway.ControlPlane.
func (c *client) Watch(ctx context.Context, id gateway.ID, at gateway.LocationID, have gateway.Revision,
) iter.Seq2[gateway.Update, error] {
	return func(yield func(gateway.Update, error) bool) {
		inner, cancel := context.WithCancel(ctx)
		defer cancel()
		left, err := c.watch(inner, id, at, have, func(u gateway.Update) bool { return yield(u, nil) })
		if !left && ctx.Err() == nil {
			yield(gateway.Update{}, because(ctx, "watch", at, err))
		}
	}
}

// watch tells updates until the stream ends, or tell says that the reader has left.
func (c *client) watch(ctx context.Context, id gateway.ID, at gateway.LocationID, have gateway.Revision,
	tell func(gateway.Update) bool,
) (left bool, _ error) {
	ctx, cancel := context.WithCancel(ctx)
	sent, name := c.c.Clock.Now(), c.c.Clock.Name()
	s, err := c.rpc.Watch(ctx)
	if err != nil {
		cancel()
		return false, err
	}
	// HTTP/2 does not look at the context while it waits for more to send.
	stop := context.AfterFunc(ctx, func() { _ = s.CloseRequest() })
	defer func() {
		cancel()
		stop()
		_ = s.CloseRequest()
		_ = s.CloseResponse()
	}()
	ask := &pb.WatchRequest{
		Open: &pb.Open{
			Gateway: string(id), Location: string(at), Have: toRevision(have),
			Clock: name[:], Sent: uint64(sent / time.Microsecond),
		},
		Credit: window,
	}
	for {
		if err := s.Send(ask); err != nil && !errors.Is(err, io.EOF) { // why it is EOF, Receive says
			return false, err
		}
		var j updates
		for whole := false; !whole; {
			m, err := s.Receive()
			if err == nil {
				whole, err = j.add(m)
			}
			if err != nil {
				return false, err
			}
		}
		if !tell(j.u) {
			return true, nil
		}
		ask = &pb.WatchRequest{Credit: 1}
	}
}

// Report implements gateway.ControlPlane.
func (c *client) Report(ctx context.Context, id gateway.ID, at gateway.LocationID, s gateway.Status) error {
	if err := c.report(ctx, id, at, s); err != nil {
		return because(ctx, "report", at, err)
	}
	return nil
}

func (c *client) report(ctx context.Context, id gateway.ID, at gateway.LocationID, s gateway.Status) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	out, err := c.rpc.Report(ctx)
	if err != nil {
		return err
	}
	name := c.c.Clock.Name()
	who := &pb.Reporter{Gateway: string(id), Location: string(at), Clock: name[:]}
	now, sent := c.c.Now(), c.c.Clock.Now()
	for m := range statusParts(s, now) {
		if who != nil {
			who.Sent = uint64(sent / time.Microsecond)
			m.Reporter, who = who, nil
		}
		if err := out.Send(m); errors.Is(err, io.EOF) {
			break // CloseAndReceive says why
		} else if err != nil {
			return err
		}
	}
	_, err = out.CloseAndReceive()
	return err
}
