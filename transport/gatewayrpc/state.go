package gatewayrpc

import (
	"sync"
	"time"

	"github.com/holdfastvpn/holdfast/gateway"
	"github.com/holdfastvpn/holdfast/transport/gatewayrpc/internal/pb"
)

// openings knows the newest watch of each gateway at each location. A request that its
// client has given up may be served late, and must not take over from the one that was
// made after it. The zero value knows none.
type openings struct {
	mu sync.Mutex
	of map[seat]*pb.Open
}

type seat struct {
	id gateway.ID
	at string
}

// begin says whether no later request of the same client is there. end is to be called
// when the watch ends.
func (o *openings) begin(at seat, m *pb.Open) (end func(), newest bool) {
	o.mu.Lock()
	defer o.mu.Unlock()
	if old := o.of[at]; old != nil && string(old.GetClock()) == string(m.GetClock()) && old.GetSent() > m.GetSent() {
		return func() {}, false
	}
	if o.of == nil {
		o.of = map[seat]*pb.Open{}
	}
	o.of[at] = m
	return func() {
		o.mu.Lock()
		defer o.mu.Unlock()
		if o.of[at] == m {
			delete(o.of, at)
		}
	}, true
}

// lags has the Lag of each gateway that reports. The zero value has none.
type lags struct {
	mu sync.Mutex
	of map[gateway.ID]*lagging
}

// lagging is the latest clock of a gateway.
type lagging struct {
	clock [16]byte
	lag   Lag
	taken map[string]uint64 // by location: when the latest report was sent that was accepted
}

// observe takes in one report, and returns how much longer than others it was under way.
// late says that one which was sent after it was accepted already.
func (l *lags) observe(id gateway.ID, r *pb.Reporter, received time.Duration) (lag time.Duration, late bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.of == nil {
		l.of = map[gateway.ID]*lagging{}
	}
	clock := [16]byte(r.GetClock()) // its length was checked
	g := l.of[id]
	if g == nil || g.clock != clock {
		g = &lagging{clock: clock, taken: map[string]uint64{}}
		l.of[id] = g
	}
	return g.lag.Observe(time.Duration(r.GetSent())*time.Microsecond, received), g.taken[r.GetLocation()] > r.GetSent()
}

// accepted notes that a report was.
func (l *lags) accepted(id gateway.ID, r *pb.Reporter) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if g := l.of[id]; g.clock == [16]byte(r.GetClock()) {
		g.taken[r.GetLocation()] = max(g.taken[r.GetLocation()], r.GetSent())
	}
}
