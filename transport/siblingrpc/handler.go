package siblingrpc

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"sync"
	"time"

	"connectrpc.com/connect"
	"connectrpc.com/validate"

	"github.com/holdfastvpn/holdfast/gateway"
	"github.com/holdfastvpn/holdfast/transport"
	"github.com/holdfastvpn/holdfast/transport/internal/wire"
	"github.com/holdfastvpn/holdfast/transport/siblingrpc/internal/pb"
)

// Config is for either end of conversations.
type Config struct {
	// Clock is this machine's; by default a new one. Whoever has several ends gives all
	// of them the same.
	Clock *Clock
	// Now is the time, by default time.Now.
	Now func() time.Time
	// Log is told why a sibling was refused, and what failed here; by default nobody.
	Log *slog.Logger
	// Identify says, to a handler, which gateway asks, by the context of the request.
	// Its error refuses the gateway, as ErrUnknown unless it is another reason of
	// package gateway. By default it is the gateway whose certificate the link has
	// (PeerOf): whoever else has a link is unknown.
	Identify func(context.Context) (gateway.ID, error)
}

func (c *Config) defaults() {
	if c.Clock == nil {
		c.Clock = NewClock(nil)
	}
	if c.Now == nil {
		c.Now = time.Now
	}
	if c.Log == nil {
		c.Log = slog.New(slog.DiscardHandler)
	}
	if c.Identify == nil {
		c.Identify = PeerOf
	}
}

// PeerOf returns the gateway that asks on a link, by its certificate, and ErrUnknown for
// one of another role and for a request that came over no link.
func PeerOf(ctx context.Context) (gateway.ID, error) {
	p, ok := transport.PeerOf(ctx)
	if !ok || p.Identity.Role != transport.Gateway {
		return "", gateway.ErrUnknown
	}
	return gateway.ID(p.Identity.ID), nil
}

// NewHandler serves a Talker to siblings. It returns the path to mount the handler at,
// and the handler, which wants HTTP/2. A conversation ends with its request: links have
// to find out by themselves, with pings, that the other end has gone.
func NewHandler(t gateway.Talker, cfg Config) (string, http.Handler) {
	cfg.defaults()
	h := &handler{talker: t, c: cfg, lags: map[gateway.ID]*lagging{}}
	return pb.NewSiblingServiceHandler(h,
		connect.WithInterceptors(wire.Out(encode), validate.NewInterceptor()),
		connect.WithReadMaxBytes(maxMessage), connect.WithSendMaxBytes(maxMessage),
		connect.WithCompression("gzip", nil, nil), // keys do not get smaller
	)
}

type handler struct {
	talker gateway.Talker
	c      Config

	mu   sync.Mutex
	lags map[gateway.ID]*lagging
}

func (h *handler) lag(id gateway.ID) *lagging {
	h.mu.Lock()
	defer h.mu.Unlock()
	l := h.lags[id]
	if l == nil {
		l = &lagging{}
		h.lags[id] = l
	}
	return l
}

// served is the line of the end that serves.
type served struct {
	s *connect.BidiStream[pb.TalkRequest, pb.TalkResponse]
}

func (l served) send(w *pb.Words) error { return l.s.Send(&pb.TalkResponse{Words: w}) }

func (l served) receive() (*pb.Words, error) {
	m, err := l.s.Receive()
	if errors.Is(err, io.EOF) {
		return nil, errLeft
	}
	if err == nil && m.GetOpen() != nil {
		return nil, fmt.Errorf("%w: a conversation is opened once", ErrInvalid)
	}
	return m.GetWords(), err
}

// Talk serves one conversation.
func (h *handler) Talk(ctx context.Context, s *connect.BidiStream[pb.TalkRequest, pb.TalkResponse]) error {
	first, err := s.Receive()
	if err != nil {
		return err
	}
	id, err := h.c.Identify(ctx)
	if err == nil && id == "" {
		err = gateway.ErrUnknown
	}
	if err != nil {
		h.c.Log.WarnContext(ctx, "sibling refused", "gateway", string(id), "err", err)
		if is := reason(err); is == nil {
			err = gateway.ErrUnknown
		}
		return talkerError{err}
	}
	if first.GetOpen() == nil {
		return fmt.Errorf("%w: a conversation about nothing", ErrInvalid)
	}
	at := gateway.LocationID(first.GetOpen().GetLocation())
	c := &conversation{
		at: at, with: id, talker: h.talker, clock: h.c.Clock, now: h.c.Now, lag: h.lag(id), line: served{s},
	}
	c.init()
	defer c.close()
	c.allow(first.GetWords().GetCredit())
	if err := c.say(&pb.Words{Credit: window}); err != nil {
		return err
	}
	_, why := c.run(ctx) // what still reads ends with the request
	if is := reason(why); is == nil && errors.As(why, new(talkerError)) && ctx.Err() == nil {
		h.c.Log.ErrorContext(ctx, "talking to a sibling failed", "gateway", string(id), "location", string(at), "err", why)
	}
	if why == nil {
		return connect.NewError(connect.CodeUnavailable, errors.New("it ended the conversation"))
	}
	return why
}
