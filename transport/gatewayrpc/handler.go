package gatewayrpc

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"time"

	"connectrpc.com/connect"
	"connectrpc.com/validate"

	"github.com/holdfastvpn/holdfast/gateway"
	"github.com/holdfastvpn/holdfast/transport/gatewayrpc/internal/pb"
	"github.com/holdfastvpn/holdfast/transport/internal/wire"
)

// HandlerConfig is for NewHandler.
type HandlerConfig struct {
	// Identify says which gateway asks, by the context of the request: by its
	// certificate. Its error refuses the gateway, as ErrUnknown unless it is another
	// reason of package gateway. Nil refuses everybody.
	Identify func(context.Context) (gateway.ID, error)
	// Clock is this machine's; by default a new one.
	Clock *Clock
	// Now is the time, by default time.Now.
	Now func() time.Time
	// Log is told why a gateway was refused, and what failed here; by default nobody.
	Log *slog.Logger
}

// NewHandler serves a control plane. It returns the path to mount the handler at, and
// the handler, which wants HTTP/2. A stream ends with its request: connections have to
// find out by themselves, with pings, that the other end has gone.
func NewHandler(plane gateway.ControlPlane, cfg HandlerConfig) (string, http.Handler) {
	if cfg.Clock == nil {
		cfg.Clock = NewClock(nil)
	}
	if cfg.Now == nil {
		cfg.Now = time.Now
	}
	if cfg.Log == nil {
		cfg.Log = slog.New(slog.DiscardHandler)
	}
	h := &handler{plane: plane, c: cfg}
	return pb.NewGatewayServiceHandler(h,
		connect.WithInterceptors(wire.Out(encode), validate.NewInterceptor()),
		connect.WithReadMaxBytes(maxMessage), connect.WithSendMaxBytes(maxMessage),
		connect.WithCompression("gzip", nil, nil), // keys do not get smaller
	)
}

type handler struct {
	plane gateway.ControlPlane
	c     HandlerConfig
	lags  lags

	openings openings
}

// who returns the gateway that asks, if it says the same of itself.
func (h *handler) who(ctx context.Context, claimed string) (gateway.ID, error) {
	err := errors.New("gatewayrpc: HandlerConfig.Identify is missing")
	var id gateway.ID
	if h.c.Identify != nil {
		id, err = h.c.Identify(ctx)
	}
	if err == nil && (id == "" || string(id) != claimed) {
		err = fmt.Errorf("gatewayrpc: gateway %q says that it is %q", id, claimed)
	}
	if err == nil {
		return id, nil
	}
	h.c.Log.WarnContext(ctx, "gateway refused", "gateway", string(id), "err", err)
	if _, known := reasonOf(err); !known {
		err = gateway.ErrUnknown
	}
	return "", planeError{err}
}

// fail takes an error of the control plane, and logs what the other end is not told.
func (h *handler) fail(ctx context.Context, call string, id gateway.ID, at string, err error) error {
	if _, known := reasonOf(err); !known && ctx.Err() == nil {
		h.c.Log.ErrorContext(ctx, "control plane failed", "call", call, "gateway", string(id), "location", at, "err", err)
	}
	return planeError{err}
}

// ended is how a stream ends that the plane ended without a reason: it stops, or the
// request has ended.
func ended() error {
	return connect.NewError(connect.CodeUnavailable, errors.New("the control plane ended the stream"))
}

// Assigned serves one stream of assignments.
func (h *handler) Assigned(ctx context.Context, r *pb.AssignedRequest, out *connect.ServerStream[pb.AssignedResponse]) error {
	id, err := h.who(ctx, r.GetGateway())
	if err != nil {
		return err
	}
	for list, err := range h.plane.Assigned(ctx, id) {
		if err != nil {
			return h.fail(ctx, "assigned", id, "", err)
		}
		for m := range assignedParts(list) {
			if err := out.Send(m); err != nil {
				return err
			}
		}
	}
	return ended()
}

// Watch serves one watch.
func (h *handler) Watch(ctx context.Context, s *connect.BidiStream[pb.WatchRequest, pb.WatchResponse]) error {
	first, err := s.Receive()
	if err != nil {
		return err
	}
	open := first.GetOpen()
	id, err := h.who(ctx, open.GetGateway())
	if err != nil {
		return err
	}
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	c := newCredit(first.GetCredit())
	go func() { // ends with the request, at the latest
		defer cancel()
		for {
			m, err := s.Receive()
			if err != nil {
				return
			}
			c.add(m.GetCredit())
		}
	}()
	if !c.take(ctx) {
		return ended()
	}
	at := open.GetLocation()
	end, newest := h.openings.begin(seat{id, at}, open)
	defer end()
	if !newest {
		return gateway.ErrReplaced
	}
	for u, err := range h.plane.Watch(ctx, id, gateway.LocationID(at), fromRevision(open.GetHave())) {
		if err == nil {
			err = sendUpdate(s, u)
		} else {
			err = h.fail(ctx, "watch", id, at, err)
		}
		if err != nil {
			return err
		}
		if !c.take(ctx) {
			break
		}
	}
	return ended()
}

func sendUpdate(s *connect.BidiStream[pb.WatchRequest, pb.WatchResponse], u gateway.Update) error {
	for m, err := range updateParts(u) {
		if err == nil {
			err = s.Send(m)
		}
		if err != nil {
			return err
		}
	}
	return nil
}

// Report takes one report.
func (h *handler) Report(ctx context.Context, in *connect.ClientStream[pb.ReportRequest]) (*pb.ReportResponse, error) {
	var j statuses
	var id gateway.ID
	var r *pb.Reporter
	for in.Receive() {
		m := in.Msg()
		if r == nil {
			r = m.GetReporter()
			var err error
			if id, err = h.who(ctx, r.GetGateway()); err != nil {
				return nil, err
			}
			lag, late := h.lags.observe(id, r, h.c.Clock.Now())
			if late {
				return nil, connect.NewError(connect.CodeAborted, errors.New("a later report came before this one"))
			}
			j.begin(h.c.Now().Add(-lag))
		}
		whole, err := j.add(m)
		if err != nil {
			return nil, err
		}
		if !whole {
			continue
		}
		at := r.GetLocation()
		if err := h.plane.Report(ctx, id, gateway.LocationID(at), j.s); err != nil {
			return nil, h.fail(ctx, "report", id, at, err)
		}
		h.lags.accepted(id, r)
		return &pb.ReportResponse{}, nil
	}
	if err := in.Err(); err != nil {
		return nil, err
	}
	return nil, fmt.Errorf("%w: a report broke off: %w", ErrInvalid, io.ErrUnexpectedEOF)
}
