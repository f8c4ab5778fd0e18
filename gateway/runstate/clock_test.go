//go:build linux

package runstate_test

import (
	"os"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"

	"github.com/holdfastvpn/holdfast/gateway/runstate"
)

func TestTheMachinesClock(t *testing.T) {
	c, err := runstate.OpenClock()
	require.NoError(t, err)
	again, err := runstate.OpenClock()
	require.NoError(t, err)
	require.Equal(t, c.Boot(), again.Boot())
	require.Len(t, c.Boot(), 36)

	before := c.Since()
	text, err := os.ReadFile("/proc/uptime")
	require.NoError(t, err)
	seconds, err := strconv.ParseFloat(strings.Fields(string(text))[0], 64)
	require.NoError(t, err)
	after := c.Since()
	up := time.Duration(seconds * float64(time.Second))
	require.GreaterOrEqual(t, up, before.Truncate(10*time.Millisecond)-10*time.Millisecond)
	require.LessOrEqual(t, up, after)
}

// What the kernel says depends on the machine; that it is asked, and may be, does not.
func TestTheKernelIsAskedOfItsClock(t *testing.T) {
	c, err := runstate.OpenClock()
	require.NoError(t, err)
	var state unix.Timex
	code, err := unix.Adjtimex(&state)
	require.NoError(t, err)
	require.Equal(t, code != unix.TIME_ERROR && state.Status&unix.STA_UNSYNC == 0, c.Synced())
}
