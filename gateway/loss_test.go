package gateway_test

import (
	"context"
	"fmt"
	"iter"
	"net/netip"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/holdfastvpn/holdfast/gateway"
	"github.com/holdfastvpn/holdfast/gateway/gatewaytest"
	"github.com/holdfastvpn/holdfast/gateway/memdevice"
	"github.com/holdfastvpn/holdfast/vpn/wgkey"
)

// square is gateways that all have the same address, and a balancer before them.
type square struct {
	t      *testing.T
	plane  *gatewaytest.Plane
	houses []*house
	ends   map[[2]int]func() // of conversations
	to     func(wgkey.Public) int
	kicks  []int // by gateway
}

// onSquare runs test in a bubble with gateways and a location of n peers, which the
// balancer gives to the first gateway.
func onSquare(t *testing.T, gateways, n int, test func(t *testing.T, s *square)) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		s := &square{t: t, plane: gatewaytest.NewPlane(), ends: map[[2]int]func(){}, kicks: make([]int, gateways)}
		s.to = func(wgkey.Public) int { return 0 }
		c := gatewaytest.Config(n)
		c.Interface.Floating, c.Interface.Mark = []netip.Addr{floating}, 77
		s.plane.Put(office, c)
		for i := range gateways {
			h := &house{id: gateway.ID(fmt.Sprintf("gw%d", i+1)), owns: make(chan []netip.Addr, 1)}
			s.plane.Assign(h.id, office)
			d := memdevice.New()
			h.bench = newBench(t, s.plane, h.id, d)
			r, err := gateway.NewReconciler(gateway.ReconcilerConfig{
				ID: h.id, Location: office, Device: owner{d, h.owns}, Plane: h.link, Trace: h.steps.trace(),
			})
			require.NoError(t, err)
			h.Reconciler = r
			h.start()
			d.OnKick(func(p gateway.Peer) { s.kicked(i, p) })
			h.owns <- []netip.Addr{floating}
			s.houses = append(s.houses, h)
			for k := range i {
				s.ends[[2]int{k, i}] = talkOf(t, s.houses[k], h)
			}
		}
		for _, p := range c.Peers {
			s.session(0, p.Key)
		}
		s.houses[0].after(3 * time.Second)
		test(t, s)
		for _, end := range s.ends {
			end()
		}
		for _, h := range s.houses {
			h.stop()
		}
	})
}

// talkOf lets two gateways talk, until the end.
func talkOf(t *testing.T, a, b *house) (end func()) {
	t.Helper()
	ctx, cancel := context.WithCancel(t.Context())
	toA, toB := make(chan gateway.Note), make(chan gateway.Note)
	talk := func(r *gateway.Reconciler, with gateway.ID, in, out chan gateway.Note) {
		var said iter.Seq[gateway.Note] = func(yield func(gateway.Note) bool) {
			for {
				select {
				case n := <-in:
					if !yield(n) {
						return
					}
				case <-ctx.Done():
					return
				}
			}
		}
		for n, err := range r.Talk(ctx, with, said) {
			if err != nil {
				return
			}
			select {
			case out <- n.Clone():
			case <-ctx.Done():
				return
			}
		}
	}
	go talk(a.Reconciler, b.id, toA, toB)
	go talk(b.Reconciler, a.id, toB, toA)
	return cancel
}

// kicked is a client's answer, which the balancer gives to a gateway of its choice.
func (s *square) kicked(at int, p gateway.Peer) {
	s.kicks[at]++
	if p.Endpoint != home || s.to(p.Key) != at {
		return
	}
	time.AfterFunc(rtt, func() { s.session(at, p.Key) })
}

func (s *square) session(at int, key wgkey.Public) {
	s.houses[at].device.Hear(key, memdevice.Traffic{Rx: 32 + 148, Tx: 92, Handshake: time.Now(), Endpoint: home})
}

// cut ends what others hear of the first gateway.
func (s *square) cut() {
	for pair, end := range s.ends {
		if pair[0] == 0 {
			end()
		}
	}
	synctest.Wait()
}

// missed has the core say whom it hears no more.
func (s *square) missed(who ...gateway.ID) {
	for _, h := range s.houses {
		var list []gateway.Sibling
		for _, o := range s.houses {
			if o.id != h.id {
				sib := gateway.Sibling{ID: o.id}
				for _, id := range who {
					sib.Missing = sib.Missing || id == o.id
				}
				list = append(list, sib)
			}
		}
		h.Family(list)
	}
}

func (s *square) sessions(at int) (n int) {
	for _, p := range s.houses[at].state().Peers {
		if !p.Handshake.IsZero() {
			n++
		}
	}
	return n
}

// byKey is a balancer's choice among some.
func byKey(among ...int) func(wgkey.Public) int {
	return func(k wgkey.Public) int { return among[int(k[5])%len(among)] }
}

// proves P13: behind a balancer, where no address moves, survivors take the clients over
// of a gateway that the core has lost, too.
func TestSurvivorsTakeOverWhomABalancerGivesThem(t *testing.T) {
	onSquare(t, 4, 100, func(t *testing.T, s *square) {
		s.cut()
		s.houses[0].stop()
		s.to = byKey(1, 2, 3)
		s.missed("gw1")
		began := time.Now()
		for s.sessions(1)+s.sessions(2)+s.sessions(3) < 100 {
			s.houses[1].after(10 * time.Millisecond)
			require.LessOrEqual(t, time.Since(began), 5*time.Second)
		}
		s.houses[1].after(10 * time.Second)
		require.Equal(t, 100, s.sessions(1)+s.sessions(2)+s.sessions(3), "somebody took what another one had")
		total := 0
		for i, n := range s.kicks {
			require.LessOrEqual(t, n, 200, "gateway %d", i+1)
			total += n
		}
		// Each of a client's survivors tries for one turn before the next one does, which
		// is twice or three times: 1, up to 4 or up to 8 handshakes, as its balancer has
		// it. If nobody left anybody to others, it would be four each.
		require.LessOrEqual(t, total, 100*(1+4+8)/3, "who is carried by another one is left to it")
		for _, h := range s.houses[1:] {
			h.converged()
		}
		s.houses[0].start()
	})
}

// One word is not enough, and neither is an address that is not shared.
func TestWhoIsNotLostIsLeftAlone(t *testing.T) {
	for name, c := range map[string]func(s *square){
		"the core hears it":      func(s *square) { s.cut() },
		"siblings hear it":       func(s *square) { s.missed("gw1") },
		"no core, nobody agrees": func(s *square) { s.away(); s.ends[[2]int{0, 1}](); s.ends[[2]int{1, 2}]() },
		"it is back at once": func(s *square) {
			s.ends[[2]int{0, 1}]()
			s.missed("gw1")
			s.houses[0].after(time.Second)
			s.ends[[2]int{0, 1}] = talkOf(s.t, s.houses[0], s.houses[1])
		},
		"the address is elsewhere": func(s *square) {
			for _, h := range s.houses[1:] {
				h.owns <- nil
			}
			s.houses[0].after(time.Second)
			s.cut()
			s.missed("gw1")
		},
	} {
		t.Run(name, func(t *testing.T) {
			onSquare(t, 3, 20, func(t *testing.T, s *square) {
				c(s)
				s.houses[0].after(time.Minute)
				require.Equal(t, []int{0, 0, 0}, s.kicks)
			})
		})
	}
}

// away cuts all from the core.
func (s *square) away() {
	for _, h := range s.houses {
		h.link.Cut()
	}
	s.houses[0].after(6 * time.Second)
}

// Where no core is heard, the siblings that are agree.
func TestSiblingsAgreeWithoutACore(t *testing.T) {
	onSquare(t, 3, 20, func(t *testing.T, s *square) {
		s.away()
		s.to = byKey(1, 2)
		s.cut()
		s.houses[0].after(6 * time.Second)
		require.Equal(t, 20, s.sessions(1)+s.sessions(2))
	})
	onSquare(t, 2, 20, func(t *testing.T, s *square) {
		s.away()
		s.to = byKey(1)
		s.cut()
		s.houses[0].after(time.Minute)
		require.Equal(t, []int{0, 0}, s.kicks, "who is alone cannot know who is lost")
	})
}

// Of those who have one address, one lets go of it: the others have theirs still.
func TestWhoSharesAnAddressIsLeftAlone(t *testing.T) {
	onSquare(t, 3, 20, func(t *testing.T, s *square) {
		s.houses[2].owns <- nil
		s.houses[0].after(10 * time.Second)
		require.Equal(t, []int{0, 0, 0}, s.kicks)
		require.Equal(t, 20, s.sessions(0))
	})
}
