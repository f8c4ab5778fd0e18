package gateway

import (
	"context"
	"errors"
	"iter"
	"maps"
	"slices"
	"sync"
	"time"
)

const (
	// hedge is how long a plane may take to answer before another is asked too.
	hedge = time.Second
	// silence is how long a plane may say nothing before another is asked
	// whether there is news.
	silence = 10 * time.Second
)

// verdict is what to do with something that a plane said.
type verdict int

const (
	tell       verdict = iota // pass it on: whoever said it is the source from now on
	nothingNew                // whoever said it is as good as the source
	old                       // whoever said it is behind
)

// source makes one stream of the streams of several planes. It is used once.
type source[T any] struct {
	planes *planes
	probe  bool // ask others after a silence
	open   func(context.Context, ControlPlane) iter.Seq2[T, error]
	// accept judges what a plane said; aside: it is not the source.
	accept func(v T, aside bool) verdict

	said    chan said[T]
	streams map[int]context.CancelFunc // by plane
	current int                        // the source; -1: none
	last    int                        // the plane that was opened last
	errs    map[int]error              // by plane: why it failed, since anything was told
}

type said[T any] struct {
	plane int
	v     T
	err   error
}

// run yields until ctx ends, yield says false, or no plane is left.
func (s *source[T]) run(ctx context.Context, yield func(T, error) bool) {
	var none T
	if !s.planes.present(ctx) {
		if ctx.Err() == nil {
			yield(none, errNoPlane)
		}
		return
	}
	ctx, cancel := context.WithCancel(ctx)
	var wg sync.WaitGroup
	defer wg.Wait()
	defer cancel()
	s.said, s.streams, s.errs, s.current = make(chan said[T]), map[int]context.CancelFunc{}, map[int]error{}, -1
	s.last = int(s.planes.prefer.Load()) - 1
	if !s.next(ctx, &wg) {
		yield(none, errNoPlane) // it went again
		return
	}
	timer := time.NewTimer(hedge)
	defer timer.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-timer.C:
			timer.Reset(s.quiet(ctx, &wg))
			continue
		case m := <-s.said:
			if s.streams[m.plane] == nil {
				continue // it was ended meanwhile
			}
			if errors.Is(m.err, ErrReplaced) && m.plane == s.current {
				yield(none, m.err) // somebody else is this gateway now, wherever
				return
			}
			if m.err != nil {
				if !s.failed(ctx, &wg, m) {
					yield(none, s.reason())
					return
				}
				timer.Reset(hedge)
				continue
			}
			if !s.heard(m) {
				continue
			}
			timer.Reset(silence)
			if !yield(m.v, nil) {
				return
			}
		}
	}
}

// next opens the next plane that has no stream and did not fail, and says
// whether there was one.
func (s *source[T]) next(ctx context.Context, wg *sync.WaitGroup) bool {
	all := s.planes.now()
	for n := range all {
		i := (s.last + 1 + n) % len(all)
		if all[i] == nil || s.streams[i] != nil || s.errs[i] != nil {
			continue
		}
		s.last = i
		inner, cancel := context.WithCancel(ctx)
		s.streams[i] = cancel
		stream := s.open(inner, all[i])
		wg.Go(func() {
			pass := func(m said[T]) bool {
				select {
				case s.said <- m:
					return m.err == nil
				case <-inner.Done():
					return false
				}
			}
			for v, err := range stream {
				if !pass(said[T]{i, v, err}) {
					return
				}
			}
			pass(said[T]{plane: i, err: errEnded})
		})
		return true
	}
	return false
}

func (s *source[T]) end(i int) {
	s.streams[i]()
	delete(s.streams, i)
}

// heard says whether to pass on what a plane said. If so, it is the source, and
// the others are ended.
func (s *source[T]) heard(m said[T]) bool {
	v := s.accept(m.v, s.current >= 0 && s.current != m.plane)
	if v != tell && (v == old || s.current >= 0) {
		return false
	}
	s.current = m.plane
	s.planes.prefer.Store(int32(m.plane))
	clear(s.errs)
	for i := range s.streams {
		if i != m.plane {
			s.end(i)
		}
	}
	return v == tell
}

// failed notes that a stream ended, opens another if need be, and says false if
// none is left.
func (s *source[T]) failed(ctx context.Context, wg *sync.WaitGroup, m said[T]) bool {
	s.end(m.plane)
	s.errs[m.plane] = m.err
	if m.plane == s.current {
		s.current = -1
	}
	return len(s.streams) > 0 || s.next(ctx, wg)
}

func (s *source[T]) reason() error {
	var all []error
	for _, i := range slices.Sorted(maps.Keys(s.errs)) {
		all = append(all, s.errs[i])
	}
	return errors.Join(all...)
}

// quiet is called when nothing was said for a while. It asks another plane, or
// ends those that were asked and had no news, and says how long to wait now.
func (s *source[T]) quiet(ctx context.Context, wg *sync.WaitGroup) time.Duration {
	if s.current < 0 {
		if !s.next(ctx, wg) {
			clear(s.errs) // who failed may answer by now, and those that are asked may never
		}
		return hedge
	}
	if len(s.streams) > 1 {
		for i := range s.streams {
			if i != s.current {
				s.end(i)
			}
		}
		return silence
	}
	clear(s.errs) // who failed then may answer now
	if s.probe && s.next(ctx, wg) {
		return hedge
	}
	return silence
}
