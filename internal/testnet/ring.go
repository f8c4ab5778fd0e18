package testnet

import (
	"cmp"
	"fmt"
	"slices"
	"strings"
	"sync"
	"time"
)

// snap is how much of a packet is kept: IPv6, UDP, and what tells WireGuard's
// messages apart.
const snap = 96

// sight is one line of a timeline: a packet at a host, or a mark.
type sight struct {
	at         time.Duration // since the network was made
	host, link string
	out        bool
	kind       uint16
	size       int
	data       [snap]byte
	mark       string // set: this is a mark, and the packet fields mean nothing
}

// ring keeps the newest sights of all hosts.
type ring struct {
	mu   sync.Mutex
	kept []sight
	next int    // where the next one goes once kept is full
	gone uint64 // how many were overwritten
}

// add keeps s, in place of the oldest when limit are kept.
func (r *ring) add(limit int, s sight) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if len(r.kept) < limit {
		r.kept = append(r.kept, s)
		return
	}
	r.kept[r.next] = s
	r.next = (r.next + 1) % limit
	r.gone++
}

// text is all that is kept, in order of time.
func (r *ring) text() string {
	r.mu.Lock()
	all, gone := slices.Clone(r.kept), r.gone
	r.mu.Unlock()
	slices.SortStableFunc(all, func(a, b sight) int { return cmp.Compare(a.at, b.at) })
	var b strings.Builder
	if gone > 0 {
		fmt.Fprintf(&b, "(%d older lines are gone)\n", gone)
	}
	for _, s := range all {
		b.WriteString(s.text())
		b.WriteByte('\n')
	}
	return b.String()
}

// text is one line: seconds, place, direction, packet.
func (s *sight) text() string {
	if s.mark != "" {
		return fmt.Sprintf("%11.6f -- %s", s.at.Seconds(), s.mark)
	}
	direction := "in "
	if s.out {
		direction = "out"
	}
	return fmt.Sprintf("%11.6f %-22s %s %s", s.at.Seconds(), s.host+" "+s.link, direction, describe(s.kind, s.data[:min(s.size, snap)]))
}
