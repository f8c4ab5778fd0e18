package wgmodel

import "time"

// tick is the length of the kernel's jiffies (CONFIG_HZ=250, as Debian has it).
const tick = time.Second / 250

// The kernel's timer wheel: 64 slots a level, each level 8 times as coarse as the one
// below it.
const (
	slots = 64
	shift = 3
)

// wheel returns when a timer goes off that is set at an instant, counted from the
// start of the machine, for d later: never early, and late by up to one slot of the
// level of the wheel where it lies.
func wheel(at, d time.Duration) time.Duration {
	now := int64(at / tick)
	expires := now + int64(d/tick)
	level := 0
	for start := int64(slots - 1); expires-now >= start && level < 8; start <<= shift {
		level++
	}
	gran := level * shift
	return time.Duration((expires>>gran+1)<<gran) * tick
}
