package runstate

import (
	"errors"
	"fmt"
	"os"
	"strings"
	"time"

	"github.com/holdfastvpn/holdfast/gateway"
)

// Clock is the machine's own gateway.BootClock. It is safe for concurrent use.
type Clock struct{ boot string }

var _ gateway.BootClock = (*Clock)(nil)

const bootFile = "/proc/sys/kernel/random/boot_id"

// OpenClock asks the machine which boot this is. It fails where there is no Linux.
func OpenClock() (*Clock, error) {
	if _, err := uptime(); err != nil {
		return nil, fmt.Errorf("runstate: the time since the boot is not known: %w", err)
	}
	id, err := os.ReadFile(bootFile)
	boot := strings.TrimSpace(string(id))
	if err == nil && boot == "" {
		err = errors.New("it is empty")
	}
	if err != nil {
		return nil, fmt.Errorf("runstate: the name of this boot is not known: %s: %w", bootFile, err)
	}
	return &Clock{boot}, nil
}

// Boot implements gateway.BootClock.
func (c *Clock) Boot() string { return c.boot }

// Since implements gateway.BootClock.
func (c *Clock) Since() time.Duration {
	d, _ := uptime() // it worked when c was made
	return d
}

// Synced says whether the kernel says that its wall clock is kept right, by NTP for
// instance: for gateway.ReconcilerConfig. An emulated machine whose clock is that of its
// host says no, as does one whose clock was just set by hand.
func (c *Clock) Synced() bool { return synced() }
