//go:build linux

package testnet

import (
	"errors"
	"fmt"
	"time"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"
)

// Impairment is what becomes of the packets that a host sends on a link, one
// way. The zero value is a perfect link.
type Impairment struct {
	// Delay is how long each packet is held back: 0 to 1 minute.
	Delay time.Duration
	// Jitter is by how much the delay of each packet differs from Delay at most,
	// either way and evenly spread, so that packets overtake each other: 0 to
	// Delay, at most 2 s.
	Jitter time.Duration
	// Loss is how many of a hundred packets vanish, each by a throw of its own:
	// 0 to 100. The kernel throws; no seed repeats it.
	Loss float64
}

// Bounds of an Impairment. That of Jitter is the kernel's, which counts twice
// the jitter in 32 bits of nanoseconds.
const (
	maxDelay  = time.Minute
	maxJitter = 2 * time.Second
)

// check says what is wrong with i: a value out of its range, or a time that is
// not in whole microseconds, which is what the kernel keeps.
func (i Impairment) check() error {
	switch {
	case i.Delay < 0 || i.Delay > maxDelay:
		return fmt.Errorf("testnet: delay of %v: want 0 to %v", i.Delay, maxDelay)
	case i.Jitter < 0 || i.Jitter > min(i.Delay, maxJitter):
		return fmt.Errorf("testnet: jitter of %v: want 0 to %v, for a delay of %v", i.Jitter, min(i.Delay, maxJitter), i.Delay)
	case i.Delay%time.Microsecond != 0 || i.Jitter%time.Microsecond != 0:
		return fmt.Errorf("testnet: delay of %v, jitter of %v: want whole microseconds", i.Delay, i.Jitter)
	case !(i.Loss >= 0 && i.Loss <= 100): // NaN is neither
		return fmt.Errorf("testnet: loss of %v %%: want 0 to 100", i.Loss)
	}
	return nil
}

// impaired is the handle of our queueing discipline on a link.
const impaired = 0x4e45_0000

// queued is how many packets a link holds back before it loses the next one, far
// beyond what the delays of a test add up to.
const queued = 1 << 17

// Impair makes a link of the host delay and lose what the host sends from now
// on; for both directions, impair both ends. It takes the place of what Impair
// asked for before: packets that are held back keep the delay that they had. The
// zero value makes the link perfect again, and loses what is held back.
//
// Everything on the link counts, ARP and neighbour discovery too. A packet shows
// in the timeline of the sender when its delay is over; one that vanishes shows
// nowhere. It needs [Netem]; without it, the error is a [MissingError].
func (h *Host) Impair(link string, i Impairment) error {
	return h.onLink("impair", link, func(nl *netlink.Handle, l netlink.Link) error {
		if err := i.check(); err != nil {
			return err
		}
		at := netlink.QdiscAttrs{LinkIndex: l.Attrs().Index, Handle: impaired, Parent: netlink.HANDLE_ROOT}
		if i == (Impairment{}) {
			return heal(nl, at)
		}
		return impair(nl, at, i)
	})
}

// impair puts netem in front of a link, or changes the one that is there.
func impair(nl *netlink.Handle, at netlink.QdiscAttrs, i Impairment) error {
	q := netlink.NewNetem(at, netlink.NetemQdiscAttrs{
		Latency: uint32(i.Delay.Microseconds()),
		Jitter:  uint32(i.Jitter.Microseconds()),
		Loss:    float32(i.Loss),
		Limit:   queued,
	})
	if i.Delay > 0 && q.Latency == 0 {
		return errors.New("the kernel does not tell its unit of delays: is /proc/net/psched there?")
	}
	err := nl.QdiscReplace(q)
	if absent(err) {
		if m := try(Netem); m != nil {
			return m
		}
	}
	return err
}

// heal takes netem off a link. A root of another handle is not ours: then the
// kernel calls the handle invalid, or finds nothing.
func heal(nl *netlink.Handle, at netlink.QdiscAttrs) error {
	err := nl.QdiscDel(&netlink.Netem{QdiscAttrs: at})
	if absent(err) || errors.Is(err, unix.EINVAL) {
		return nil
	}
	return err
}

// absent is the answer of a kernel without that discipline, or without any.
func absent(err error) bool {
	return errors.Is(err, unix.ENOENT) || errors.Is(err, unix.EOPNOTSUPP)
}

// tryNetem impairs the loopback of the namespace of the calling thread.
func tryNetem() error {
	lo, err := netlink.LinkByName("lo")
	if err != nil {
		return fmt.Errorf("find lo: %w", err)
	}
	at := netlink.QdiscAttrs{LinkIndex: lo.Attrs().Index, Handle: impaired, Parent: netlink.HANDLE_ROOT}
	if err := netlink.QdiscAdd(netlink.NewNetem(at, netlink.NetemQdiscAttrs{Latency: 1})); err != nil {
		return fmt.Errorf("have packets delayed: %w", err)
	}
	return nil
}

func fixNetem(error) string {
	return "load the module (as root: modprobe sch_netem) or take a kernel with CONFIG_NET_SCHED and CONFIG_NET_SCH_NETEM"
}
