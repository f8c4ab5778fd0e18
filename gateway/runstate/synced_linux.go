package runstate

import "golang.org/x/sys/unix"

// synced asks the kernel, and changes nothing: it is told so by whoever sets the clock,
// and takes it back when the clock is set by hand, or when it hears nothing for hours.
func synced() bool {
	var t unix.Timex
	state, err := unix.Adjtimex(&t)
	return err == nil && state != unix.TIME_ERROR && t.Status&unix.STA_UNSYNC == 0
}
