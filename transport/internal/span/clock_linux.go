package span

import (
	"time"

	"golang.org/x/sys/unix"
)

func sinceBoot() func() time.Duration {
	began := time.Now()
	return func() time.Duration {
		var t unix.Timespec
		if unix.ClockGettime(unix.CLOCK_BOOTTIME, &t) != nil { // older than any kernel we run on
			return time.Since(began)
		}
		return time.Duration(t.Nano())
	}
}
