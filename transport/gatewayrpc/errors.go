package gatewayrpc

import (
	"errors"
	"fmt"

	"buf.build/go/protovalidate"
	"connectrpc.com/connect"
	"google.golang.org/protobuf/proto"

	"github.com/holdfastvpn/holdfast/gateway"
	"github.com/holdfastvpn/holdfast/transport/gatewayrpc/internal/pb"
)

// ErrLost says that the connection broke, or that there is none. What was said last
// may have arrived; try again.
var ErrLost = errors.New("gatewayrpc: the connection to the control plane was lost")

// ErrInvalid says that the other end said something that makes no sense.
var ErrInvalid = errors.New("gatewayrpc: not a valid message")

// ErrTooLarge says that an update or a report is larger than any that makes sense.
var ErrTooLarge = errors.New("gatewayrpc: too large")

var errPlane = errors.New("gatewayrpc: the control plane has a problem of its own; its log says which")

// reason is an error of the contract, as it crosses.
type reason struct {
	word string
	is   error
	code connect.Code
}

func reasons() []reason {
	return []reason{
		{"unknown", gateway.ErrUnknown, connect.CodePermissionDenied},
		{"revoked", gateway.ErrRevoked, connect.CodePermissionDenied},
		{"replaced", gateway.ErrReplaced, connect.CodeAborted},
		{"stale", gateway.ErrStale, connect.CodeUnavailable},
		{"gap", gateway.ErrGap, connect.CodeFailedPrecondition},
		{"invalid", ErrInvalid, connect.CodeInvalidArgument},
		{"too_large", ErrTooLarge, connect.CodeResourceExhausted},
	}
}

func reasonOf(err error) (reason, bool) {
	for _, r := range reasons() {
		if errors.Is(err, r.is) {
			return r, true
		}
	}
	return reason{}, false
}

func reasonNamed(word string) (reason, bool) {
	for _, r := range reasons() {
		if r.word == word {
			return r, true
		}
	}
	return reason{}, false
}

// AppendError appends what of err may cross: which error of the contract it is, if it
// is one, and no text.
func AppendError(b []byte, err error) []byte {
	r, _ := reasonOf(err)
	b, _ = proto.MarshalOptions{}.MarshalAppend(b, &pb.Reason{Word: r.word}) // a string of ours
	return b
}

// ParseError returns an error that is, to errors.Is, what AppendError was given. It is
// never nil.
func ParseError(b []byte) error {
	var m pb.Reason
	if proto.Unmarshal(b, &m) != nil {
		return fmt.Errorf("%w: no error can be read from it", ErrInvalid)
	}
	if r, ok := reasonNamed(m.GetWord()); ok {
		return r.is
	}
	return errPlane
}

// encode makes of an error what the other end is told.
func encode(err error) error {
	r, known := reasonOf(err)
	var ce *connect.Error
	switch {
	case err == nil:
		return nil
	case known:
	case errors.As(err, new(planeError)):
		return connect.NewError(connect.CodeInternal, errPlane)
	case errors.As(err, &ce):
		return ce // of this package's own machinery: names fields and sizes
	default:
		return connect.NewError(connect.CodeInternal, errPlane)
	}
	ce = connect.NewError(r.code, r.is)
	if d, err := connect.NewErrorDetail(&pb.Reason{Word: r.word}); err == nil {
		ce.AddDetail(d)
	}
	return ce
}

// planeError is from the control plane: its text stays here.
type planeError struct{ error }

func (e planeError) Unwrap() error { return e.error }

// decode makes of the error of a call what it was at the other end.
func decode(err error) error {
	var ce *connect.Error
	switch {
	case err == nil || !errors.As(err, &ce):
		return err
	case errors.As(err, new(*protovalidate.ValidationError)):
		return fmt.Errorf("%w: %w", ErrInvalid, err)
	case connect.IsWireError(err):
		return told(ce)
	}
	switch ce.Code() {
	case connect.CodeUnavailable, connect.CodeInternal, connect.CodeUnknown, connect.CodeCanceled,
		connect.CodeDeadlineExceeded, connect.CodeAborted, connect.CodeDataLoss:
		return fmt.Errorf("%w: %w", ErrLost, err)
	default:
		return err
	}
}

// told is what the other end said in so many words.
func told(ce *connect.Error) error {
	for _, d := range ce.Details() {
		v, err := d.Value()
		if m, ok := v.(*pb.Reason); err == nil && ok {
			if r, known := reasonNamed(m.GetWord()); known {
				return r.is
			}
		}
	}
	if ce.Code() == connect.CodeUnavailable || ce.Code() == connect.CodeCanceled {
		return fmt.Errorf("%w: %.300s", ErrLost, ce.Message())
	}
	return fmt.Errorf("gatewayrpc: the other end says: %v: %.300s", ce.Code(), ce.Message())
}
