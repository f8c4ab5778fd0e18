//go:build linux

package wgdevice

import (
	"errors"
	"fmt"
	"strings"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"
)

// explain says what to do where that is known. The error's number stays within
// reach of errors.Is.
func explain(err error) error {
	if missing := (netlink.LinkNotFoundError{}); errors.As(err, &missing) {
		err = fmt.Errorf("%w: %w", err, unix.ENODEV) // the library keeps the number to itself
	}
	switch {
	case err == nil:
		return nil
	case errors.Is(err, unix.EPERM), errors.Is(err, unix.EACCES):
		return fmt.Errorf("there is no right to change networks here: run as root, or with CAP_NET_ADMIN, "+
			"or in a user namespace of your own (unshare -rn): %w", err)
	case errors.Is(err, unix.ENODEV):
		return fmt.Errorf("the interface is not there (any more): %w", err)
	case errors.Is(err, unix.EBUSY), errors.Is(err, unix.EEXIST):
		return fmt.Errorf("something of this name is there already: %w", err)
	case errors.Is(err, unix.ENETDOWN):
		return fmt.Errorf("the interface is down: %w", err)
	default:
		return err
	}
}

// portError is explain for what opens UDP ports.
func portError(port uint16, err error) error {
	if errors.Is(err, unix.EADDRINUSE) {
		return fmt.Errorf("UDP port %d is in use by another program: see which (ss -lunp 'sport = :%d') and end it, "+
			"or choose another port: %w", port, port, err)
	}
	return explain(err)
}

// several is more than one error on one line.
type several []error

// Error returns all texts.
func (s several) Error() string {
	texts := make([]string, len(s))
	for i, err := range s {
		texts[i] = err.Error()
	}
	return strings.Join(texts, "; ")
}

// Unwrap returns all of them.
func (s several) Unwrap() []error { return s }

// join makes one error of those that are not nil.
func join(errs ...error) error {
	var out several
	for _, err := range errs {
		if err != nil {
			out = append(out, err)
		}
	}
	switch len(out) {
	case 0:
		return nil
	case 1:
		return out[0]
	default:
		return out
	}
}
