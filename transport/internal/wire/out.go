package wire

import (
	"context"

	"connectrpc.com/connect"
)

// Out is the one place through which the errors of a handler leave: encode makes of
// each, nil too, what the other end is told. It has to be the first interceptor.
func Out(encode func(error) error) connect.Interceptor { return out{encode} }

type out struct{ encode func(error) error }

func (o out) WrapUnary(next connect.UnaryFunc) connect.UnaryFunc {
	return func(ctx context.Context, r connect.AnyRequest) (connect.AnyResponse, error) {
		a, err := next(ctx, r)
		return a, o.encode(err)
	}
}

func (o out) WrapStreamingClient(next connect.StreamingClientFunc) connect.StreamingClientFunc {
	return next
}

func (o out) WrapStreamingHandler(next connect.StreamingHandlerFunc) connect.StreamingHandlerFunc {
	return func(ctx context.Context, c connect.StreamingHandlerConn) error { return o.encode(next(ctx, c)) }
}
