package vpn

import "sync"

// bell wakes everybody who waits for it. The zero value is ready.
type bell struct {
	mu sync.Mutex
	c  chan struct{} // guarded by mu; nil: nobody waits
}

// wait returns a channel that is closed when the bell rings next. Take it before
// looking at what the bell is about.
func (b *bell) wait() <-chan struct{} {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.c == nil {
		b.c = make(chan struct{})
	}
	return b.c
}

func (b *bell) ring() {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.c != nil {
		close(b.c)
		b.c = nil
	}
}

// nudge wakes one who waits on c, now or when it looks next; c has room for one.
func nudge(c chan<- struct{}) {
	select {
	case c <- struct{}{}:
	default: // it is awake already
	}
}
