package gateway_test

import (
	"context"
	"iter"
	"net/netip"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/holdfastvpn/holdfast/gateway"
	"github.com/holdfastvpn/holdfast/gateway/gatewaytest"
	"github.com/holdfastvpn/holdfast/gateway/memdevice"
	"github.com/holdfastvpn/holdfast/transport/memtransport"
	"github.com/holdfastvpn/holdfast/vpn/wgkey"
)

// rtt is how far away clients are, and chat how often siblings talk at most.
const (
	rtt  = 30 * time.Millisecond
	chat = 100 * time.Millisecond
)

var floating = netip.MustParseAddr("203.0.113.10")

// house is a gateway to whose machine the floating address may move.
type house struct {
	*bench
	id   gateway.ID
	owns chan []netip.Addr
}

// owner is a device that says what the test wants.
type owner struct {
	*memdevice.Device
	owns chan []netip.Addr
}

// Own implements gateway.Owner.
func (o owner) Own(context.Context, gateway.Interface) <-chan []netip.Addr { return o.owns }

// street is two gateways that talk, and clients of the floating address.
type street struct {
	t      *testing.T
	plane  *gatewaytest.Plane
	houses [2]*house
	at     atomic.Int32 // where the floating address is; -1: nowhere
	clocks [2]*wall
}

// onStreet runs test in a bubble with a location of n peers. tune changes what the
// gateways are made of.
func onStreet(t *testing.T, n int, test func(t *testing.T, s *street), tune ...func(i int, c *gateway.ReconcilerConfig)) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		s := &street{t: t, plane: gatewaytest.NewPlane()}
		s.at.Store(-1)
		c := gatewaytest.Config(n)
		c.Interface.Floating, c.Interface.Mark = []netip.Addr{floating}, 77
		s.plane.Put(office, c)
		for i, id := range []gateway.ID{"gw1", "gw2"} {
			s.plane.Assign(id, office)
			d := memdevice.New()
			h := &house{id: id, owns: make(chan []netip.Addr, 1)}
			h.bench = newBench(t, s.plane, id, d)
			s.clocks[i] = &wall{up: time.Now().Add(-time.Duration(i+1) * time.Hour)}
			c := gateway.ReconcilerConfig{
				ID: id, Location: office, Device: owner{d, h.owns}, Plane: h.link, Trace: h.steps.trace(),
				Now: s.clocks[i].now, Boot: s.clocks[i], Synced: s.clocks[i].synced,
			}
			for _, t := range tune {
				t(i, &c)
			}
			r, err := gateway.NewReconciler(c)
			require.NoError(t, err)
			h.Reconciler = r
			h.start()
			d.OnKick(func(p gateway.Peer) { s.kicked(i, p) })
			s.houses[i] = h
		}
		end := s.converse()
		s.move(0)
		test(t, s)
		end()
		for _, h := range s.houses {
			h.stop()
		}
	})
}

// converse lets the two gateways talk, until the end.
func (s *street) converse() (stop func()) {
	ctx, cancel := context.WithCancel(s.t.Context())
	end := func(i int) memtransport.End {
		return memtransport.End{ID: s.houses[i].id, Talker: about{s.houses[i].Reconciler}, Now: s.clocks[i].now}
	}
	p := memtransport.NewPair(end(0), end(1))
	go func() { _ = p.Talk(ctx, office) }()
	return cancel
}

// about is the one location of a gateway.
type about struct{ *gateway.Reconciler }

// Talk implements gateway.Talker.
func (a about) Talk(ctx context.Context, _ gateway.LocationID, with gateway.ID, in iter.Seq[gateway.Note]) iter.Seq2[gateway.Note, error] {
	return a.Reconciler.Talk(ctx, with, in)
}

// move moves the floating address.
func (s *street) move(to int) {
	from := s.at.Swap(int32(to))
	if from >= 0 {
		s.houses[from].owns <- nil
	}
	if to >= 0 {
		s.houses[to].owns <- []netip.Addr{floating}
	}
	synctest.Wait()
}

// kicked is what a client does who gets an initiation from the gateway that has the
// floating address.
func (s *street) kicked(at int, p gateway.Peer) {
	if int(s.at.Load()) != at || p.Endpoint != home || s.clocks[at].refused(p.Key, s.clocks[1-at]) {
		return
	}
	time.AfterFunc(rtt, func() {
		if int(s.at.Load()) == at { // or the answer goes elsewhere
			s.session(at, p.Key)
		}
	})
}

// session is a handshake between a client and a gateway, and a keepalive.
func (s *street) session(at int, key wgkey.Public) {
	s.houses[at].device.Hear(key, memdevice.Traffic{Rx: 32 + 148, Tx: 92, Handshake: s.clocks[at].now(), Endpoint: home})
}

// carried says how many peers have a session at each gateway.
func (s *street) sessions() (n [2]int) {
	for i, h := range s.houses {
		for _, p := range h.state().Peers {
			if !p.Handshake.IsZero() {
				n[i]++
			}
		}
	}
	return n
}

func (s *street) all() []gateway.Peer { return s.plane.Config(office).Peers }

// proves P13: the clients of a floating address come over within their round trip.
func TestAnAddressThatComesBringsItsClients(t *testing.T) {
	onStreet(t, 100, func(t *testing.T, s *street) {
		for _, p := range s.all()[:60] {
			s.session(0, p.Key)
		}
		s.houses[0].after(3 * time.Second) // the siblings have heard
		require.Equal(t, [2]int{60, 0}, s.sessions())
		s.houses[0].stop() // the machine is lost, and with it all words
		began := time.Now()
		s.move(1)
		for s.sessions()[1] < 60 {
			s.houses[1].after(time.Millisecond)
			require.LessOrEqual(t, time.Since(began), rtt+20*time.Millisecond)
		}
		require.Equal(t, [2]int{60, 60}, s.sessions(), "who had no session was dialled")
		s.houses[1].after(10 * time.Second)
		s.houses[1].converged()
		s.houses[0].start()
	})
}

// Whoever is let go of because others carry them, it is nobody whose answer is under
// way here: whenever the address comes, and however long others had carried them.
func TestWhoIsTakenOverIsNotForgotten(t *testing.T) {
	onStreet(t, 3, func(t *testing.T, s *street) {
		for _, p := range s.all() {
			s.session(0, p.Key)
		}
		s.houses[0].after(3 * time.Second)
		for n := range 60 {
			to := (n + 1) % 2
			s.houses[0].after(6*time.Second + time.Duration(n)*17*time.Millisecond)
			s.houses[1-to].stop()
			s.houses[to].steps.take()
			s.move(to)
			s.houses[to].after(rtt + 20*time.Millisecond)
			require.Equal(t, 3, s.sessions()[to], "move %d", n)
			did := s.houses[to].steps.take()
			require.Equal(t, 3, strings.Count(did, "kick "), "move %d:\n%s", n, did)
			require.Equal(t, 3, strings.Count(did, "remove "), "move %d:\n%s", n, did)
			s.houses[1-to].start()
		}
	})
}

// An address that moves to and fro takes all clients along each time: who lost it has
// forgotten them at once, and nobody has two gateways that believe in him.
func TestAnAddressThatMovesToAndFro(t *testing.T) {
	onStreet(t, 20, func(t *testing.T, s *street) {
		for _, p := range s.all() {
			s.session(0, p.Key)
		}
		s.houses[0].after(3 * time.Second)
		for n := range 20 {
			to := (n + 1) % 2
			s.move(to)
			s.houses[0].after(100 * time.Millisecond)
			want := [2]int{}
			want[to] = 20
			require.Equal(t, want, s.sessions(), "move %d", n)
			s.houses[0].after(1900 * time.Millisecond)
		}
	})
}

// A client that another gateway has carried for a while is forgotten here, so that it
// is not stolen back; nobody else is.
func TestWhoIsCarriedElsewhereIsForgotten(t *testing.T) {
	onStreet(t, 3, func(t *testing.T, s *street) {
		for _, p := range s.all() {
			s.session(0, p.Key)
		}
		s.houses[0].after(3 * time.Second)
		gone := s.all()[1].Key
		s.session(1, gone) // by a balancer's hand
		s.houses[0].after(4 * time.Second)
		require.Equal(t, [2]int{3, 1}, s.sessions(), "too soon")
		s.houses[0].after(4 * time.Second)
		require.Equal(t, [2]int{2, 1}, s.sessions())
		for _, p := range s.houses[0].state().Peers {
			require.Equal(t, p.Key == gone, !p.Endpoint.IsValid())
		}
		s.houses[0].converged()
	})
}

// A process that begins on a machine without the address finds what the one before it
// left, and lets go of it as soon as another gateway says that it carries the client:
// WireGuard would take it back, from an address that the client was never told.
func TestWhoBeginsWithoutTheAddressLetsGo(t *testing.T) {
	onStreet(t, 2, func(t *testing.T, s *street) {
		both := s.all()
		for _, p := range both {
			s.session(1, p.Key)
		}
		s.houses[1].owns <- nil // as it is told first
		s.houses[1].after(3 * time.Second)
		require.Equal(t, [2]int{0, 2}, s.sessions(), "nobody else carries them")
		s.session(0, both[0].Key)
		s.houses[1].after(2500 * time.Millisecond)
		require.Equal(t, [2]int{1, 1}, s.sessions())
		s.houses[1].converged()
	})
}

// An address that goes while clients are taken over ends that at once.
func TestATakeoverEndsWithTheAddress(t *testing.T) {
	onStreet(t, 1000, func(t *testing.T, s *street) {
		for _, p := range s.all() {
			s.session(0, p.Key)
		}
		s.houses[0].after(3 * time.Second)
		s.move(1)
		s.houses[0].after(50 * time.Millisecond)
		s.move(-1)
		n := s.sessions()[1]
		require.Zero(t, n, "sessions of an address that has gone")
		s.houses[0].after(time.Minute)
		for _, p := range s.houses[1].state().Peers {
			require.False(t, p.Endpoint.IsValid())
			require.Zero(t, p.Keepalive)
		}
	})
}

// proves P13: of two gateways that had the address at once the one that keeps it gets
// the clients of the other, although no address comes to it.
func TestWhoKeepsTheAddressGetsTheClients(t *testing.T) {
	onStreet(t, 20, func(t *testing.T, s *street) {
		for _, p := range s.all() {
			s.session(0, p.Key)
		}
		s.houses[0].after(3 * time.Second)
		s.at.Store(1) // who announces it last, is reached
		s.houses[1].owns <- []netip.Addr{floating}
		s.houses[0].after(10 * time.Second)
		require.Equal(t, [2]int{0, 20}, s.sessions())
		s.at.Store(0)
		s.houses[1].owns <- nil
		s.houses[0].after(chat + rtt + 20*time.Millisecond)
		require.Equal(t, [2]int{20, 0}, s.sessions())
		s.houses[0].after(time.Minute)
		require.Equal(t, [2]int{20, 0}, s.sessions())
		s.houses[0].converged()
	})
}

// That a location has no floating address any more, or another one, takes no session.
func TestOtherFloatingAddressesTakeNoSession(t *testing.T) {
	onStreet(t, 3, func(t *testing.T, s *street) {
		for _, p := range s.all() {
			s.session(0, p.Key)
		}
		s.houses[0].after(3 * time.Second)
		s.plane.Edit(office, func(c *gateway.Config) { c.Interface.Floating = nil })
		s.houses[0].after(time.Minute)
		require.Equal(t, [2]int{3, 0}, s.sessions())
	})
}
