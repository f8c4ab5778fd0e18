package clientrpc

import (
	"errors"
	"fmt"
	"slices"
	"strings"

	"connectrpc.com/connect"

	"github.com/holdfastvpn/holdfast/transport/clientrpc/internal/pb"
	"github.com/holdfastvpn/holdfast/transport/internal/wire"
	"github.com/holdfastvpn/holdfast/transport/sealed"
)

// What callers branch on, beside the errors of the methods and of package sealed.
var (
	// ErrAway says that no answer came, or that the core cannot answer now. A proxy can
	// make anybody hear it. It is worth trying again, elsewhere too.
	ErrAway = errors.New("clientrpc: no answer of the core")
	// ErrInvalid says that a request, or an answer, makes no sense.
	ErrInvalid = errors.New("clientrpc: not a valid message")
	// ErrMethod says that the core has no such method: it is older.
	ErrMethod = errors.New("clientrpc: the core has no such method")
	// ErrInternal says that the core has a problem of its own; its log says which.
	ErrInternal = errors.New("clientrpc: the core has a problem of its own; its log says which")
	// ErrExpired says that an enrolment token's time is over.
	ErrExpired = errors.New("clientrpc: the token has expired")
	// ErrUsed says that other keys have enrolled with the token, or that it was
	// cancelled.
	ErrUsed = errors.New("clientrpc: the token was used before")
)

// Sentinel is an error that crosses: both ends have the same list of them.
type Sentinel struct {
	// Word names it on the wire: 1 to 64 bytes, never changed, never used again.
	Word string
	// Is is what errors.Is finds.
	Is error
}

// own are those of this package.
var own = []Sentinel{ //nolint:gochecknoglobals // a constant
	{"invalid", ErrInvalid},
	{"method", ErrMethod},
	{"internal", ErrInternal},
	{"enrolment", sealed.ErrEnrolment},
	{"expired", ErrExpired},
	{"used", ErrUsed},
	{"away", ErrAway},
}

func checkSentinels(all []Sentinel) error {
	words := map[string]bool{}
	for _, s := range slices.Concat(own, all) {
		if s.Is == nil || s.Word == "" || len(s.Word) > 64 || words[s.Word] {
			return fmt.Errorf("clientrpc: Errors: %q: each has a word of its own of 1 to 64 bytes, and an error", s.Word)
		}
		words[s.Word] = true
	}
	return nil
}

// maxText is how much of an error's text crosses, in bytes.
const maxText = 4096

// faultOf makes of an error what the device is told; false says that it is none of the
// list, so that its text stays here.
func faultOf(all []Sentinel, err error) (*pb.Fault, bool) {
	f := &pb.Fault{}
	for _, s := range slices.Concat(own, all) {
		if errors.Is(err, s.Is) && len(f.GetWords()) < 16 {
			f.Words = append(f.Words, s.Word)
		}
	}
	if len(f.GetWords()) == 0 {
		return &pb.Fault{Words: []string{"internal"}, Text: ErrInternal.Error()}, false
	}
	text := strings.ToValidUTF8(err.Error(), "")
	f.Text = strings.ToValidUTF8(text[:min(len(text), maxText)], "")
	return f, true
}

// said is an error of the core.
type said struct {
	text string
	is   []error
}

func (s said) Error() string   { return s.text }
func (s said) Unwrap() []error { return s.is }

// errorOf makes of a fault what it was at the core. One that has no word of the list is
// ErrInternal.
func errorOf(all []Sentinel, f *pb.Fault) error {
	s := said{text: f.GetText()}
	for _, known := range slices.Concat(own, all) {
		if slices.Contains(f.GetWords(), known.Word) {
			s.is = append(s.is, known.Is)
		}
	}
	if len(s.is) == 0 {
		s.is = []error{ErrInternal}
	}
	return s
}

// outside is all that crosses in the open.
var outside = []wire.Word{ //nolint:gochecknoglobals // a constant
	{Word: "refused", Is: sealed.ErrRefused, Code: connect.CodePermissionDenied},
	{Word: "busy", Is: sealed.ErrBusy, Code: connect.CodeUnavailable},
}

// encode makes of an error what the outside is told: one of two words, without a text
// of its own, or that time is over.
func encode(err error) error {
	switch {
	case err == nil:
		return nil
	case errors.Is(err, sealed.ErrBusy):
		return wire.Encode(outside, sealed.ErrBusy)
	}
	switch code := connect.CodeOf(err); code { //nolint:exhaustive // all others are told nothing
	case connect.CodeDeadlineExceeded, connect.CodeCanceled, connect.CodeUnimplemented, connect.CodeResourceExhausted:
		return connect.NewError(code, errors.New(code.String()))
	}
	return wire.Encode(outside, sealed.ErrRefused)
}

// decode makes of an error of a call one that a device can branch on.
func decode(err error) error {
	if err = wire.Decode(outside, err); errors.Is(err, sealed.ErrRefused) {
		return err
	}
	return fmt.Errorf("%w: %w", ErrAway, err)
}
