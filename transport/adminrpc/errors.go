package adminrpc

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"slices"

	validatepb "buf.build/gen/go/bufbuild/protovalidate/protocolbuffers/go/buf/validate"
	"buf.build/go/protovalidate"
	"connectrpc.com/connect"

	"github.com/holdfastvpn/holdfast/location"
	"github.com/holdfastvpn/holdfast/peer"
	"github.com/holdfastvpn/holdfast/transport/adminrpc/internal/pb"
	"github.com/holdfastvpn/holdfast/vpn"
)

// What callers branch on, beside the errors of packages location, peer and vpn.
var (
	// ErrToken says that a request has no token, or one that is not good any more.
	ErrToken = errors.New("adminrpc: not a token that is good here")
	// ErrDenied says that the token is not good for this.
	ErrDenied = errors.New("adminrpc: the token is not good for this")
	// ErrExists says that a name is taken.
	ErrExists = errors.New("adminrpc: the name is taken")
	// ErrAway says that no core answered.
	ErrAway = errors.New("adminrpc: the core does not answer")
)

var errInternal = errors.New("the core has a problem of its own; its log says which")

// word is an error of the domain, as it crosses.
type word struct {
	word string
	is   error
	code connect.Code
}

// words are in the order of importance: the first that is met says the code.
var words = []word{ //nolint:gochecknoglobals // a table that nobody writes
	{"token", ErrToken, connect.CodeUnauthenticated},
	{"denied", ErrDenied, connect.CodePermissionDenied},
	{"exists", ErrExists, connect.CodeAlreadyExists},
	{"location.exists", location.ErrExists, connect.CodeAlreadyExists},
	{"location.overlap", location.ErrOverlap, connect.CodeAlreadyExists},
	{"peer.exists", peer.ErrExists, connect.CodeAlreadyExists},
	{"peer.key_taken", peer.ErrKeyTaken, connect.CodeAlreadyExists},
	{"peer.address_taken", peer.ErrAddressTaken, connect.CodeAlreadyExists},
	{"peer.exhausted", peer.ErrExhausted, connect.CodeResourceExhausted},
	{"location.not_found", location.ErrNotFound, connect.CodeNotFound},
	{"peer.not_found", peer.ErrNotFound, connect.CodeNotFound},
	{"not_found", vpn.ErrNotFound, connect.CodeNotFound},
}

// encode makes of an error what the other end is told. Of errors that are none of
// the domain it says nothing, and logs them.
func encode(ctx context.Context, log *slog.Logger, err error) error {
	if err == nil {
		return nil
	}
	var code connect.Code
	fault := &pb.Fault{}
	for _, w := range words {
		if errors.Is(err, w.is) {
			fault.Words = append(fault.Words, w.word)
			if code == 0 {
				code = w.code
			}
		}
	}
	if field, ok := errors.AsType[*location.FieldError](err); ok {
		fault.Field, fault.Reason = field.Field, field.Reason
		if code == 0 {
			code = connect.CodeInvalidArgument
		}
	}
	switch {
	case code != 0:
	case ctx.Err() != nil || errors.Is(err, context.Canceled) || errors.Is(err, context.DeadlineExceeded):
		return connect.NewError(connect.CodeDeadlineExceeded, errors.New("it took too long, or nobody waited any more"))
	default:
		if ce, ok := errors.AsType[*connect.Error](err); ok {
			return ce // of this package's own machinery
		}
		log.ErrorContext(ctx, "a request of an operator failed", "by", vpn.ActorOf(ctx).Name, "err", err)
		return connect.NewError(connect.CodeInternal, errInternal)
	}
	ce := connect.NewError(code, err)
	if d, derr := connect.NewErrorDetail(fault); derr == nil {
		ce.AddDetail(d)
	}
	return ce
}

// said is an error of the other end.
type said struct {
	text string
	is   []error
}

func (s said) Error() string   { return s.text }
func (s said) Unwrap() []error { return s.is }

// decode makes of the error of a call what it was at the other end.
func decode(err error) error {
	ce, ok := errors.AsType[*connect.Error](err)
	if !ok {
		return err
	}
	if !connect.IsWireError(err) && slices.Contains([]connect.Code{connect.CodeUnavailable, connect.CodeUnknown, connect.CodeInternal}, ce.Code()) {
		return fmt.Errorf("%w: %w", ErrAway, ce.Unwrap())
	}
	s := said{text: fmt.Sprintf("%.2000s", ce.Message())}
	for _, d := range ce.Details() {
		v, err := d.Value()
		if err != nil {
			continue
		}
		switch v := v.(type) {
		case *pb.Fault:
			for _, w := range words {
				if slices.Contains(v.GetWords(), w.word) {
					s.is = append(s.is, w.is)
				}
			}
			if v.GetReason() != "" {
				s.is = append(s.is, &location.FieldError{Field: v.GetField(), Reason: v.GetReason()})
			}
		case *validatepb.Violations:
			for _, one := range v.GetViolations() {
				s.is = append(s.is, &location.FieldError{Field: protovalidate.FieldPathString(one.GetField()), Reason: one.GetMessage()})
			}
		}
	}
	if len(s.is) == 0 && ce.Code() == connect.CodeUnauthenticated {
		s.is = append(s.is, ErrToken)
	}
	return s
}
