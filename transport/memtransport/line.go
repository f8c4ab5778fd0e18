package memtransport

import (
	"context"
	"sync"
	"time"
)

// line is what lies between two places.
type line struct {
	mu      sync.Mutex
	cut     bool
	stalled bool
	delay   time.Duration
	changed chan struct{} // closed and replaced when any of these changes
	streams map[*context.CancelCauseFunc]bool
}

func newLine() *line {
	return &line{changed: make(chan struct{}), streams: map[*context.CancelCauseFunc]bool{}}
}

func (l *line) change(edit func()) {
	l.mu.Lock()
	defer l.mu.Unlock()
	edit()
	close(l.changed)
	l.changed = make(chan struct{})
}

// sever ends all that is under way with ErrCut.
func (l *line) sever() {
	l.change(func() {
		l.cut = true
		for cancel := range l.streams {
			(*cancel)(ErrCut)
		}
	})
}

// open begins a stream or call: its context also ends with a cut, and end ends
// it.
func (l *line) open(ctx context.Context) (_ context.Context, end func()) {
	ctx, cancel := context.WithCancelCause(ctx)
	l.mu.Lock()
	defer l.mu.Unlock()
	l.streams[&cancel] = true
	if l.cut {
		cancel(ErrCut)
	}
	return ctx, func() {
		l.mu.Lock()
		defer l.mu.Unlock()
		delete(l.streams, &cancel)
		cancel(nil)
	}
}

// cross waits until something may cross the line once.
func (l *line) cross(ctx context.Context) error {
	for slowed := false; ; {
		l.mu.Lock()
		stalled, delay, changed := l.stalled, l.delay, l.changed
		l.mu.Unlock()
		if err := context.Cause(ctx); err != nil {
			return err
		}
		var wait <-chan time.Time
		switch {
		case stalled:
		case delay > 0 && !slowed:
			t := time.NewTimer(delay)
			defer t.Stop()
			wait, changed, slowed = t.C, nil, true
		default:
			return nil
		}
		select {
		case <-changed:
		case <-wait:
		case <-ctx.Done():
		}
	}
}
