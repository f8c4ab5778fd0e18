package adminrpc

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"strings"
	"time"

	"connectrpc.com/connect"
	"connectrpc.com/validate"

	"github.com/holdfastvpn/holdfast/gateway"
	"github.com/holdfastvpn/holdfast/location"
	"github.com/holdfastvpn/holdfast/transport/adminrpc/internal/pb"
	"github.com/holdfastvpn/holdfast/transport/join"
	"github.com/holdfastvpn/holdfast/vpn"
)

// Joining is how machines become gateways, and stop being some. It is safe for
// concurrent use.
type Joining interface {
	// Token makes a token for a gateway that is registered.
	Token(ctx context.Context, r TokenRequest) (join.Token, error)
	// Revoke ends all certificates and tokens of a gateway, on all cores, within
	// a second. Revoking again, or what never joined, is no error.
	Revoke(ctx context.Context, id gateway.ID, reason string) error
}

// TokenRequest is what a Joining makes a token of. Either At or Cores is there.
type TokenRequest struct {
	Gateway   gateway.ID
	Locations []location.ID
	At        string        // where cores dial the machine, host:port
	Cores     []string      // where the machine dials cores
	Lifetime  time.Duration // 0: the default of whoever makes it
}

// Config holds what NewHandler needs.
type Config struct {
	Core *vpn.Core // required, and running
	// Joining makes tokens for gateways; nil: they have to join in another way.
	Joining Joining
	// Tokens are those of requests; nil: only operators on a unix socket are heard.
	Tokens *Tokens
	// Keeping cares for what the core keeps; nil: somebody else does.
	Keeping Keeping
	// Confirm is how long a change waits for gateways to apply it; 0 means 2 s.
	Confirm time.Duration
	// Settle is how long a gateway that is removed has to let go of its locations
	// before its certificates are revoked; 0 means 1 s.
	Settle time.Duration
	// Refresh is how often streams look again, and whether who asked still may;
	// 0 means 1 s.
	Refresh time.Duration
	Log     *slog.Logger // nil discards
}

const (
	maxMessage = 8 << 20 // 10,000 devices to import
	maxAnswer  = 64 << 20
)

// api is what the services have in common.
type api struct{ Config }

// NewHandler serves a core to operators. It fails if Core is missing.
func NewHandler(c Config) (http.Handler, error) {
	if c.Core == nil {
		return nil, errors.New("adminrpc: new handler: Core is missing")
	}
	for _, d := range []struct {
		of  *time.Duration
		def time.Duration
	}{{&c.Confirm, 2 * time.Second}, {&c.Settle, time.Second}, {&c.Refresh, time.Second}} {
		if *d.of < 0 {
			return nil, errors.New("adminrpc: new handler: a duration is negative")
		}
		if *d.of == 0 {
			*d.of = d.def
		}
	}
	if c.Log == nil {
		c.Log = slog.New(slog.DiscardHandler)
	}
	a := &api{c}
	opts := connect.WithHandlerOptions(
		connect.WithReadMaxBytes(maxMessage), connect.WithInterceptors(errorsOut{a.Log}, validate.NewInterceptor()),
		connect.WithRecover(func(ctx context.Context, s connect.Spec, _ http.Header, r any) error {
			a.Log.ErrorContext(ctx, "a request of an operator broke off", "method", s.Procedure, "err", r)
			return connect.NewError(connect.CodeInternal, errInternal)
		}),
	)
	mux := http.NewServeMux()
	mux.Handle(pb.NewLocationServiceHandler(locations{a}, opts))
	mux.Handle(pb.NewDeviceServiceHandler(devices{a}, opts))
	mux.Handle(pb.NewGatewayServiceHandler(gateways{a}, opts))
	mux.Handle(pb.NewOwnerServiceHandler(owners{a}, opts))
	mux.Handle(pb.NewOverviewServiceHandler(overviews{a}, opts))
	mux.Handle(pb.NewEventServiceHandler(events{a}, opts))
	mux.Handle(pb.NewTokenServiceHandler(tokens{a}, opts))
	mux.Handle(pb.NewCoreServiceHandler(cores{a}, opts))
	refuse := connect.NewErrorWriter()
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		ctx, err := a.admit(r)
		if err == nil {
			mux.ServeHTTP(w, r.WithContext(ctx)) //nolint:contextcheck // it is the one of r, with who asks
			return
		}
		w.Header().Set("Connection", "close") // nothing of the body was read
		if _, known := needs[r.URL.Path]; !known {
			http.NotFound(w, r)
			return
		}
		if err := refuse.Write(w, r, encode(r.Context(), a.Log, err)); err != nil {
			a.Log.DebugContext(r.Context(), "a refusal could not be written", "err", err)
		}
	}), nil
}

type guardKey struct{}

// admit decides who asks, and whether they may. The context says who it is.
func (a *api) admit(r *http.Request) (context.Context, error) {
	ctx, method := r.Context(), r.URL.Path
	if name, ok := a.local(r); ok {
		if _, known := needs[method]; !known {
			return ctx, ErrDenied
		}
		return vpn.WithActor(ctx, vpn.Actor{Name: name, From: "unix socket"}), nil
	}
	text, ok := strings.CutPrefix(r.Header.Get("Authorization"), "Bearer ")
	if !ok || a.Tokens == nil {
		return ctx, fmt.Errorf("%w: send the header \"Authorization: Bearer %s…\"", ErrToken, prefix)
	}
	secret, err := ParseSecret(text)
	if err != nil {
		return ctx, err
	}
	check := func(ctx context.Context) (Token, error) {
		t, err := a.Tokens.Check(ctx, secret)
		if err == nil && !t.Role.may(method) {
			err = fmt.Errorf("%w: %q is %s", ErrDenied, t.Name, t.Role)
		}
		return t, err
	}
	t, err := check(ctx)
	if err != nil {
		return ctx, err
	}
	from, _, err := net.SplitHostPort(r.RemoteAddr)
	if err != nil {
		from = "unix socket"
	}
	ctx = context.WithValue(ctx, guardKey{}, func(ctx context.Context) error { _, err := check(ctx); return err })
	return vpn.WithActor(ctx, vpn.Actor{Name: t.Name, From: from}), nil
}

// still says whether who opened a stream may still have it.
func still(ctx context.Context) error {
	if guard, ok := ctx.Value(guardKey{}).(func(context.Context) error); ok {
		return guard(ctx)
	}
	return nil
}

// errorsOut maps every error that leaves, in one place.
type errorsOut struct{ log *slog.Logger }

func (e errorsOut) WrapUnary(next connect.UnaryFunc) connect.UnaryFunc {
	return func(ctx context.Context, req connect.AnyRequest) (connect.AnyResponse, error) {
		res, err := next(ctx, req)
		return res, encode(ctx, e.log, err)
	}
}

func (e errorsOut) WrapStreamingHandler(next connect.StreamingHandlerFunc) connect.StreamingHandlerFunc {
	return func(ctx context.Context, conn connect.StreamingHandlerConn) error {
		return encode(ctx, e.log, next(ctx, conn))
	}
}

func (errorsOut) WrapStreamingClient(next connect.StreamingClientFunc) connect.StreamingClientFunc {
	return next
}

// newID makes an ID: 26 characters of lower-case base32, the first one a letter.
func newID() string { return "t" + strings.ToLower(rand.Text())[:25] }
