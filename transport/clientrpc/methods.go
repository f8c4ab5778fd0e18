package clientrpc

import (
	"context"
	"errors"
	"fmt"

	"buf.build/go/protovalidate"
	"google.golang.org/protobuf/proto"

	"github.com/holdfastvpn/holdfast/transport/sealed"
)

// Methods are what a core answers to. The zero value has none. Register all of them
// before it is served: after that it is only read.
type Methods struct {
	all map[string]method
	err error
}

// method answers one request, whose body it reads.
type method func(ctx context.Context, r *sealed.Opened) (proto.Message, error)

// Message is a pointer to a message of the wire.
type Message[T any] interface {
	*T
	proto.Message
}

// Handle registers a method for devices: strangers are refused. The request has been
// checked against its rules (buf.validate), and is f's. An error of f crosses if it is
// one of HandlerConfig.Errors; with ctx, nobody waits any more.
//
// A method that is repeated has to give the same, or the same again: see the package.
// A name that is there already, or has not 1 to sealed.MaxMethod bytes, is an error of
// NewHandler.
func Handle[Q, A any, PQ Message[Q], PA Message[A]](m *Methods, name string, f func(context.Context, sealed.Caller, PQ) (PA, error)) {
	m.add(name, func(ctx context.Context, r *sealed.Opened) (proto.Message, error) {
		if r.Caller.Device == "" {
			return nil, sealed.ErrRefused
		}
		q := PQ(new(Q))
		if err := parse(r.Body, q); err != nil {
			return nil, err
		}
		return f(ctx, r.Caller, q)
	})
}

func (m *Methods) add(name string, f method) {
	if m.all == nil {
		m.all = map[string]method{}
	}
	if _, twice := m.all[name]; twice || name == "" || len(name) > sealed.MaxMethod {
		m.err = errors.Join(m.err, fmt.Errorf("clientrpc: method %.100q: it is there twice, or has not 1 to %d bytes", name, sealed.MaxMethod))
	}
	m.all[name] = f
}

// find returns the method of a name. To a stranger those that there are not look like
// those for devices.
func (m *Methods) find(r *sealed.Opened) method {
	if f := m.all[r.Method]; f != nil {
		return f
	}
	return func(context.Context, *sealed.Opened) (proto.Message, error) {
		if r.Caller.Device == "" {
			return nil, sealed.ErrRefused
		}
		return nil, fmt.Errorf("%w: %.100q: it may be older than this program", ErrMethod, r.Method)
	}
}

// parse reads a message and checks it against its rules.
func parse(b []byte, into proto.Message) error {
	if err := proto.Unmarshal(b, into); err != nil {
		return fmt.Errorf("%w: it is damaged", ErrInvalid)
	}
	if err := protovalidate.Validate(into); err != nil {
		return fmt.Errorf("%w: %w", ErrInvalid, err)
	}
	return nil
}
