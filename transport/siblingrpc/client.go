package siblingrpc

import (
	"context"
	"errors"
	"fmt"
	"io"

	"connectrpc.com/connect"
	"connectrpc.com/validate"

	"github.com/holdfastvpn/holdfast/gateway"
	"github.com/holdfastvpn/holdfast/transport/siblingrpc/internal/pb"
)

// Client is the end of conversations that asks, on one link. Make one with NewClient for
// each link. It is safe for concurrent use.
type Client struct {
	with gateway.ID
	c    Config
	rpc  pb.SiblingServiceClient
	lag  lagging
}

// NewClient is for talking to the sibling that is served at base, such as
// transport.BaseURL. Who it is, the caller knows from the certificate of the link. It
// wants HTTP/2, and dials nothing by itself. Config.Identify is not used.
func NewClient(c connect.HTTPClient, base string, with gateway.ID, cfg Config) *Client {
	cfg.defaults()
	return &Client{with: with, c: cfg, rpc: pb.NewSiblingServiceClient(c, base,
		connect.WithInterceptors(validate.NewInterceptor(validate.WithValidateResponses())),
		connect.WithReadMaxBytes(maxMessage), connect.WithSendMaxBytes(maxMessage),
		connect.WithAcceptCompression("gzip", nil, nil),
	)}
}

// asked is the line of the end that asks.
type asked struct {
	s *connect.BidiStreamForClientSimple[pb.TalkRequest, pb.TalkResponse]
}

func (l asked) send(w *pb.Words) error {
	err := l.s.Send(&pb.TalkRequest{Words: w})
	if errors.Is(err, io.EOF) {
		return nil // why, receive says
	}
	return err
}

func (l asked) receive() (*pb.Words, error) {
	m, err := l.s.Receive()
	if errors.Is(err, io.EOF) {
		return nil, errLeft
	}
	return m.GetWords(), decode(err)
}

// Talk has t talk with the sibling about a location, once: until ctx ends, which is no
// error, until t ends it, or until the other end does. The error says why: it is one of
// package gateway that either Talker gave, ErrInvalid or ErrTooLarge, ErrLost if the
// link broke or the other end gave no reason, or what t said.
func (c *Client) Talk(ctx context.Context, at gateway.LocationID, t gateway.Talker) error {
	err := c.talk(ctx, at, t)
	if ctx.Err() != nil {
		return nil //nolint:nilerr // that is why it ended
	}
	if err == nil {
		err = errors.New("it was ended here")
	}
	return fmt.Errorf("siblingrpc: talk with %s about location %q: %w", c.with, at, err)
}

func (c *Client) talk(ctx context.Context, at gateway.LocationID, t gateway.Talker) error {
	ctx, cancel := context.WithCancel(ctx)
	s, err := c.rpc.Talk(ctx)
	if err != nil {
		cancel()
		return decode(err)
	}
	// HTTP/2 does not look at the context while it waits for more to send.
	stop := context.AfterFunc(ctx, func() { _ = s.CloseRequest() })
	done := (<-chan struct{})(nil)
	defer func() {
		cancel()
		stop()
		_ = s.CloseRequest()
		_ = s.CloseResponse()
		if done != nil {
			<-done
		}
	}()
	open := &pb.TalkRequest{Open: &pb.Open{Location: string(at)}, Words: &pb.Words{Credit: window}}
	if err := s.Send(open); err != nil && !errors.Is(err, io.EOF) { // why it is EOF, receive says
		return decode(err)
	}
	x := &conversation{at: at, with: c.with, talker: t, clock: c.c.Clock, now: c.c.Now, lag: &c.lag, line: asked{s}}
	x.init()
	done, err = x.run(ctx)
	return decode(err)
}
