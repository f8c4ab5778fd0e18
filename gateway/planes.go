package gateway

import (
	"context"
	"errors"
	"fmt"
	"iter"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/holdfastvpn/holdfast/vpn/wgkey"
)

// patience is how long further planes may take to accept a Report when one has.
const patience = 100 * time.Millisecond

var (
	errNoPlane  = errors.New("gateway: there is no control plane to ask")
	errNoAnswer = errors.New("gateway: no control plane has answered the last report yet")
)

// Planes returns a ControlPlane that stands for several that tell the same, such
// as the cores on one store.
//
// It watches one, the one that answers first, and changes over to another when
// that one ends, going on from the revision that was reached. When one has said
// nothing for a while, it asks another whether there is news, so that a plane
// which has lost touch with its store does not keep a gateway behind. It never
// goes back to an older revision.
//
// It reports to all. A Report is accepted when one has accepted it; a plane that
// is slow or away delays none of the others, and is told everything once it
// answers. Calls to slow planes go on after Report returned, until its context
// ends: give it a deadline, and do not cancel it when Report was accepted.
func Planes(p ...ControlPlane) ControlPlane {
	if len(p) == 1 {
		return p[0]
	}
	return &planes{all: slices.Clone(p), tables: map[place]*table{}}
}

type planes struct {
	prefer atomic.Int32 // index of the one that was watched last
	waits  bool         // streams wait while there is none

	mu      sync.Mutex
	all     []ControlPlane // nil: away
	changed chan struct{}  // closed when one comes; nil: nobody waits
	tables  map[place]*table
}

// now returns the planes, nil for those that are away. An index stays that of one
// plane.
func (p *planes) now() []ControlPlane {
	p.mu.Lock()
	defer p.mu.Unlock()
	return slices.Clone(p.all)
}

// present waits until there is a plane, and says whether there is one.
func (p *planes) present(ctx context.Context) bool {
	for {
		p.mu.Lock()
		there := slices.ContainsFunc(p.all, func(c ControlPlane) bool { return c != nil })
		if !there && p.changed == nil {
			p.changed = make(chan struct{})
		}
		changed := p.changed
		p.mu.Unlock()
		if there || !p.waits {
			return there
		}
		select {
		case <-ctx.Done():
			return false
		case <-changed:
		}
	}
}

// place is whose status it is.
type place struct {
	id ID
	at LocationID
}

// table is what has been reported for a place, to all planes together.
type table struct {
	epoch uint64
	full  bool // seen has all there is
	seen  map[wgkey.Public]Sighting
	busy  map[int]bool // by plane: a call has not come back
	owed  map[int]bool // by plane: it did not get everything
}

// Assigned implements ControlPlane.
func (p *planes) Assigned(ctx context.Context, id ID) iter.Seq2[[]Assignment, error] {
	return func(yield func([]Assignment, error) bool) {
		var last []Assignment
		told := false
		s := source[[]Assignment]{
			planes: p,
			probe:  true, // whoever is asked anew reads what is true now
			open: func(ctx context.Context, c ControlPlane) iter.Seq2[[]Assignment, error] {
				return c.Assigned(ctx, id)
			},
			accept: func(at []Assignment, _ bool) verdict {
				if told && slices.EqualFunc(at, last, Assignment.Equal) {
					return nothingNew
				}
				last, told = cloneAssignments(at), true
				return tell
			},
		}
		s.run(ctx, yield)
	}
}

// Watch implements ControlPlane.
func (p *planes) Watch(ctx context.Context, id ID, at LocationID, have Revision) iter.Seq2[Update, error] {
	return func(yield func(Update, error) bool) {
		s := source[Update]{
			planes: p,
			probe:  true,
			open: func(ctx context.Context, c ControlPlane) iter.Seq2[Update, error] {
				return c.Watch(ctx, id, at, have)
			},
			accept: func(u Update, aside bool) verdict {
				switch {
				case have.IsZero(), u.From == have && !have.Reached(u.To):
				case !u.From.IsZero(), have.Reached(u.To):
					return old // it starts elsewhere, or is not as far
				case behind(have, u.To), aside && have.Epoch != u.To.Epoch:
					return old // histories have no order: the one that is watched counts
				}
				have = u.To
				return tell
			},
		}
		s.run(ctx, yield)
	}
}

// Report implements ControlPlane.
func (p *planes) Report(ctx context.Context, id ID, at LocationID, s Status) error {
	where := place{id, at}
	all := p.now()
	send, err := p.enter(where, s, all)
	if err != nil || send == nil {
		return err
	}
	results := make(chan error, len(send))
	for i, s := range send {
		go func() { results <- p.send(ctx, all[i], i, where, s) }()
	}
	return answers(ctx, results, len(send))
}

// answers waits for n answers to a Report. One that accepts is enough, but the
// others get a moment.
func answers(ctx context.Context, results <-chan error, n int) error {
	if n == 0 {
		return errNoAnswer
	}
	var refused []error
	var enough <-chan time.Time
	for range n {
		select {
		case err := <-results:
			if err != nil {
				refused = append(refused, err)
			} else if enough == nil {
				t := time.NewTimer(patience)
				defer t.Stop()
				enough = t.C
			}
		case <-enough:
			return nil
		case <-ctx.Done():
			if enough != nil {
				return nil
			}
			return fmt.Errorf("gateway: report: %w", ctx.Err())
		}
	}
	if len(refused) < n {
		return nil
	}
	return errors.Join(refused...)
}

// enter notes what is reported, and returns what to send to which plane: nil if
// the Report is of a process that was. ErrGap asks for a full one first.
func (p *planes) enter(where place, s Status, all []ControlPlane) (map[int]Status, error) {
	if !slices.ContainsFunc(all, func(c ControlPlane) bool { return c != nil }) {
		return nil, errNoPlane
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	t := p.tables[where]
	if t == nil {
		t = &table{busy: map[int]bool{}, owed: map[int]bool{}}
		p.tables[where] = t
	}
	if s.Epoch < t.epoch {
		return nil, nil
	}
	if s.Full || s.Epoch != t.epoch {
		t.epoch, t.full, t.seen = s.Epoch, s.Full, map[wgkey.Public]Sighting{}
	}
	for _, seen := range s.Seen {
		t.seen[seen.Key] = seen
	}
	if !t.full {
		return nil, ErrGap
	}
	send := map[int]Status{}
	for i, c := range all {
		switch {
		case c == nil, t.busy[i]:
			t.owed[i] = true
			continue
		case t.owed[i] && !s.Full:
			send[i] = t.all(s)
		default:
			send[i] = s.Clone()
		}
		t.busy[i], t.owed[i] = true, false
	}
	return send, nil
}

// all is s with everything that was seen.
func (t *table) all(s Status) Status {
	s = s.Clone()
	s.Full = true
	s.Seen = make([]Sighting, 0, len(t.seen))
	for _, seen := range t.seen {
		s.Seen = append(s.Seen, seen)
	}
	slices.SortFunc(s.Seen, func(a, b Sighting) int { return a.Key.Compare(b.Key) })
	return s
}

// send reports to one plane, with everything if it asks for that.
func (p *planes) send(ctx context.Context, c ControlPlane, i int, where place, s Status) error {
	err := c.Report(ctx, where.id, where.at, s)
	if errors.Is(err, ErrGap) && !s.Full {
		p.mu.Lock()
		s = p.tables[where].all(s)
		p.mu.Unlock()
		err = c.Report(ctx, where.id, where.at, s)
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	t := p.tables[where]
	t.busy[i] = false
	t.owed[i] = t.owed[i] || err != nil
	return err
}
