package wgmodel

import (
	"container/heap"
	"time"
)

// event is something that is going to happen. Those of one instant happen in the
// order in which they were planned.
type event struct {
	at    time.Time
	seq   uint64
	do    func()
	index int // in the queue; < 0: not in it
}

// queue is what is going to happen, as a heap.
type queue []*event

// Len implements heap.Interface.
func (q queue) Len() int { return len(q) }

// Less implements heap.Interface.
func (q queue) Less(i, j int) bool {
	if !q[i].at.Equal(q[j].at) {
		return q[i].at.Before(q[j].at)
	}
	return q[i].seq < q[j].seq
}

// Swap implements heap.Interface.
func (q queue) Swap(i, j int) {
	q[i], q[j] = q[j], q[i]
	q[i].index, q[j].index = i, j
}

// Push implements heap.Interface.
func (q *queue) Push(x any) {
	e, _ := x.(*event)
	e.index = len(*q)
	*q = append(*q, e)
}

// Pop implements heap.Interface.
func (q *queue) Pop() any {
	old := *q
	e := old[len(old)-1]
	old[len(old)-1] = nil
	*q = old[:len(old)-1]
	e.index = -1
	return e
}

// pending says that e is going to happen. A nil one is not.
func (e *event) pending() bool { return e != nil && e.index >= 0 }

// at plans something. The caller holds mu.
func (n *Network) at(when time.Time, do func()) *event {
	n.seq++
	e := &event{at: when, seq: n.seq, do: do}
	heap.Push(&n.queue, e)
	if e.index == 0 && !n.running {
		n.arm()
	}
	return e
}

// cancel unplans it, if it is pending. The caller holds mu.
func (n *Network) cancel(e *event) {
	if e.pending() {
		heap.Remove(&n.queue, e.index)
	}
}

// arm sets the timer to the next event. The caller holds mu.
func (n *Network) arm() {
	if len(n.queue) == 0 || n.closed {
		return
	}
	n.timer.Reset(time.Until(n.queue[0].at))
}

// run does what is due.
func (n *Network) run() {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.running = true
	for len(n.queue) > 0 && !n.closed {
		e := n.queue[0]
		if e.at.After(time.Now()) {
			break
		}
		heap.Pop(&n.queue)
		e.do()
	}
	n.running = false
	n.arm()
}
