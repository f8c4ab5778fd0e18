package clientrpc

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"time"

	"connectrpc.com/connect"
	"connectrpc.com/validate"
	"google.golang.org/protobuf/proto"

	"github.com/holdfastvpn/holdfast/transport/clientrpc/internal/pb"
	"github.com/holdfastvpn/holdfast/transport/internal/wire"
	"github.com/holdfastvpn/holdfast/transport/sealed"
)

// HandlerConfig is for NewHandler.
type HandlerConfig struct {
	// Opener opens requests; required.
	Opener *sealed.Opener
	// Methods answer them; required.
	Methods *Methods
	// Errors are those of the methods that devices are told, with their texts.
	Errors []Sentinel
	// Now is the time, by default time.Now.
	Now func() time.Time
	// Log is told what failed here; by default nobody. Who was refused, the Opener says.
	Log *slog.Logger
}

// maxMessage is more than the largest envelope, or four keys, in bytes.
const maxMessage = sealed.MaxRequest + 1024

// NewHandler serves devices, whoever relays what they say. It returns the path to mount
// the handler at, and the handler.
func NewHandler(cfg HandlerConfig) (string, http.Handler, error) {
	if cfg.Opener == nil || cfg.Methods == nil {
		return "", nil, errors.New("clientrpc: handler: Opener and Methods are required")
	}
	if err := errors.Join(cfg.Methods.err, checkSentinels(cfg.Errors)); err != nil {
		return "", nil, err
	}
	if cfg.Now == nil {
		cfg.Now = time.Now
	}
	if cfg.Log == nil {
		cfg.Log = slog.New(slog.DiscardHandler)
	}
	path, h := pb.NewClientServiceHandler(&handler{cfg},
		connect.WithInterceptors(wire.Out(encode), validate.NewInterceptor()),
		connect.WithReadMaxBytes(maxMessage), connect.WithSendMaxBytes(maxMessage),
		connect.WithCompression("gzip", nil, nil), // what is sealed does not get smaller
	)
	return path, h, nil
}

type handler struct{ cfg HandlerConfig }

// Key is pb.ClientServiceHandler.
func (h *handler) Key(context.Context, *pb.KeyRequest) (*pb.KeyResponse, error) {
	r := &pb.KeyResponse{}
	for _, k := range h.cfg.Opener.Keys() {
		r.Keys = append(r.Keys, k.Bytes())
	}
	return r, nil
}

// Exchange is pb.ClientServiceHandler.
func (h *handler) Exchange(ctx context.Context, q *pb.ExchangeRequest) (*pb.ExchangeResponse, error) {
	opened, err := h.cfg.Opener.Open(ctx, h.cfg.Now(), q.GetEnvelope())
	if clock, ok := errors.AsType[*sealed.ClockError](err); ok {
		return &pb.ExchangeResponse{Envelope: clock.Answer}, nil
	}
	if err != nil {
		if errors.Is(err, sealed.ErrBusy) {
			h.cfg.Log.WarnContext(ctx, "a device cannot be looked up", "err", err)
		}
		return nil, err
	}
	body, err := h.answer(ctx, opened)
	if err != nil {
		return nil, err
	}
	envelope, err := opened.Seal(h.cfg.Now(), body)
	return &pb.ExchangeResponse{Envelope: envelope}, err
}

// answer carries a request out. Its error is for the outside.
func (h *handler) answer(ctx context.Context, r *sealed.Opened) ([]byte, error) {
	out, err := h.cfg.Methods.find(r)(ctx, r)
	if errors.Is(err, sealed.ErrRefused) {
		return nil, err
	}
	if err == nil {
		result, merr := proto.Marshal(out)
		body, rerr := proto.Marshal(&pb.Reply{Result: result})
		if err = errors.Join(merr, rerr); err == nil && len(body) <= sealed.MaxBody {
			return body, nil
		}
		err = errors.Join(err, fmt.Errorf("the answer has %d bytes, more than %d or none that can be sent", len(body), sealed.MaxBody))
	}
	fault, known := faultOf(h.cfg.Errors, err)
	if !known {
		if why := ctx.Err(); why != nil {
			return nil, connect.NewError(connect.CodeDeadlineExceeded, why)
		}
		h.cfg.Log.ErrorContext(ctx, "a request of a device failed", "device", r.Caller.Device, "method", r.Method, "err", err)
	}
	return proto.Marshal(&pb.Reply{Fault: fault})
}
