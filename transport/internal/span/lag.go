package span

import "time"

const (
	// lagWindow and lagFew: after so long and so many messages a measure is taken
	// anew, so that a clock which was set or stood still counts no longer than that.
	lagWindow = 2 * time.Minute
	lagFew    = 16
	// drift is how far clocks may run apart: a part in so many.
	drift = 10_000
)

// Lag works out how long the messages of one sender were under way, though its clock
// and the receiver's have nothing to do with each other: the one that took least tells
// how far they are apart, to within what that one took. Clocks that drift apart are
// allowed for. The zero value has seen no message. It is not safe for concurrent use.
type Lag struct {
	now, last measure
}

// measure is the smallest offset of some messages.
type measure struct {
	began time.Duration // when the first came; by the receiver's clock, like at
	n     int
	least time.Duration // received minus sent
	at    time.Duration // when that one came
}

// Observe takes in one message: what the sender's clock said as it left, and the
// receiver's as it came, both clocks that run on while the machine sleeps. It returns
// how much longer it was under way than the one that took least; 0 for the first.
func (l *Lag) Observe(sent, received time.Duration) time.Duration {
	offset := received - sent
	lag := max(offset-l.now.offset(received, offset), offset-l.last.offset(received, offset), 0)
	if l.now.n >= lagFew && received-l.now.began >= lagWindow {
		l.last, l.now = l.now, measure{}
	}
	m := &l.now
	if m.n == 0 {
		m.began = received
	}
	if m.n == 0 || offset <= m.offset(received, offset) {
		m.least, m.at = offset, received
	}
	m.n++
	return lag
}

// offset is the smallest one, as far as clocks may have drifted since, or otherwise if
// there is none.
func (m *measure) offset(now, otherwise time.Duration) time.Duration {
	if m.n == 0 {
		return otherwise
	}
	return m.least + max(now-m.at, 0)/drift
}
