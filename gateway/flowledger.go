package gateway

import (
	"cmp"
	"net/netip"
	"slices"
	"sync"
	"time"
)

// FlowNote is what a Note says of connections. One that is zero says nothing, and takes
// nothing back.
type FlowNote struct {
	// Full says that Began has all connections of the addresses in Here: what was told of
	// these before is not so any more.
	Full bool
	// Here are those of the location's inner addresses that the gateway's machine has, in
	// order. Of one that has left, what was told is not confirmed any more, nor taken
	// back: its connections may go on at whoever has it next.
	Here []netip.Addr
	// Began and Ended are those that are and are not any more; at most 65,536 in Began.
	Began, Ended []Flow
}

// Clone returns a copy that shares no memory with n.
func (n FlowNote) Clone() FlowNote {
	n.Here, n.Began, n.Ended = slices.Clone(n.Here), slices.Clone(n.Began), slices.Clone(n.Ended)
	return n
}

// FlowCount says what a gateway knows of connections at inner addresses. Those that end
// in Total are counted since the process began.
type FlowCount struct {
	Here         int    // there are, at addresses that the machine has
	Known        int    // siblings told, or were here until their address left
	DroppedTotal uint64 // were too many to be told or known: 65,536 of each gateway
	IgnoredTotal uint64 // siblings told that are not ones of the location
	AdoptedTotal uint64 // were taken over with their address
}

// flowLedger is what a Reconciler knows of connections. It is safe for concurrent use.
type flowLedger struct {
	self  ID
	faced signal // face is another one
	late  signal // due has something

	mu    sync.Mutex
	face  Interface // Inner and Masquerade; zero: nothing is told, and nothing is heard
	books map[ID]*flowBook
	talks map[*flowTalk]struct{}
	due   []Flow // was told when its address was here already
	count FlowCount
}

func newFlowLedger(self ID) *flowLedger {
	return &flowLedger{
		self: self, faced: make(signal, 1), late: make(signal, 1),
		books: map[ID]*flowBook{self: newFlowBook(mostFlows)}, talks: map[*flowTalk]struct{}{},
	}
}

// show says what interface the device was made to have.
func (l *flowLedger) show(i Interface) {
	now := Interface{}
	if len(i.Inner) > 0 && len(i.Masquerade) > 0 {
		now = Interface{Inner: slices.Clone(i.Inner), Masquerade: slices.Clone(i.Masquerade)}
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	if now.Equal(l.face) {
		return
	}
	l.face = now
	for _, b := range l.books {
		for k, e := range b.flows {
			if !now.Translates(k.flow(e.inner)) {
				delete(b.flows, k)
			}
		}
	}
	l.restart()
	l.faced.set()
}

// restart has all be told anew to everybody. l.mu is held.
func (l *flowLedger) restart() {
	for t := range l.talks {
		*t = flowTalk{all: true}
	}
}

// seen is what the device has to follow.
func (l *flowLedger) seen() Interface {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.face
}

// change takes in what the device says, and returns what is to be adopted.
func (l *flowLedger) change(c FlowChange, now time.Time) (due []Flow) {
	l.mu.Lock()
	defer l.mu.Unlock()
	own := l.books[l.self]
	came := slices.DeleteFunc(slices.Clone(c.Here), func(a netip.Addr) bool { return own.here[a] })
	for _, a := range came {
		due = append(due, l.of(a, now)...)
	}
	own.is(c.Here, now)
	if len(came) > 0 {
		own.clear(func(a netip.Addr) bool { return slices.Contains(came, a) })
		l.restart()
	}
	if c.All {
		l.all(own, c.Began)
	} else {
		for _, f := range c.Ended {
			own.end(f)
			l.spread(f, false)
		}
		for _, f := range c.Began {
			l.begin(own, f)
		}
	}
	return due
}

// all makes what there is of own addresses be exactly this.
func (l *flowLedger) all(own *flowBook, flows []Flow) {
	is := make(map[Flow]bool, len(flows))
	for _, f := range flows {
		is[f] = true
	}
	for k, e := range own.flows {
		if f := k.flow(e.inner); own.here[e.inner.Addr()] && !is[f] {
			own.end(f)
			l.spread(f, false)
		}
	}
	for _, f := range flows {
		l.begin(own, f)
	}
}

// begin takes in a connection that is here.
func (l *flowLedger) begin(own *flowBook, f Flow) {
	if old, ok := own.flows[f.key()]; ok && old.inner == f.Inner || !l.face.Translates(f) {
		return
	}
	l.count.DroppedTotal += uint64(own.set(f))
	l.spread(f, true)
}

func (l *flowLedger) spread(f Flow, is bool) {
	for t := range l.talks {
		t.note(f, is)
	}
}

// of returns what anybody told of an address: each connection once, as the gateway said
// it that had the address last.
func (l *flowLedger) of(a netip.Addr, now time.Time) (out []Flow) {
	var books []*flowBook
	for _, b := range l.books {
		b.expire(now)
		if _, told := b.confirmed[a]; told {
			books = append(books, b)
		}
	}
	slices.SortFunc(books, func(x, y *flowBook) int {
		if x.here[a] != y.here[a] {
			if x.here[a] {
				return -1
			}
			return 1
		}
		return cmp.Compare(y.confirmed[a].UnixNano(), x.confirmed[a].UnixNano())
	})
	known := map[flowKey]bool{}
	for _, b := range books {
		for _, f := range b.list(a) {
			if !known[f.key()] {
				known[f.key()] = true
				out = append(out, f)
			}
		}
	}
	return out
}

// hear takes in what a sibling says.
func (l *flowLedger) hear(with ID, n FlowNote, now time.Time) {
	l.mu.Lock()
	defer l.mu.Unlock()
	b := l.books[with]
	if b == nil {
		b = newFlowBook(mostFlows)
		l.books[with] = b
	}
	n.Here = slices.DeleteFunc(slices.Clone(n.Here), func(a netip.Addr) bool { return !slices.Contains(l.face.Inner, a) })
	left := b.is(n.Here, now)
	if n.Full {
		b.clear(func(a netip.Addr) bool { return b.here[a] })
	}
	for _, f := range n.Ended {
		b.end(f)
	}
	own := l.books[l.self]
	for _, f := range n.Began {
		a := f.Inner.Addr()
		if _, told := b.confirmed[a]; !told || !l.face.Translates(f) {
			l.count.IgnoredTotal++
			continue
		}
		l.count.DroppedTotal += uint64(b.set(f))
		if own.here[a] && !b.here[a] && !slices.Contains(left, a) {
			l.owe(f)
		}
	}
	for _, a := range left { // its last words, if it is here by now
		if own.here[a] {
			l.owe(b.list(a)...)
		}
	}
	b.expire(now)
}

// owe has connections be adopted soon, as far as there may be so many.
func (l *flowLedger) owe(flows ...Flow) {
	l.due = append(l.due, flows[:min(len(flows), max(0, mostFlows-len(l.due)))]...)
	l.late.set()
}

// lately returns what is to be adopted by now.
func (l *flowLedger) lately() []Flow {
	l.mu.Lock()
	defer l.mu.Unlock()
	due := l.due
	l.due = nil
	return due
}

// adopted counts.
func (l *flowLedger) adopted(n int) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.count.AdoptedTotal += uint64(n)
}

// only forgets what gateways told that are no siblings any more.
func (l *flowLedger) only(list []Sibling) {
	l.mu.Lock()
	defer l.mu.Unlock()
	for id := range l.books {
		if id != l.self && !slices.ContainsFunc(list, func(s Sibling) bool { return s.ID == id }) {
			delete(l.books, id)
		}
	}
}

// join begins a conversation, and leave ends it.
func (l *flowLedger) join() *flowTalk {
	l.mu.Lock()
	defer l.mu.Unlock()
	t := &flowTalk{all: true}
	l.talks[t] = struct{}{}
	return t
}

func (l *flowLedger) leave(t *flowTalk) {
	l.mu.Lock()
	defer l.mu.Unlock()
	delete(l.talks, t)
}

// next is what to tell now.
func (l *flowLedger) next(t *flowTalk) FlowNote {
	l.mu.Lock()
	defer l.mu.Unlock()
	var n FlowNote
	own := l.books[l.self]
	for _, a := range l.face.Inner { // in order
		if own.here[a] {
			n.Here = append(n.Here, a)
		}
	}
	if n.Full = t.all; t.all {
		for _, a := range n.Here {
			n.Began = append(n.Began, own.list(a)...)
		}
	} else {
		for f, is := range t.changed {
			if is {
				n.Began = append(n.Began, f)
			} else {
				n.Ended = append(n.Ended, f)
			}
		}
	}
	*t = flowTalk{changed: map[Flow]bool{}}
	return n
}

// counts says what is known now.
func (l *flowLedger) counts(now time.Time) FlowCount {
	l.mu.Lock()
	defer l.mu.Unlock()
	c := l.count
	for id, b := range l.books {
		b.expire(now)
		for _, e := range b.flows {
			if id == l.self && b.here[e.inner.Addr()] {
				c.Here++
			} else {
				c.Known++
			}
		}
	}
	return c
}
