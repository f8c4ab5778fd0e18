//go:build linux

package vm

import (
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"path"
	"strings"
	"time"
)

// Clock is what time in a machine is.
type Clock string

// Clocks of a machine.
const (
	Virtual Clock = "virtual" // one CPU, a nanosecond is an instruction, idle time is skipped
	Wall    Clock = "wall"    // two CPUs, time as everywhere
)

// insideEnv is the environment variable that tells a program that it runs in a
// machine of this package, and by which [Clock].
const insideEnv = "HOLDFAST_VM"

// Inside returns the clock of the machine that this process runs in; "" outside.
func Inside() Clock { return Clock(os.Getenv(insideEnv)) }

// Config holds what [Run] needs.
type Config struct {
	Program string   // required: a static binary on this machine, such as Build makes
	Args    []string // without the program's name
	Env     []string // KEY=value; beyond PATH, HOME, TMPDIR and insideEnv, which are there
	Dir     string   // where it runs in the machine; "" means /, and what is not there is made

	Clock  Clock // "" means Virtual
	Memory int   // MiB; 0 means 768

	// Limit bounds the whole run on this machine's clock, boot and all; 0 means
	// ten minutes. Within bounds the program on the clock of the virtual
	// machine; 0 means six hours if that is virtual, else nine tenths of Limit.
	// A program that is not done Within gets SIGQUIT, upon which one in Go tells
	// where it stands, and is killed three seconds later.
	Limit, Within time.Duration

	// Files are files and folders of this machine that shall be there as well,
	// by their paths in the machine. Folders come with all that is in them.
	Files map[string]string
	// Tools are commands of this machine that shall be there, with the shared
	// libraries that they need.
	Tools []string
	// Modules are kernel modules beyond those for WireGuard, links, nftables and
	// traffic control, which are always there.
	Modules []string

	Stdout, Stderr io.Writer // of the program; nil discards
	Console        io.Writer // what the kernel says; nil discards
	Log            *slog.Logger
}

// Result is how a program ended, and what it took.
type Result struct {
	Exit int           // its exit code; 128 + N if signal N ended it
	Boot time.Duration // until it was started, on the clock of the virtual machine
	Took time.Duration // from its start to its end, on that clock
	Wall time.Duration // the whole run, on the clock of this machine
	Size int64         // of the image, in bytes
}

// LimitError says that a run took too long.
type LimitError struct {
	Limit time.Duration
	Clock string // whose clock: "this machine's" or "the virtual machine's"
}

// Error says which limit it was.
func (e *LimitError) Error() string {
	return fmt.Sprintf("not done within %v on %s clock", e.Limit, e.Clock)
}

// complete checks c and fills defaults in.
func (c Config) complete() (Config, error) {
	if c.Program == "" {
		return c, errors.New("vm: Config.Program: want the path of a static binary")
	}
	if c.Clock == "" {
		c.Clock = Virtual
	}
	if c.Clock != Virtual && c.Clock != Wall {
		return c, fmt.Errorf("vm: Config.Clock: %q: want %q or %q", c.Clock, Virtual, Wall)
	}
	if c.Memory == 0 {
		c.Memory = 768
	}
	if c.Memory < 128 || c.Memory > 16<<10 {
		return c, fmt.Errorf("vm: Config.Memory: %d MiB: want 128 to 16384", c.Memory)
	}
	if c.Limit < 0 || c.Within < 0 {
		return c, errors.New("vm: Config.Limit, Config.Within: want 0 or more")
	}
	if c.Limit == 0 {
		c.Limit = 10 * time.Minute
	}
	if c.Within == 0 {
		c.Within = c.Limit / 10 * 9
		if c.Clock == Virtual {
			c.Within = 6 * time.Hour
		}
	}
	if c.Dir == "" {
		c.Dir = "/"
	}
	for _, p := range append([]string{c.Dir}, keys(c.Files)...) {
		if !path.IsAbs(p) || path.Clean(p) != p {
			return c, fmt.Errorf("vm: Config: %q: want a clean absolute path for what is in the machine", p)
		}
	}
	for _, e := range c.Env {
		if !strings.Contains(e, "=") || strings.ContainsRune(e, 0) {
			return c, fmt.Errorf("vm: Config.Env: %q: want KEY=value", e)
		}
	}
	for _, w := range []*io.Writer{&c.Stdout, &c.Stderr, &c.Console} {
		if *w == nil {
			*w = io.Discard
		}
	}
	if c.Log == nil {
		c.Log = slog.New(slog.DiscardHandler)
	}
	return c, nil
}
