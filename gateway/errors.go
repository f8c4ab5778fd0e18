package gateway

import (
	"errors"
	"fmt"
	"slices"
	"strings"
)

// What ends a stream of a ControlPlane, or makes it refuse a Report.
var (
	ErrUnknown  = errors.New("gateway: not registered here")
	ErrRevoked  = errors.New("gateway: revoked")
	ErrReplaced = errors.New("gateway: a newer connection of this gateway took over")
	ErrStale    = errors.New("gateway: the control plane cannot read its store")
	ErrGap      = errors.New("gateway: starts at another revision")
)

// ErrForeign says that an interface of the wanted name is there, and is not
// ours to touch.
var ErrForeign = errors.New("gateway: the interface belongs to somebody else")

// FieldError names what is wrong with a Config, such as "Peers[3].Keepalive".
type FieldError struct {
	Field  string
	Reason string
}

// Error returns the field and the reason.
func (e *FieldError) Error() string { return "gateway: " + e.Field + ": " + e.Reason }

// ApplyError has one error for each step of a Plan that failed.
type ApplyError struct {
	Failed map[int]error // by index into the Plan
}

// Error names the first failures, in the order of the Plan.
func (e *ApplyError) Error() string {
	const most = 3
	at := make([]int, 0, len(e.Failed))
	for i := range e.Failed {
		at = append(at, i)
	}
	slices.Sort(at)
	var b strings.Builder
	fmt.Fprintf(&b, "gateway: %d steps failed", len(at))
	for i, n := range at {
		if i == most {
			b.WriteString("; …")
			break
		}
		fmt.Fprintf(&b, "; step %d: %v", n+1, e.Failed[n])
	}
	return b.String()
}

// Unwrap returns every step's error, so that errors.Is finds any of them.
func (e *ApplyError) Unwrap() []error {
	all := make([]error, 0, len(e.Failed))
	for _, err := range e.Failed {
		all = append(all, err)
	}
	return all
}
