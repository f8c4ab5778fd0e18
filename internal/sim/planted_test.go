package sim_test

import (
	"context"
	"iter"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/holdfastvpn/holdfast/gateway"
	"github.com/holdfastvpn/holdfast/internal/sim"
	"github.com/holdfastvpn/holdfast/location"
	"github.com/holdfastvpn/holdfast/vpn"
	"github.com/holdfastvpn/holdfast/vpn/kvstore"
)

// Each part below is wrong in one way. Within so many seeds the simulation finds
// out, and says which promise it broke.
func TestPlantedBugsAreFound(t *testing.T) {
	t.Parallel()
	for name, bug := range map[string]struct {
		parts   func() sim.Parts // for one history
		promise []string
		within  uint64 // seeds
	}{
		"a link loses what an update says": {
			parts:   func() sim.Parts { return sim.Parts{Plane: forgetful} },
			promise: []string{"P9"}, within: 10,
		},
		"a gateway takes an old configuration for the newest": {
			parts:   func() sim.Parts { return sim.Parts{Pool: nostalgic} },
			promise: []string{"P9"}, within: 10,
		},
		"a core that was restarted answers from what it saw first": {
			parts:   func() sim.Parts { return sim.Parts{Stores: frozen()} },
			promise: []string{"P9"}, within: 20,
		},
		"a core looks only when a gateway comes": {
			parts: func() sim.Parts { return sim.Parts{Stores: lazy} },
			// Seen by one history in thirteen: who writes through this core has to have
			// no way of their own to a gateway that another, lazy one still reaches.
			promise: []string{"P9", "P14"}, within: 120,
		},
		"a change of the interface replaces its peers": {
			parts:   func() sim.Parts { return sim.Parts{Device: hasty} },
			promise: []string{"P8"}, within: 10,
		},
		"a process takes its interface with it": {
			parts:   func() sim.Parts { return sim.Parts{Device: tidy} },
			promise: []string{"P2"}, within: 20,
		},
		"a device says that it removed a peer, and has not": {
			parts:   func() sim.Parts { return sim.Parts{Device: deaf} },
			promise: []string{"P9", "P13"}, within: 10,
		},
		"a database acknowledges before it commits": {
			parts:   func() sim.Parts { return sim.Parts{DB: losing()} },
			promise: []string{"P9"}, within: 30,
		},
		"a database does not see the claims of others": {
			parts:   func() sim.Parts { return sim.Parts{DB: lax} },
			promise: []string{"P10"}, within: 20,
		},
		"a gateway hears no more of siblings": {
			parts:   func() sim.Parts { return sim.Parts{Plane: estranged()} },
			promise: []string{"P1"}, within: 10,
		},
		"a core takes its time": {
			parts:   func() sim.Parts { return sim.Parts{Plane: late} },
			promise: []string{"P14"}, within: 5,
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			hunt(t, bug.within, bug.parts, func(v sim.Violation) bool { return slices.Contains(bug.promise, v.Promise) })
		})
	}
}

// hunt plays histories with something broken until one is wrong, which has to be for
// the right reason.
func hunt(t *testing.T, within uint64, parts func() sim.Parts, right func(sim.Violation) bool) {
	t.Helper()
	for seed := range within {
		r := play(t, sim.Config{Seed: seed + 1, Parts: parts()})
		if len(r.Violations) > 0 {
			require.True(t, right(r.Violations[0]), "seed %d: %v\n%s", seed+1, r.Violations, strings.Join(r.History, "\n"))
			t.Logf("seed %d, after %v: %v", seed+1, r.Violations[0].At, r.Violations[0])
			return
		}
	}
	require.Fail(t, "it was not found")
}

// plane is a plane whose Watch is another one.
type plane struct {
	gateway.ControlPlane

	watch func(ctx context.Context, id gateway.ID, at gateway.LocationID, have gateway.Revision) iter.Seq2[gateway.Update, error]
}

// Watch implements gateway.ControlPlane.
func (p *plane) Watch(ctx context.Context, id gateway.ID, at gateway.LocationID, have gateway.Revision) iter.Seq2[gateway.Update, error] {
	return p.watch(ctx, id, at, have)
}

// kin is a plane whose Assigned is another one.
type kin struct {
	gateway.ControlPlane

	change func([]gateway.Assignment)
}

// Assigned implements gateway.ControlPlane.
func (k *kin) Assigned(ctx context.Context, id gateway.ID) iter.Seq2[[]gateway.Assignment, error] {
	return func(yield func([]gateway.Assignment, error) bool) {
		for list, err := range k.ControlPlane.Assigned(ctx, id) {
			k.change(list)
			if !yield(list, err) {
				return
			}
		}
	}
}

// estranged tells a gateway of siblings what it was told of them at first.
func estranged() func(string, string, gateway.ControlPlane) gateway.ControlPlane {
	var mu sync.Mutex
	first := map[string][]gateway.Sibling{}
	return func(gw, _ string, p gateway.ControlPlane) gateway.ControlPlane {
		return &kin{p, func(list []gateway.Assignment) {
			mu.Lock()
			defer mu.Unlock()
			for i := range list {
				where := gw + " at " + string(list[i].Location)
				if _, known := first[where]; !known {
					first[where] = slices.Clone(list[i].Siblings)
				}
				list[i].Siblings = slices.Clone(first[where])
			}
		}}
	}
}

// forgetful loses the content of each fifth update of a stream.
func forgetful(_, _ string, p gateway.ControlPlane) gateway.ControlPlane {
	return &plane{p, func(ctx context.Context, id gateway.ID, at gateway.LocationID, have gateway.Revision) iter.Seq2[gateway.Update, error] {
		return func(yield func(gateway.Update, error) bool) {
			n := 0
			for u, err := range p.Watch(ctx, id, at, have) {
				if n++; n%5 == 0 && !u.From.IsZero() {
					u = gateway.Update{From: u.From, To: u.To}
				}
				if !yield(u, err) {
					return
				}
			}
		}
	}}
}

// nostalgic takes what a location was at first for what it is now, with each
// tenth update.
func nostalgic(_ string, p gateway.ControlPlane) gateway.ControlPlane {
	return &plane{p, func(ctx context.Context, id gateway.ID, at gateway.LocationID, have gateway.Revision) iter.Seq2[gateway.Update, error] {
		return func(yield func(gateway.Update, error) bool) {
			var first gateway.Update
			n := 0
			for u, err := range p.Watch(ctx, id, at, have) {
				if u.From.IsZero() && err == nil {
					first = u.Clone()
				}
				if n++; n%10 == 0 && err == nil && first.Interface != nil {
					first.To = u.To
					u = first.Clone()
				}
				if !yield(u, err) {
					return
				}
			}
		}
	}}
}

// late delays each update by more than a second.
func late(_, _ string, p gateway.ControlPlane) gateway.ControlPlane {
	return &plane{p, func(ctx context.Context, id gateway.ID, at gateway.LocationID, have gateway.Revision) iter.Seq2[gateway.Update, error] {
		return func(yield func(gateway.Update, error) bool) {
			for u, err := range p.Watch(ctx, id, at, have) {
				wait := time.NewTimer(1200 * time.Millisecond)
				select {
				case <-wait.C:
				case <-ctx.Done():
					return
				}
				if !yield(u, err) {
					return
				}
			}
		}
	}}
}

// store is a backend with another feed.
type store struct {
	vpn.Stores

	feed vpn.Feed
}

// Feed implements vpn.Stores.
func (s store) Feed() vpn.Feed { return s.feed }

// frozen gives a core that was started again the heads and views that it saw
// first.
func frozen() func(string, int, vpn.Stores) vpn.Stores {
	return func(_ string, start int, s vpn.Stores) vpn.Stores {
		if start == 0 {
			return s
		}
		return store{s, &ice{Feed: s.Feed(), views: map[location.ID]vpn.View{}}}
	}
}

type ice struct {
	vpn.Feed

	mu    sync.Mutex
	heads map[location.ID]vpn.Revision
	views map[location.ID]vpn.View
}

// Heads implements vpn.Feed.
func (f *ice) Heads(ctx context.Context) (map[location.ID]vpn.Revision, error) {
	now, err := f.Feed.Heads(ctx)
	f.mu.Lock()
	defer f.mu.Unlock()
	if err == nil && f.heads == nil {
		f.heads = now
	}
	return f.heads, err
}

// View implements vpn.Feed.
func (f *ice) View(ctx context.Context, at location.ID, after vpn.Revision) (vpn.View, error) {
	f.mu.Lock()
	old, seen := f.views[at]
	f.mu.Unlock()
	if seen {
		return old, nil
	}
	now, err := f.Feed.View(ctx, at, vpn.Revision{})
	f.mu.Lock()
	defer f.mu.Unlock()
	if err == nil {
		f.views[at] = now
	}
	return now, err
}

// lazy hears no hints, and does not look at the heads again.
func lazy(_ string, _ int, s vpn.Stores) vpn.Stores {
	return store{s, &drowsy{ice: ice{Feed: s.Feed()}}}
}

type drowsy struct{ ice }

// Hints implements vpn.Feed.
func (*drowsy) Hints(ctx context.Context) iter.Seq[vpn.Hint] {
	return func(func(vpn.Hint) bool) { <-ctx.Done() }
}

// View implements vpn.Feed.
func (f *drowsy) View(ctx context.Context, at location.ID, after vpn.Revision) (vpn.View, error) {
	return f.Feed.View(ctx, at, after)
}

// device is a device that does something else with plans.
type device struct {
	gateway.Device

	change func(gateway.Plan) gateway.Plan
	ending bool // it ends with its handle
}

// Apply implements gateway.Device.
func (d device) Apply(ctx context.Context, p gateway.Plan) error {
	if d.change != nil {
		p = d.change(p)
	}
	return d.Device.Apply(ctx, p)
}

// Close implements gateway.Device.
func (d device) Close() error {
	if d.ending {
		if err := d.Device.Apply(context.Background(), gateway.Plan{{Verb: gateway.Destroy}}); err != nil {
			return err
		}
	}
	return d.Device.Close()
}

// hasty removes and sets all peers when the interface changes.
func hasty(_ string, d gateway.Device) gateway.Device {
	var mu sync.Mutex
	have := map[string]gateway.Step{}
	return device{Device: d, change: func(p gateway.Plan) gateway.Plan {
		mu.Lock()
		defer mu.Unlock()
		for _, s := range p {
			switch s.Verb {
			case gateway.Remove:
				delete(have, s.Peer.Key.String())
			case gateway.Set:
				have[s.Peer.Key.String()] = s
			case gateway.Destroy:
				clear(have)
			default:
			}
		}
		if !slices.ContainsFunc(p, func(s gateway.Step) bool { return s.Verb == gateway.Configure && s.Fields&gateway.FieldCreate == 0 }) {
			return p
		}
		p = slices.Clone(p)
		for _, s := range have {
			p = append(p, gateway.Step{Verb: gateway.Remove, Peer: s.Peer}, s)
		}
		return p
	}}
}

// tidy ends the interface with the handle.
func tidy(_ string, d gateway.Device) gateway.Device { return device{Device: d, ending: true} }

// deaf does not remove, but for those that are set again.
func deaf(_ string, d gateway.Device) gateway.Device {
	return device{Device: d, change: func(p gateway.Plan) gateway.Plan {
		return slices.DeleteFunc(slices.Clone(p), func(s gateway.Step) bool {
			return s.Verb == gateway.Remove && !slices.ContainsFunc(p, func(o gateway.Step) bool {
				return o.Verb == gateway.Set && o.Peer.Key == s.Peer.Key
			})
		})
	}}
}

// losing is a database that loses what a core wrote shortly before it was killed.
// All see it until the core is back.
func losing() func(string, kvstore.DB) kvstore.DB {
	before := map[string]*lossy{}
	return func(core string, db kvstore.DB) kvstore.DB {
		if l := before[core]; l != nil {
			l.lose(5 * time.Second)
		}
		before[core] = &lossy{DB: db}
		return before[core]
	}
}

type lossy struct {
	kvstore.DB

	mu   sync.Mutex
	undo []undo
}

type undo struct {
	at    time.Time
	pairs []kvstore.Pair // as they were
}

// Update implements kvstore.DB.
func (l *lossy) Update(ctx context.Context, do func(kvstore.Tx) error) error {
	var old []kvstore.Pair
	err := l.DB.Update(ctx, func(tx kvstore.Tx) error {
		old = nil
		return do(watched{tx, &old})
	})
	l.mu.Lock()
	defer l.mu.Unlock()
	if err == nil {
		l.undo = append(l.undo, undo{time.Now(), old})
	}
	return err
}

// lose undoes what was written so long before the last write, latest first.
func (l *lossy) lose(span time.Duration) {
	_ = l.DB.Update(context.Background(), func(tx kvstore.Tx) error {
		for _, u := range slices.Backward(l.undo) {
			if l.undo[len(l.undo)-1].at.Sub(u.at) > span {
				break
			}
			for _, p := range slices.Backward(u.pairs) {
				if err := tx.Put(p.Key, p.Value); err != nil {
					return err
				}
			}
		}
		return nil
	})
}

type watched struct {
	kvstore.Tx

	old *[]kvstore.Pair
}

// Put implements kvstore.Tx.
func (t watched) Put(key string, value []byte) error {
	was, err := t.Get(key)
	if err != nil {
		return err
	}
	*t.old = append(*t.old, kvstore.Pair{Key: key, Value: was})
	return t.Tx.Put(key, value)
}

// lax is a database that does not see who holds a name or a prefix.
func lax(_ string, db kvstore.DB) kvstore.DB { return blind{db} }

type blind struct{ kvstore.DB }

// Update implements kvstore.DB.
func (b blind) Update(ctx context.Context, do func(kvstore.Tx) error) error {
	return b.DB.Update(ctx, func(tx kvstore.Tx) error { return do(unclaimed{tx}) })
}

type unclaimed struct{ kvstore.Tx }

// Get implements kvstore.Tx.
func (t unclaimed) Get(key string) ([]byte, error) {
	if strings.HasPrefix(key, "claim/") {
		return nil, nil
	}
	return t.Tx.Get(key)
}

// Scan implements kvstore.Tx.
func (t unclaimed) Scan(from, to string) iter.Seq2[kvstore.Pair, error] {
	if strings.HasPrefix(from, "claim/") {
		return func(func(kvstore.Pair, error) bool) {}
	}
	return t.Tx.Scan(from, to)
}
