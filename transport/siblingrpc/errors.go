package siblingrpc

import (
	"errors"
	"fmt"

	"buf.build/go/protovalidate"
	"connectrpc.com/connect"

	"github.com/holdfastvpn/holdfast/gateway"
	"github.com/holdfastvpn/holdfast/transport/internal/wire"
)

// ErrLost says that the link broke, or that there is none, or that the other end ended
// the conversation without a reason. Begin another one.
var ErrLost = errors.New("siblingrpc: the conversation broke off")

// ErrInvalid says that the other end said something that makes no sense.
var ErrInvalid = errors.New("siblingrpc: not a valid message")

// ErrTooLarge says that a note is larger than any that makes sense.
var ErrTooLarge = errors.New("siblingrpc: too large")

var words = []wire.Word{ //nolint:gochecknoglobals // a constant
	{Word: "unknown", Is: gateway.ErrUnknown, Code: connect.CodePermissionDenied},
	{Word: "revoked", Is: gateway.ErrRevoked, Code: connect.CodePermissionDenied},
	{Word: "replaced", Is: gateway.ErrReplaced, Code: connect.CodeAborted},
	{Word: "invalid", Is: ErrInvalid, Code: connect.CodeInvalidArgument},
	{Word: "too_large", Is: ErrTooLarge, Code: connect.CodeResourceExhausted},
}

var errSibling = errors.New("siblingrpc: the other end has a problem of its own; its log says which")

// talkerError is from a Talker: its text stays here.
type talkerError struct{ error }

func (e talkerError) Unwrap() error { return e.error }

// reason is the error of the contract that err is; nil if it is none.
func reason(err error) error {
	for _, w := range words {
		if errors.Is(err, w.Is) {
			return w.Is
		}
	}
	return nil
}

// encode makes of an error what the other end is told.
func encode(err error) error {
	if err == nil {
		return nil
	}
	if is := reason(err); is != nil {
		return wire.Encode(words, is)
	}
	if ce, ok := errors.AsType[*connect.Error](err); ok && !errors.As(err, new(talkerError)) {
		return ce // of this package's own machinery: names fields and sizes
	}
	return connect.NewError(connect.CodeInternal, errSibling)
}

// decode makes of the error of a stream what it was at the other end.
func decode(err error) error {
	ce, ok := errors.AsType[*connect.Error](err)
	switch {
	case !ok:
		return err
	case errors.As(err, new(*protovalidate.ValidationError)):
		return fmt.Errorf("%w: %w", ErrInvalid, err)
	}
	if is := reason(wire.Decode(words, err)); is != nil {
		return is
	}
	switch ce.Code() { //nolint:exhaustive // all others say that trying again does not help
	case connect.CodeUnavailable, connect.CodeUnknown, connect.CodeCanceled, connect.CodeDeadlineExceeded,
		connect.CodeAborted, connect.CodeDataLoss:
		return fmt.Errorf("%w: %.300s", ErrLost, ce.Message())
	case connect.CodeInternal:
		if !connect.IsWireError(err) {
			return fmt.Errorf("%w: %.300s", ErrLost, ce.Message())
		}
	}
	return fmt.Errorf("siblingrpc: the other end says: %v: %.300s", ce.Code(), ce.Message())
}
