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
	"github.com/holdfastvpn/holdfast/vpn/wgkey"
)

// Each part below is wrong in one way that clients notice.
func TestPlantedBugsOfTheDataPathAreFound(t *testing.T) {
	t.Parallel()
	for name, bug := range map[string]struct {
		parts  sim.Parts
		says   []string // one of these is said of it, the promise first
		within uint64   // seeds
	}{
		"a gateway that lost the address does not forget": {
			sim.Parts{Device: loyal}, []string{"P13: knows still where", "P13: is not back", "P13: has had no answer", "P13: was drawn"}, 10,
		},
		"clients are kicked before the address is there": {
			sim.Parts{Early: 50 * time.Millisecond}, []string{"P13: was drawn", "P13: is not back"}, 5,
		},
		"a kick leaves the keepalive on": {
			sim.Parts{Device: clinging}, []string{"P13: left a keepalive on"}, 5,
		},
		"an initiation counts as a session": {
			sim.Parts{Device: credulous}, []string{"P8: reset", "P13: knows still where", "P13: is not back"}, 30,
		},
		"what a sibling saw is taken for newer than it is": {
			sim.Parts{Talker: rejuvenating}, []string{"P8: reset"}, 20,
		},
		"a takeover goes on when the address has gone": {
			sim.Parts{Device: possessive}, []string{"P13: was drawn", "P13: knows still where", "P13: is not back", "P13: has had no answer"}, 10,
		},
		"who is idle is dialled": {
			sim.Parts{Talker: tireless}, []string{"P13: has said nothing"}, 60,
		},
		"a gateway kicks whatever its clock shows": {
			sim.Parts{Guard: func(gateway.Clocks) error { return nil }}, []string{"P13: kicks with a clock"}, 60,
		},
		"a takeover kicks nobody": {
			sim.Parts{Device: shy}, []string{"P13: is not back"}, 10,
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			hunt(t, bug.within, func() sim.Parts { return bug.parts }, func(v sim.Violation) bool {
				return slices.ContainsFunc(bug.says, func(says string) bool {
					promise, words, _ := strings.Cut(says, ": ")
					return v.Promise == promise && strings.Contains(v.What, words)
				})
			})
		})
	}
}

// Histories in which nothing can be wrong prove nothing.
func TestHistoriesMoveClients(t *testing.T) {
	t.Parallel()
	var sum sim.Count
	for seed := range uint64(5) {
		r := play(t, sim.Config{Seed: seed + 1})
		require.Empty(t, r.Violations)
		sum.Moves += r.Count.Moves
		sum.Taken += r.Count.Taken
		sum.Reached += r.Count.Reached
		sum.Kicks += r.Count.Kicks
	}
	require.Greater(t, sum.Moves, 20)
	require.Greater(t, sum.Taken, 5)
	require.Greater(t, sum.Reached, 1000)
	require.Greater(t, sum.Kicks, 50)
}

// lens is a device that is seen as another one.
type lens struct {
	device

	see func(*gateway.PeerState)
}

// Observe implements gateway.Device.
func (l lens) Observe(ctx context.Context, s *gateway.State) error {
	err := l.device.Observe(ctx, s)
	for i := range s.Peers {
		if l.see != nil {
			l.see(&s.Peers[i])
		}
	}
	return err
}

// forgets says whether a plan removes the peer to set it again, and does not kick it.
func forgets(p gateway.Plan, key wgkey.Public) bool {
	has := map[gateway.Verb]bool{}
	for _, s := range p {
		if s.Peer.Key == key {
			has[s.Verb] = true
		}
	}
	return has[gateway.Remove] && has[gateway.Set] && !has[gateway.Kick]
}

// loyal forgets no session.
func loyal(_ string, d gateway.Device) gateway.Device {
	return device{Device: d, change: func(p gateway.Plan) gateway.Plan {
		var out gateway.Plan
		for _, s := range p {
			if !forgets(p, s.Peer.Key) || s.Verb != gateway.Remove {
				out = append(out, s)
			}
		}
		return out
	}}
}

// clinging leaves keepalives on after a kick, and does not show them.
func clinging(_ string, d gateway.Device) gateway.Device {
	return lens{
		device{Device: d, change: func(p gateway.Plan) gateway.Plan {
			p = append(gateway.Plan(nil), p...)
			for i := range p {
				if p[i].Verb == gateway.Kick {
					p[i].Peer.Keepalive = 25 * time.Second
				}
			}
			return p
		}},
		func(p *gateway.PeerState) { p.Keepalive = 0 },
	}
}

// credulous shows a handshake where there is no more than an initiation.
func credulous(_ string, d gateway.Device) gateway.Device {
	var mu sync.Mutex
	since := map[wgkey.Public]time.Time{}
	return lens{device{Device: d}, func(p *gateway.PeerState) {
		mu.Lock()
		defer mu.Unlock()
		switch {
		case !p.Handshake.IsZero() || p.Rx == 0:
			delete(since, p.Key)
		case since[p.Key].IsZero():
			since[p.Key] = time.Now()
			fallthrough
		default:
			p.Handshake = since[p.Key]
		}
	}}
}

// possessive kicks once more whom it is to forget, where it was.
func possessive(_ string, d gateway.Device) gateway.Device {
	return device{Device: d, change: func(p gateway.Plan) gateway.Plan {
		var have gateway.State
		if d.Observe(context.Background(), &have) != nil {
			return p
		}
		p = append(gateway.Plan(nil), p...)
		for _, peer := range have.Peers {
			if forgets(p, peer.Key) && peer.Endpoint.IsValid() {
				p = append(p, gateway.Step{Verb: gateway.Kick, Peer: gateway.Peer{Key: peer.Key, Endpoint: peer.Endpoint}})
			}
		}
		return p
	}}
}

// shy kicks nobody.
func shy(_ string, d gateway.Device) gateway.Device {
	return device{Device: d, change: func(p gateway.Plan) gateway.Plan {
		return p.Only(gateway.Remove, gateway.Unroute, gateway.Destroy, gateway.Configure, gateway.Set, gateway.Route)
	}}
}

// talker is one who mishears.
type talker struct {
	gateway.Talker

	hear func(*gateway.Sighting)
}

// Talk implements gateway.Talker.
func (t talker) Talk(ctx context.Context, at gateway.LocationID, with gateway.ID, in iter.Seq[gateway.Note]) iter.Seq2[gateway.Note, error] {
	return t.Talker.Talk(ctx, at, with, func(yield func(gateway.Note) bool) {
		for n := range in {
			for i := range n.Seen {
				t.hear(&n.Seen[i])
			}
			if !yield(n) {
				return
			}
		}
	})
}

// rejuvenating takes all that it is told for what is so now.
func rejuvenating(_ string, t gateway.Talker) gateway.Talker {
	return talker{t, func(s *gateway.Sighting) {
		if !s.Handshake.IsZero() {
			s.Handshake, s.Heard = time.Now(), time.Now()
		}
	}}
}

// tireless believes that whoever was seen is there still.
func tireless(_ string, t gateway.Talker) gateway.Talker {
	return talker{t, func(s *gateway.Sighting) {
		if !s.Heard.IsZero() {
			s.Heard = s.Heard.Add(10 * time.Minute)
		}
	}}
}
