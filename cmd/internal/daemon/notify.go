package daemon

import (
	"context"
	"net"
	"os"
	"strconv"
	"time"

	"go.uber.org/dig"
)

// Notify tells systemd something, as sd_notify(3) does. Where nobody listens it
// does nothing.
func Notify(state string) {
	path := os.Getenv("NOTIFY_SOCKET")
	if path == "" {
		return
	}
	if path[0] == '@' { // the abstract namespace
		path = "\x00" + path[1:]
	}
	conn, err := net.DialUnix("unixgram", nil, &net.UnixAddr{Name: path, Net: "unixgram"})
	if err != nil {
		return
	}
	_, _ = conn.Write([]byte(state)) // who is not heard can do nothing about it
	_ = conn.Close()
}

// Watchdog tells systemd that the process is alive while alive says so, as often as
// its unit asks for (WatchdogSec=).
func Watchdog(ctx context.Context, alive func() error) error {
	usec, err := strconv.ParseInt(os.Getenv("WATCHDOG_USEC"), 10, 64)
	if pid := os.Getenv("WATCHDOG_PID"); err != nil || usec <= 0 || pid != "" && pid != strconv.Itoa(os.Getpid()) {
		<-ctx.Done()
		return nil
	}
	tick := time.NewTicker(time.Duration(usec) * time.Microsecond / 3)
	defer tick.Stop()
	for {
		if alive() == nil {
			Notify("WATCHDOG=1")
		}
		select {
		case <-ctx.Done():
			return nil
		case <-tick.C:
		}
	}
}

// cause is what went wrong, without the way through the wiring.
func cause(err error) error { return dig.RootCause(err) }
