//go:build linux

package main

import (
	"flag"
	"fmt"
	"math"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/holdfastvpn/holdfast/internal/testnet"
)

// line is what the command line wants of the client's access link. The zero
// value is a perfect one.
type line struct {
	delay  time.Duration // of the round trip, half of it each way
	jitter time.Duration // by how much the round trip differs from delay at most
	loss   float64       // of a hundred packets, in each direction
}

// Bounds of a line. With a longer round trip, WireGuard and ARP would ask again
// before the answer can be there (after 5 s and 1 s), and scenarios would measure
// that.
const (
	maxDelay = time.Second
	maxLoss  = 20
)

// retry is when WireGuard tries a handshake once more: REKEY_TIMEOUT and its
// jitter.
const retry = 5*time.Second + time.Second/3

// flags defines the flags of a line.
func (l *line) flags(f *flag.FlagSet) {
	f.DurationVar(&l.delay, "delay", 0, "`time` of a round trip on the client's link, 0 to 1s, half each way (needs netem, which -kernel brings along)")
	f.DurationVar(&l.jitter, "jitter", 0, "largest `time` by which a round trip differs from -delay, 0 to -delay; packets then overtake each other")
	f.Float64Var(&l.loss, "loss", 0, "`percent` of the packets on the client's link that are lost, 0 to 20, in each direction; no seed repeats which (needs netem, too)")
}

// args are the flags that make the line once more.
func (l line) args() []string {
	return []string{"-delay", l.delay.String(), "-jitter", l.jitter.String(), "-loss", strconv.FormatFloat(l.loss, 'g', -1, 64)}
}

// check says what is wrong with the line for these scenarios.
func (l line) check(all []Scenario) error {
	const step = 2 * time.Microsecond // the kernel's, each way
	switch {
	case l.delay < 0 || l.delay > maxDelay || l.delay%step != 0:
		return fmt.Errorf("-delay %v: want 0 to %v, in steps of %v", l.delay, maxDelay, step)
	case l.jitter < 0 || l.jitter > l.delay || l.jitter%step != 0:
		return fmt.Errorf("-jitter %v: want 0 to the %v of -delay, in steps of %v", l.jitter, l.delay, step)
	case !(l.loss >= 0 && l.loss <= maxLoss): // NaN is neither
		return fmt.Errorf("-loss %v: want 0 to %d, in percent", l.loss, maxLoss)
	}
	var not, rest []string
	for _, s := range all {
		if s.Lossless != "" {
			not = append(not, s.Name+", because "+s.Lossless)
		} else {
			rest = append(rest, s.Name)
		}
	}
	if l.loss == 0 || len(not) == 0 {
		return nil
	}
	err := fmt.Errorf("-loss %v: not with %s", l.loss, strings.Join(not, "; "))
	if len(rest) > 0 {
		err = fmt.Errorf("%w; the others are: %s", err, strings.Join(rest, " "))
	}
	return err
}

// perfect reports whether there is nothing to do to the link.
func (l line) perfect() bool { return l == line{} }

// needs are what the machine must have for the line, beside what is given.
func (l line) needs(more ...testnet.Requirement) []testnet.Requirement {
	if l.perfect() {
		return more
	}
	return append(slices.Clip(more), testnet.Netem)
}

// eachWay is the impairment of either end of the link.
func (l line) eachWay() testnet.Impairment {
	return testnet.Impairment{Delay: l.delay / 2, Jitter: l.jitter / 2, Loss: l.loss}
}

// trip is the longest round trip.
func (l line) trip() time.Duration { return l.delay + l.jitter }

// takeover is what of a takeover is the way, on a line that loses nothing: initiation,
// answer and confirmation, and then the client's packet and the reply to it.
func (l line) takeover() time.Duration { return 5 * l.trip() / 2 }

// again is how much longer a takeover takes at most, but for one in a million, because
// packets get lost: the gateway tries again after 250, 750 and 1750 ms, and speaks again
// to whom has answered after another 250 and 500 ms. False: more gets lost than it can
// make up for, and WireGuard's own tries may be what helps.
func (l line) again() (time.Duration, bool) {
	switch {
	case l.loss == 0:
		return 0, true
	case l.loss <= 1:
		return 2250 * time.Millisecond, true
	default:
		return 0, false
	}
}

// fits makes sure that figures are not those of another line: no packet is
// faster than the line, but for what the kernel rounds.
func (l line) fits(rtt time.Duration) error {
	if least := l.delay - l.jitter; rtt < least-time.Microsecond {
		return fmt.Errorf("a round trip took %v, and on this line none takes less than %v: the line is not what was asked for", rtt, least)
	}
	return nil
}

// overtaking is how much later a packet can be sent than another, and its answer
// still be there first.
func (l line) overtaking() time.Duration { return 2 * l.jitter }

// retries is how often a handshake, which is lost if one packet of the two is,
// can fail in a row before once in a million runs it fails once more.
func (l line) retries() int {
	if l.loss == 0 {
		return 0
	}
	arrives := 1 - l.loss/100
	return int(math.Ceil(math.Log(1e-6) / math.Log(1-arrives*arrives)))
}

// slack is how much longer a run may take than on a perfect link: no scenario
// waits for more than that many round trips and handshakes.
func (l line) slack() time.Duration {
	return 24*l.trip() + 2*time.Duration(l.retries())*retry
}
