//go:build linux

package main

import (
	"bytes"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/holdfastvpn/holdfast/internal/testnet"
)

func TestLineIsReadAndHandedOn(t *testing.T) {
	var stderr bytes.Buffer
	o, err := parse([]string{"drift"}, &stderr)
	require.NoError(t, err)
	require.True(t, o.line.perfect())
	require.Zero(t, o.line.eachWay(), "nothing is asked of the machine")
	require.Equal(t, []testnet.Requirement{testnet.Netns}, o.line.needs(testnet.Netns))
	require.Zero(t, o.line.slack())

	o, err = parse([]string{"drift", "-delay", "30ms", "-jitter", "1.002ms", "-loss", "0.1"}, &stderr)
	require.NoError(t, err)
	require.Equal(t, line{delay: 30 * time.Millisecond, jitter: 1002 * time.Microsecond, loss: 0.1}, o.line)
	require.Equal(t, testnet.Impairment{Delay: 15 * time.Millisecond, Jitter: 501 * time.Microsecond, Loss: 0.1}, o.line.eachWay())
	require.Equal(t, []testnet.Requirement{testnet.Netns, testnet.Netem}, o.line.needs(testnet.Netns))
	again, err := parse(o.args(), &stderr)
	require.NoError(t, err)
	require.Equal(t, o.line, again.line, "in the virtual machine it is the same")
	require.Greater(t, o.limit(), 2*time.Minute+drift().Limit)
	require.Empty(t, stderr.String())
}

func TestLineIsRefusedInWords(t *testing.T) {
	for _, c := range []struct {
		args []string
		says string
	}{
		{[]string{"-delay", "-1ms"}, "-delay -1ms: want 0 to 1s"},
		{[]string{"-delay", "1001ms"}, "-delay 1.001s: want 0 to 1s"},
		{[]string{"-delay", "3us"}, "-delay 3µs: want 0 to 1s, in steps of 2µs"},
		{[]string{"-delay", "30"}, "invalid value"},
		{[]string{"-jitter", "1ms"}, "-jitter 1ms: want 0 to the 0s of -delay"},
		{[]string{"-jitter", "-1ms"}, "-jitter -1ms: want 0"},
		{[]string{"-delay", "1ms", "-jitter", "1us"}, "in steps of 2µs"},
		{[]string{"-loss", "-1", "drift"}, "-loss -1: want 0 to 20, in percent"},
		{[]string{"-loss", "21", "drift"}, "-loss 21: want 0 to 20"},
		{[]string{"-loss", "NaN", "drift"}, "-loss NaN: want 0 to 20"},
		{[]string{"-loss", "1", "no-reset"}, "-loss 1: not with no-reset, because it counts lost packets\n"},
		{[]string{"-loss", "1", "drift", "no-reset", "refused"}, "; the others are: drift refused\n"},
		{[]string{"-loss", "1"}, "not with no-reset"},
	} {
		var stdout, stderr bytes.Buffer
		require.Equal(t, exitUnfit, run(c.args, &stdout, &stderr), c.args)
		require.Contains(t, stderr.String(), c.says)
		require.Empty(t, stdout.String())
	}
	var stderr bytes.Buffer
	_, err := parse([]string{"-delay", "1s", "-jitter", "1s"}, &stderr)
	require.NoError(t, err, "with a delay alone, all can be played")
}

// Where netem is missing, user space has no way out of its own: it names one.
func TestLineWithoutNetemSaysWhatToDo(t *testing.T) {
	missing := &testnet.MissingError{What: testnet.Netem, Why: testnet.ErrClosed, Fix: "get it"}
	require.ErrorContains(t, hint(missing), "get it; or add -kernel")
	require.ErrorIs(t, hint(missing), missing)
	other := &testnet.MissingError{What: testnet.TUN, Why: testnet.ErrClosed, Fix: "get it"}
	require.Equal(t, error(other), hint(other))
}

func TestLineGivesTime(t *testing.T) {
	for loss, want := range map[float64]int{0: 0, 0.01: 2, 1: 4, 20: 14} {
		require.Equal(t, want, line{loss: loss}.retries(), loss)
	}
	require.Equal(t, 25*time.Second, longest(line{}))
	require.Equal(t, 25*time.Second+300*time.Millisecond, longest(line{delay: 100 * time.Millisecond, jitter: 50 * time.Millisecond}))
	require.Equal(t, 25*time.Second+4*retry, longest(line{loss: 1}))
	require.Greater(t, line{loss: 1}.slack(), 4*retry)

	s := Scenario{Name: "x", Limit: time.Second, Play: floatingAddress().Play}
	long := options{runs: 2, scenarios: []Scenario{s}, line: line{delay: time.Second}}
	require.Equal(t, 2*time.Minute+2*(time.Second+24*time.Second), long.limit())
}

func TestLineNoticesThatItIsNotThere(t *testing.T) {
	l := line{delay: 30 * time.Millisecond, jitter: 10 * time.Millisecond}
	require.NoError(t, line{}.fits(time.Microsecond))
	require.NoError(t, l.fits(20*time.Millisecond-100))
	require.NoError(t, l.fits(time.Second), "a busy machine is slow")
	require.ErrorContains(t, l.fits(15*time.Millisecond), "took 15ms, and on this line none takes less than 20ms")
}

// Packets overtake each other, and those that were sent outside of the bounds
// are nobody's loss.
func TestMissingCountsByNumber(t *testing.T) {
	var replies []testnet.Reply
	for _, n := range []uint64{4, 3, 6, 9, 7, 5, 12, 10} {
		replies = append(replies, testnet.Reply{Number: n})
	}
	require.EqualValues(t, 0, missing(replies, 4, 8))
	require.EqualValues(t, 1, missing(replies, 4, 10), "8")
	require.EqualValues(t, 2, missing(replies, 4, 12), "8 and 11")
	require.EqualValues(t, 0, missing(replies, 4, 4))
}

func TestTripIsThatOfTheNextPacketSent(t *testing.T) {
	zero := time.Now()
	reply := func(number uint64, sent, received time.Duration) testnet.Reply {
		return testnet.Reply{Number: number, Sent: zero.Add(sent), Received: zero.Add(received)}
	}
	require.EqualValues(t, 30, trip([]testnet.Reply{reply(0, 1, 20), reply(3, 23, 25), reply(1, 10, 26), reply(2, 21, 51)}, zero.Add(20)))
}
