package gateway_test

import (
	"context"
	"math/rand/v2"
	"net/netip"
	"slices"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"

	"github.com/holdfastvpn/holdfast/gateway"
	"github.com/holdfastvpn/holdfast/gateway/gatewaytest"
	"github.com/holdfastvpn/holdfast/gateway/memdevice"
	"github.com/holdfastvpn/holdfast/vpn/wgkey"
)

// air is a device, and the clients that it can reach.
type air struct {
	t       rapid.TB
	device  *memdevice.Device
	want    gateway.Config
	now     time.Time
	random  *rand.Rand
	rtt     map[wgkey.Public]time.Duration // of those who answer
	where   map[wgkey.Public]netip.AddrPort
	loss    float64
	answers []answer
	kicks   map[wgkey.Public][]time.Time
	begun   map[wgkey.Public]time.Time // the handshake that is under way
}

// answer is one that is under way.
type answer struct {
	at    time.Time
	key   wgkey.Public
	began time.Time
}

func newAir(t rapid.TB, n int, seed uint64) *air {
	a := &air{
		t: t, device: memdevice.New(), want: gatewaytest.Config(n), now: start,
		random: rand.New(rand.NewPCG(seed, 1)),
		rtt:    map[wgkey.Public]time.Duration{}, where: map[wgkey.Public]netip.AddrPort{},
		kicks: map[wgkey.Public][]time.Time{}, begun: map[wgkey.Public]time.Time{},
	}
	require.NoError(t, a.device.Apply(context.Background(), gateway.Diff(a.want, gateway.State{})))
	a.device.OnKick(func(p gateway.Peer) {
		if began, under := a.begun[p.Key]; under && a.now.Sub(began) < 5*time.Second {
			return // REKEY_TIMEOUT
		}
		a.kicks[p.Key] = append(a.kicks[p.Key], a.now)
		a.begun[p.Key] = a.now
		rtt, awake := a.rtt[p.Key]
		lost := 1 - (1-a.loss)*(1-a.loss) // there, or back
		if awake && a.where[p.Key] == p.Endpoint && a.random.Float64() >= lost {
			a.answers = append(a.answers, answer{a.now.Add(rtt), p.Key, a.now})
		}
	})
	return a
}

// targets are all peers, in the order of the configuration.
func (a *air) targets() (all []gateway.Target) {
	for _, p := range a.want.Peers {
		all = append(all, gateway.Target{Key: p.Key, Heard: start, Places: [2]netip.AddrPort{home, cafe}})
	}
	return all
}

// round plays one: time passes, answers come, and the takeover acts.
func (a *air) round(take *gateway.Takeover, pause time.Duration) gateway.Plan {
	a.now = a.now.Add(pause)
	a.answers = slices.DeleteFunc(a.answers, func(r answer) bool {
		if r.at.After(a.now) {
			return false
		}
		if a.begun[r.key].Equal(r.began) { // else it is of a handshake that was given up
			a.device.Hear(r.key, memdevice.Traffic{Rx: 92 + 32, Tx: 180, Handshake: r.at}) // and it goes on sending
		}
		return true
	})
	var s gateway.State
	require.NoError(a.t, a.device.Observe(context.Background(), &s))
	p := take.Round(a.want, &s, a.now)
	for _, step := range p {
		if step.Verb == gateway.Remove {
			delete(a.begun, step.Peer.Key)
		}
	}
	require.NoError(a.t, a.device.Apply(context.Background(), p))
	return p
}

// up says which peers have a session.
func (a *air) up() (n int) {
	var s gateway.State
	require.NoError(a.t, a.device.Observe(context.Background(), &s))
	for _, p := range s.Peers {
		if !p.Handshake.IsZero() {
			n++
		}
	}
	return n
}

// awake lets all peers answer from a place.
func (a *air) awake(rtt time.Duration, where netip.AddrPort) {
	for _, p := range a.want.Peers {
		a.rtt[p.Key], a.where[p.Key] = rtt, where
	}
}

const look = 20 * time.Millisecond

// run plays rounds until the takeover is over, and returns how long it took.
func (a *air) run(take *gateway.Takeover) time.Duration {
	began := a.now
	for n := 0; !take.Over(); n++ {
		require.Less(a.t, n, 10000, "it does not end")
		a.round(take, look)
	}
	return a.now.Sub(began)
}

func TestTakeoverBringsEverybodyOver(t *testing.T) {
	a := newAir(t, 1000, 1)
	a.awake(30*time.Millisecond, home)
	take := gateway.NewTakeover(a.targets())
	took := a.run(take)
	require.Equal(t, 1000, take.Up())
	require.Zero(t, take.Left())
	require.Less(t, took, time.Second)
	for _, p := range a.want.Peers {
		require.Len(t, a.kicks[p.Key], 1, "somebody was tried again who had answered")
	}
	var s gateway.State
	require.NoError(t, a.device.Observe(context.Background(), &s))
	require.Empty(t, gateway.Diff(a.want, s), "it left something behind")
}

// Whatever gets lost, and however far away somebody is: who is there comes over, no
// later than in three times the time of its way.
func TestTakeoverTriesAgain(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		rtt := time.Duration(rapid.IntRange(0, 1500).Draw(t, "rtt")) * time.Millisecond
		a := newAir(t, 3, 1)
		a.awake(rtt, home)
		all := a.targets()
		for i := range all {
			all[i].Places[1] = netip.AddrPort{}
		}
		take := gateway.NewTakeover(all)
		took := a.run(take)
		require.Equal(t, 3, take.Up())
		require.LessOrEqual(t, took, 3*rtt+300*time.Millisecond)
	})
	a := newAir(t, 1000, 7)
	a.loss = 0.01
	a.awake(30*time.Millisecond, home)
	take := gateway.NewTakeover(a.targets())
	a.run(take)
	require.GreaterOrEqual(t, take.Up(), 999)
	require.Equal(t, take.Up(), a.up())
}

func TestTakeoverTriesThePlaceBefore(t *testing.T) {
	a := newAir(t, 1, 1)
	a.awake(time.Millisecond, cafe)
	take := gateway.NewTakeover(a.targets())
	require.Less(t, a.run(take), time.Second)
	require.Equal(t, 1, take.Up())
}

// Nobody is tried for ever, and those who are not there hold up nobody who is.
func TestTakeoverGivesUp(t *testing.T) {
	a := newAir(t, 1200, 1)
	a.awake(30*time.Millisecond, home)
	all := a.targets()
	for _, p := range all[:600] {
		delete(a.rtt, p.Key)
	}
	take := gateway.NewTakeover(all)
	for take.Up() < 600 {
		a.round(take, look)
		require.Less(t, a.now.Sub(start), 2500*time.Millisecond, "those who sleep hold up all others: %d are up", take.Up())
	}
	require.Less(t, a.run(take), 20*time.Second)
	require.Equal(t, 600, take.Left())
	for _, p := range all[:600] {
		require.Len(t, a.kicks[p.Key], 4)
	}
}

// However long a round takes, and whoever answers: no more handshakes are begun at
// once than WireGuard can queue, the first come first, and what is not asked for
// gets nothing.
func TestTakeoverKeepsItsPace(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		n := rapid.IntRange(1, 400).Draw(t, "peers")
		a := newAir(t, n, uint64(n))
		a.loss = rapid.Float64Range(0, 1).Draw(t, "loss")
		a.awake(time.Duration(rapid.IntRange(0, 400).Draw(t, "rtt"))*time.Millisecond, home)
		all := a.targets()
		stranger := gateway.Target{Key: gatewaytest.PrivateKey(5000).Public(), Heard: start, Places: [2]netip.AddrPort{home}}
		take := gateway.NewTakeover(slices.Insert(slices.Clone(all), rapid.IntRange(0, n).Draw(t, "at"), stranger))
		tried := map[wgkey.Public]bool{}
		next := 0
		var recent []time.Time
		for rounds := 0; !take.Over(); rounds++ {
			require.Less(t, rounds, 5000)
			p := a.round(take, time.Duration(rapid.IntRange(1, 200).Draw(t, "pause"))*time.Millisecond)
			recent = slices.DeleteFunc(recent, func(at time.Time) bool { return a.now.Sub(at) >= 300*time.Millisecond })
			stage := gateway.Remove
			for _, s := range p {
				require.NotEqual(t, stranger.Key, s.Peer.Key, "a peer that is not wanted gets %v", s)
				require.Contains(t, []gateway.Verb{gateway.Remove, gateway.Set, gateway.Kick}, s.Verb)
				require.GreaterOrEqual(t, s.Verb, stage, "what takes away comes first")
				stage = s.Verb
				if s.Verb == gateway.Kick && !tried[s.Peer.Key] {
					for all[next].Key != s.Peer.Key {
						next++
						require.Less(t, next, len(all), "not in order")
					}
					tried[s.Peer.Key] = true
				}
				if s.Verb == gateway.Kick {
					recent = append(recent, a.now)
				}
			}
			unanswered := 0
			var s gateway.State
			require.NoError(t, a.device.Observe(context.Background(), &s))
			for _, h := range s.Peers {
				if k := a.kicks[h.Key]; h.Handshake.IsZero() && len(k) > 0 && a.now.Sub(k[len(k)-1]) < 300*time.Millisecond {
					unanswered++
				}
			}
			require.LessOrEqual(t, unanswered, 128)
			require.NoError(t, a.want.Validate())
			require.Empty(t, gateway.Diff(a.want, s))
		}
		require.Len(t, tried, n)
		require.Equal(t, a.up(), take.Up())
		require.Equal(t, n+1, take.Up()+take.Left())
	})
}

// Who came over by itself meanwhile is left alone; who has an old session here, from
// an earlier time, is not.
func TestTakeoverOfThoseWhoHaveASession(t *testing.T) {
	a := newAir(t, 2, 1)
	a.awake(time.Millisecond, home)
	here, stale := a.want.Peers[0].Key, a.want.Peers[1].Key
	a.device.Hear(here, memdevice.Traffic{Rx: 148, Handshake: start.Add(time.Millisecond)})
	a.device.Hear(stale, memdevice.Traffic{Rx: 5000, Handshake: start.Add(-time.Minute)})
	take := gateway.NewTakeover(a.targets())
	p := a.round(take, look)
	require.Equal(t, []gateway.Verb{gateway.Remove, gateway.Set, gateway.Kick}, verbs(p))
	for _, s := range p {
		require.Equal(t, stale, s.Peer.Key)
	}
	a.run(take)
	require.Equal(t, 2, take.Up())
}

// The kernel has answered an initiation that somebody recorded: it would begin no
// handshake within the next 5 s.
func TestTakeoverOfThoseWhoWereAnswered(t *testing.T) {
	a := newAir(t, 2, 1)
	fresh, answered := a.want.Peers[0], a.want.Peers[1]
	s := gateway.State{Backend: "kernel", Peers: []gateway.PeerState{
		{Key: fresh.Key},
		{Key: answered.Key, Rx: 148, Tx: 92, Endpoint: cafe},
	}}
	p := gateway.NewTakeover(a.targets()).Round(a.want, &s, a.now)
	require.Equal(t, []gateway.Verb{gateway.Remove, gateway.Set, gateway.Kick, gateway.Kick}, verbs(p))
	require.Equal(t, answered.Key, p[0].Peer.Key)
	require.Equal(t, answered.Key, p[1].Peer.Key)
}

func verbs(p gateway.Plan) (out []gateway.Verb) {
	for _, s := range p {
		out = append(out, s.Verb)
	}
	return out
}

// A peer that goes meanwhile, by an operator's hand, is left alone.
func TestTakeoverOfWhoGoesMeanwhile(t *testing.T) {
	a := newAir(t, 2, 1)
	take := gateway.NewTakeover(a.targets())
	a.round(take, look)
	gone := a.want.Peers[0].Key
	a.want.Peers = a.want.Peers[1:]
	require.NoError(t, a.device.Apply(context.Background(), gateway.Plan{{Verb: gateway.Remove, Peer: gateway.Peer{Key: gone}}}))
	a.run(take)
	require.Equal(t, 2, take.Left())
	var s gateway.State
	require.NoError(t, a.device.Observe(context.Background(), &s))
	require.Len(t, s.Peers, 1)
}

// In user space somebody behind the gateway has tried to reach the peer a moment ago:
// WireGuard would let 5 s pass before it begins another handshake.
func TestTakeoverOfWhoWasTriedInVain(t *testing.T) {
	a := newAir(t, 3, 1)
	a.awake(time.Millisecond, home)
	for _, p := range a.want.Peers {
		a.begun[p.Key] = a.now
	}
	take := gateway.NewTakeover(a.targets())
	require.Less(t, a.run(take), 100*time.Millisecond)
	require.Equal(t, 3, take.Up())
}
