package gateway_test

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"maps"
	"net/netip"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"

	"github.com/holdfastvpn/holdfast/gateway"
	"github.com/holdfastvpn/holdfast/gateway/gatewaytest"
	"github.com/holdfastvpn/holdfast/gateway/memdevice"
	"github.com/holdfastvpn/holdfast/gateway/runstate"
	"github.com/holdfastvpn/holdfast/vpn/wgkey"
)

// tmpfs is a directory in memory that can be taken from a process.
type tmpfs struct {
	mu     sync.Mutex
	data   map[string][]byte
	writes int
	dead   bool
	fails  error
	holds  chan struct{} // not nil: Write waits for it
}

func (d *tmpfs) Read(name string) ([]byte, error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if data, ok := d.data[name]; ok {
		return slices.Clone(data), nil
	}
	return nil, fs.ErrNotExist
}

func (d *tmpfs) Write(name string, data []byte) error {
	d.mu.Lock()
	holds := d.holds
	d.mu.Unlock()
	if holds != nil {
		<-holds
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.fails != nil {
		return d.fails
	}
	d.writes++
	if !d.dead {
		d.data[name] = slices.Clone(data)
	}
	return nil
}

func (d *tmpfs) Remove(name string) error {
	d.mu.Lock()
	defer d.mu.Unlock()
	delete(d.data, name)
	return nil
}

// set changes the directory while others use it.
func (d *tmpfs) set(change func(d *tmpfs)) {
	d.mu.Lock()
	defer d.mu.Unlock()
	change(d)
}

func (d *tmpfs) count() int {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.writes
}

// box is a bench on a machine with clocks and a directory below /run.
type box struct {
	*bench

	run  *tmpfs
	boot string
	up   time.Time     // when the machine started, by a clock that nobody sets
	set  time.Duration // how far the wall clock is from that one
	log  strings.Builder
	mu   sync.Mutex
}

func (b *box) Boot() string         { return b.boot }
func (b *box) Since() time.Duration { return time.Since(b.up) }

func (b *box) now() time.Time {
	b.mu.Lock()
	defer b.mu.Unlock()
	return time.Now().Round(0).Add(b.set)
}

func (b *box) setClock(by time.Duration) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.set += by
}

func inBox(t *testing.T, test func(t *testing.T, b *box)) {
	t.Helper()
	inBubble(t, 3, func(t *testing.T, inner *bench) {
		b := &box{bench: inner, boot: "one", up: time.Now().Add(-time.Hour), run: &tmpfs{data: map[string][]byte{}}}
		b.stop()
		b.begin()
		test(t, b)
	})
}

// begin starts the next process.
func (b *box) begin() {
	b.t.Helper()
	memory, err := runstate.New(runstate.Config{Gateway: "gw1", Files: b.run})
	require.NoError(b.t, err)
	b.log.Reset()
	r, err := gateway.NewReconciler(gateway.ReconcilerConfig{
		ID: "gw1", Location: office, Device: b.device.Open(), Plane: b.link, Memory: memory, Boot: b, Now: b.now,
		Log: slog.New(slog.NewTextHandler(&b.log, &slog.HandlerOptions{Level: slog.LevelWarn})),
	})
	require.NoError(b.t, err)
	b.Reconciler = r
	b.start()
	b.after(100 * time.Millisecond)
}

// kill ends the process without a last word.
func (b *box) kill() {
	b.run.set(func(d *tmpfs) { d.dead = true })
	b.stop()
	b.run = &tmpfs{data: maps.Clone(b.run.data)}
}

// seen is what is told of a peer, 0 to 2; it is empty if nothing is.
func (b *box) seen(n int) gateway.Sighting {
	for _, s := range b.Status().Seen {
		if s.Key == gatewaytest.Peer(n+1).Key {
			return s
		}
	}
	return gateway.Sighting{}
}

// age is how long ago it was heard, by the gateway's clock.
func (b *box) age(n int) time.Duration { return b.now().Sub(b.seen(n).Heard) }

func (b *box) hear(n int, t memdevice.Traffic) {
	b.t.Helper()
	require.True(b.t, b.device.Hear(gatewaytest.Peer(n+1).Key, t))
}

func TestARestartForgetsNobody(t *testing.T) {
	for name, down := range map[string]func(b *box){
		"stopped": func(b *box) { b.stop() },
		"killed":  func(b *box) { b.kill() },
	} {
		t.Run(name, func(t *testing.T) {
			inBox(t, func(t *testing.T, b *box) {
				at := netip.MustParseAddrPort("192.0.2.7:7")
				b.hear(0, memdevice.Traffic{Rx: 180, Tx: 92, Handshake: b.now(), Endpoint: at})
				b.after(30 * time.Second)
				b.hear(1, memdevice.Traffic{Rx: 32}) // nothing on the device says when
				b.after(10 * time.Second)
				first, second := b.seen(0), b.seen(1)
				require.NotZero(t, first.Heard)
				require.NotZero(t, second.Heard)
				for range 5 { // and again: it gets no younger
					down(b)
					b.after(time.Hour)
					before := len(b.since(0))
					b.begin()
					b.after(5 * time.Second)
					require.Equal(t, first, b.seen(0))
					require.Equal(t, second, b.seen(1))
					require.Zero(t, b.seen(2))
					told := b.since(before)
					require.Len(t, told[0].Seen, 2, "a report says that peers were never heard")
					require.Equal(t, first, told[0].Seen[slices.IndexFunc(told[0].Seen, func(s gateway.Sighting) bool { return s.Key == first.Key })])
				}
				b.hear(1, memdevice.Traffic{Rx: 32})
				b.after(2 * time.Second)
				require.Equal(t, uint64(64), b.seen(1).Rx)
				require.Less(t, b.age(1), 3*time.Second)
				require.Empty(t, b.log.String())
			})
		})
	}
}

// What came while nobody looked is counted, and makes nobody younger than it may be.
func TestWhatCameMeanwhile(t *testing.T) {
	inBox(t, func(t *testing.T, b *box) {
		b.hear(0, memdevice.Traffic{Rx: 3200, Tx: 10})
		b.after(10 * time.Second)
		b.hear(1, memdevice.Traffic{Rx: 3200})
		b.hear(2, memdevice.Traffic{Rx: 148})
		b.after(10 * time.Second)
		b.stop()
		stopped := b.now()
		b.hear(0, memdevice.Traffic{Rx: 320, Tx: 1})
		b.hear(2, memdevice.Traffic{Rx: 148 * 50 * 3600}) // somebody knocks all the time
		b.after(30 * time.Minute)
		shook := b.now()
		b.hear(1, memdevice.Traffic{Rx: 148, Handshake: shook})
		b.after(30 * time.Minute)
		b.begin()
		require.WithinRange(t, b.seen(0).Heard, stopped.Add(-time.Second), stopped)
		require.Equal(t, [2]uint64{3520, 11}, [2]uint64{b.seen(0).Rx, b.seen(0).Tx})
		require.Equal(t, shook, b.seen(1).Heard)
		require.Zero(t, b.seen(2).Heard, "initiations are taken for life")
		require.Equal(t, uint64(148+148*50*3600), b.seen(2).Rx)

		// A peer that was added again counts from 0, and its total goes on.
		b.stop()
		b.device.Open().Meddle(func(s *gateway.State) {
			for i := range s.Peers {
				if s.Peers[i].Key == gatewaytest.Peer(2).Key {
					s.Peers[i].Rx, s.Peers[i].Tx, s.Peers[i].Handshake = 148, 0, time.Time{}
				}
			}
		})
		b.begin()
		require.Equal(t, shook, b.seen(1).Heard)
		require.Equal(t, uint64(3200+148+148), b.seen(1).Rx)

		// So does everybody if the interface was made anew.
		b.stop()
		b.device.Open().Meddle(func(s *gateway.State) { *s = gateway.State{} })
		b.begin()
		b.after(3 * time.Second)
		b.hear(1, memdevice.Traffic{Rx: 148})
		b.after(3 * time.Second)
		require.Equal(t, shook, b.seen(1).Heard)
		require.Equal(t, uint64(3200+148*3), b.seen(1).Rx)
	})
}

func TestAnotherBootForgets(t *testing.T) {
	inBox(t, func(t *testing.T, b *box) {
		b.hear(0, memdevice.Traffic{Rx: 32})
		b.after(10 * time.Second)
		b.stop()
		b.boot, b.up = "two", time.Now().Add(-24*time.Hour)
		b.begin()
		require.Zero(t, b.seen(0))
		require.Empty(t, b.log.String(), "it is said, and is nothing to say")
		b.hear(1, memdevice.Traffic{Rx: 32})
		b.after(10 * time.Second)
		b.stop()
		b.up = time.Now() // and an instant that is yet to come is none
		b.begin()
		require.Zero(t, b.seen(1))
	})
}

// Whatever is done to the wall clock, and whenever, ages stay what they are.
func TestAgesOutliveTheWallClock(t *testing.T) {
	const year = 365 * 24 * time.Hour
	for _, by := range []time.Duration{year, -year, time.Hour, -time.Minute} {
		t.Run(by.String(), func(t *testing.T) {
			inBox(t, func(t *testing.T, b *box) {
				b.hear(0, memdevice.Traffic{Rx: 180, Handshake: b.now()})
				b.hear(1, memdevice.Traffic{Rx: 32})
				b.after(10 * time.Second)
				old := [2]time.Duration{b.age(0), b.age(1)}
				is := func(after time.Duration) {
					t.Helper()
					for n, age := range old {
						require.InDelta(t, (age + after).Seconds(), b.age(n).Seconds(), 0.001)
					}
					require.InDelta(t, b.age(0).Seconds(), b.now().Sub(b.seen(0).Handshake).Seconds(), 2)
				}
				b.stop()
				b.setClock(by) // while nobody looks
				b.after(time.Hour)
				b.begin()
				b.after(10 * time.Second)
				is(time.Hour + 10100*time.Millisecond)
				b.setClock(by) // under a process
				b.after(10 * time.Second)
				is(time.Hour + 20100*time.Millisecond)
				require.Equal(t, 1, strings.Count(b.log.String(), "\n"), b.log.String())
				b.setClock(-3 * by) // and just before its end
				b.stop()
				b.begin()
				b.after(10 * time.Second)
				is(time.Hour + 30200*time.Millisecond)
				b.kill()
				b.setClock(by)
				b.begin()
				is(time.Hour + 30300*time.Millisecond)
			})
		})
	}
}

func TestADamagedMemoryIsDropped(t *testing.T) {
	inBox(t, func(t *testing.T, b *box) {
		at := b.now()
		b.hear(0, memdevice.Traffic{Rx: 180, Handshake: at})
		b.hear(1, memdevice.Traffic{Rx: 32})
		b.after(10 * time.Second)
		b.stop()
		for _, data := range b.run.data {
			data[len(data)-1] ^= 1
		}
		b.begin()
		b.after(time.Second)
		require.Equal(t, 1, strings.Count(b.log.String(), "\n"), b.log.String())
		require.Contains(t, b.log.String(), "damaged")
		require.Equal(t, at, b.seen(0).Heard, "the device knows that")
		require.Zero(t, b.seen(1))
		b.hear(1, memdevice.Traffic{Rx: 32})
		b.after(10 * time.Second)
		b.kill()
		b.begin()
		require.Equal(t, uint64(32), b.seen(1).Rx, "it is not replaced")
		require.Empty(t, b.log.String())
	})
}

func TestRememberingIsQuiet(t *testing.T) {
	inBox(t, func(t *testing.T, b *box) {
		b.after(10 * time.Second)
		before := b.run.count()
		b.after(time.Hour)
		require.Equal(t, before, b.run.count(), "nothing was new")
		for range 600 {
			b.hear(0, memdevice.Traffic{Rx: 32})
			b.after(100 * time.Millisecond)
		}
		require.InDelta(t, 12, b.run.count()-before, 1, "in a minute")

		b.run.set(func(d *tmpfs) { d.fails = errors.New("no room") })
		b.hear(0, memdevice.Traffic{Rx: 32})
		b.after(time.Minute)
		require.Equal(t, 1, strings.Count(b.log.String(), "no room"), b.log.String())
		b.run.set(func(d *tmpfs) { d.fails = nil })
		before = b.run.count()
		b.after(time.Minute)
		require.Equal(t, before+1, b.run.count(), "what failed is not tried again")
	})
}

func TestASlowMemoryDelaysNothing(t *testing.T) {
	inBox(t, func(t *testing.T, b *box) {
		gate := make(chan struct{})
		b.run.set(func(d *tmpfs) { d.holds = gate })
		b.hear(0, memdevice.Traffic{Rx: 32})
		b.after(10 * time.Second) // it hangs
		b.plane.SetPeer(office, gatewaytest.Peer(7))
		b.converged()
		b.device.Open().Meddle(func(s *gateway.State) { s.Peers = nil })
		b.after(2 * time.Second)
		b.converged()
		before := len(b.since(0))
		b.after(10 * time.Second)
		require.Len(t, b.since(before), 5)
		close(gate)
		b.after(10 * time.Second)
	})
}

func TestALocationThatEndedIsForgotten(t *testing.T) {
	inShop(t, func(t *testing.T, s *shop) {
		s.stop()
		run := &tmpfs{data: map[string][]byte{}}
		memory, err := runstate.New(runstate.Config{Gateway: "gw1", Files: run})
		require.NoError(t, err)
		p, err := gateway.NewProcess(gateway.ProcessConfig{
			ID: "gw1", Plane: s.link, Open: s.Open, Memory: memory, Boot: &box{boot: "one", up: time.Now()},
		})
		require.NoError(t, err)
		ctx, cancel := context.WithCancel(t.Context())
		done := make(chan error)
		go func() { done <- p.Run(ctx) }()
		s.after(10 * time.Second)
		require.Len(t, run.data, 2)
		s.plane.Assign("gw1", "a")
		s.after(10 * time.Second)
		require.Equal(t, []string{"heard-a"}, slices.Sorted(maps.Keys(run.data)))
		cancel()
		require.NoError(t, <-done)
		require.Len(t, run.data, 1)
	})
}

func TestAMemoryNeedsAClock(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		plane := gatewaytest.NewPlane()
		memory, err := runstate.New(runstate.Config{Gateway: "gw1", Files: &tmpfs{}})
		require.NoError(t, err)
		_, err = gateway.NewReconciler(gateway.ReconcilerConfig{ID: "gw1", Location: office, Device: memdevice.New(), Plane: plane, Memory: memory})
		require.ErrorContains(t, err, "ReconcilerConfig.Boot is missing")
		_, err = gateway.NewProcess(gateway.ProcessConfig{ID: "gw1", Plane: plane, Open: newMachine().Open, Memory: memory})
		require.ErrorContains(t, err, "ProcessConfig.Boot is missing")
	})
}

// A process that starts again anywhere counts the same bytes as one that never did,
// and takes nobody for younger, whatever the wall clock is set to between them.
func TestRestartsChangeNothing(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		const peers = 3
		now, origin := start, start.Add(-time.Hour)
		steady, again := gateway.NewActivity("gw"), gateway.NewActivity("gw")
		moved := time.Duration(0) // the wall clock of the one that starts again
		state := gateway.State{}
		for n := range peers {
			state.Peers = append(state.Peers, gateway.PeerState{Key: wgkey.Public{byte(n + 1)}})
		}
		there := [peers]bool{true, true, true}
		for range rapid.IntRange(1, 30).Draw(t, "samples") {
			now = now.Add(time.Duration(rapid.IntRange(0, 5000).Draw(t, "ms")) * time.Millisecond)
			n := rapid.IntRange(0, peers-1).Draw(t, "peer")
			p := &state.Peers[n]
			switch rapid.IntRange(0, 5).Draw(t, "what") {
			case 0:
				there[n] = !there[n]
				*p = gateway.PeerState{Key: p.Key}
			case 1:
				p.Rx += 148 * rapid.Uint64Range(0, 50).Draw(t, "initiations")
			case 2:
				p.Rx += 16 + 148*rapid.Uint64Range(0, 50).Draw(t, "data")
			case 3:
				p.Handshake = now
			case 4:
				p.Tx += 92
			case 5:
				*p = gateway.PeerState{Key: p.Key, Rx: rapid.Uint64Range(0, 100).Draw(t, "rx")}
			}
			s := gateway.State{}
			for n := range peers {
				if there[n] {
					s.Peers = append(s.Peers, state.Peers[n])
				}
			}
			first, _ := steady.Since(0)
			if len(first) > 0 && rapid.Bool().Draw(t, "restart") {
				m := again.Remember(origin.Add(moved))
				moved = time.Duration(rapid.IntRange(-9000, 9000).Draw(t, "hours")) * time.Hour
				again = gateway.NewActivity("gw")
				again.Recall(m, origin.Add(moved))
			}
			if moved != 0 { // back at once: handshakes are by the clock of their time
				again.Shift(-moved)
				moved = 0
			}
			steady.Observe(&s, now)
			again.Observe(&s, now)
			want, _ := steady.Since(0)
			have, _ := again.Since(0)
			require.Len(t, have, len(want))
			for i := range want {
				require.False(t, have[i].Heard.After(want[i].Heard), "it got younger")
				require.Equal(t, want[i].Heard.IsZero(), have[i].Heard.IsZero())
				require.Less(t, want[i].Heard.Sub(have[i].Heard), 6*time.Second, "it got older by more than nobody looked")
				have[i].Heard = want[i].Heard
				require.Equal(t, want[i], have[i])
			}
		}
	})
}

func BenchmarkRemember(b *testing.B) {
	for _, n := range []int{1_000, 100_000} {
		a, s, now := gateway.NewActivity("gw"), many(n), start
		a.Observe(s, now)
		b.Run(fmt.Sprint(n), func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				a.Remember(now)
			}
		})
	}
}
