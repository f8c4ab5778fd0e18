package gateway_test

import (
	"iter"
	"net/netip"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/holdfastvpn/holdfast/gateway"
)

var (
	behind4 = netip.MustParseAddr("10.60.0.10")
	behind6 = netip.MustParseAddr("fd60::10")
)

// onInnerStreet is onStreet with inner addresses, which the first gateway has.
func onInnerStreet(t *testing.T, test func(t *testing.T, s *street)) {
	t.Helper()
	onStreet(t, 2, func(t *testing.T, s *street) {
		s.inner([]netip.Addr{behind4, behind6})
		s.houses[0].device.SetOwned(behind4, behind6)
		s.houses[0].after(time.Second)
		test(t, s)
	})
}

// inner gives the location inner addresses.
func (s *street) inner(list []netip.Addr) {
	c := s.plane.Config(office)
	c.Interface.Inner = list
	c.Interface.Masquerade = []netip.Prefix{netip.MustParsePrefix("10.20.0.0/16"), netip.MustParsePrefix("fd20::/64")}
	s.plane.Put(office, c)
	s.houses[0].after(time.Second)
}

// download is the n-th connection of a client.
func download(n int) gateway.Flow {
	f := gateway.Flow{
		From: netip.MustParseAddrPort("10.20.0.2:1024"), To: netip.MustParseAddrPort("10.60.0.2:443"), Inner: netip.AddrPortFrom(behind4, 1024),
	}
	if n%2 == 1 {
		f = gateway.Flow{
			From: netip.MustParseAddrPort("[fd20::2]:1024"), To: netip.MustParseAddrPort("[fd60::2]:443"), Inner: netip.AddrPortFrom(behind6, 1024),
		}
	}
	port := uint16(1024 + n)
	f.From, f.Inner = netip.AddrPortFrom(f.From.Addr(), port), netip.AddrPortFrom(f.Inner.Addr(), port+5000)
	f.UDP = n%3 == 2
	return f
}

func downloads(n int) (all []gateway.Flow) {
	for i := range n {
		all = append(all, download(i))
	}
	return all
}

// knows requires a gateway's machine to know exactly these connections.
func (h *house) knows(want ...gateway.Flow) {
	h.t.Helper()
	require.ElementsMatch(h.t, want, h.device.Connections())
}

// proves P13: connections that a lost gateway translated go on at the one to which
// their address comes, without a word of their clients.
func TestConnectionsMoveWithTheirAddress(t *testing.T) {
	onInnerStreet(t, func(t *testing.T, s *street) {
		first, second := s.houses[0], s.houses[1]
		require.Equal(t, 1, first.Listeners())
		all := downloads(10)
		first.device.Connect(all...)
		first.after(2 * chat)
		second.knows()
		require.Equal(t, gateway.FlowCount{Here: 10}, first.Flows())
		require.Equal(t, gateway.FlowCount{Known: 10}, second.Flows())
		first.device.Disconnect(all[0])
		first.after(2 * chat)
		first.stop()
		second.after(10 * time.Second)
		second.device.SetOwned(behind4)
		second.after(0)
		var four []gateway.Flow
		for _, f := range all[1:] {
			if f.Inner.Addr() == behind4 {
				four = append(four, f)
			}
		}
		second.knows(four...)
		second.device.SetOwned(behind4, behind6)
		second.after(0)
		second.knows(all[1:]...)
		require.Equal(t, uint64(9), second.Flows().AdoptedTotal)
		require.Equal(t, 9, second.Flows().Here)
		require.Equal(t, 1, second.Listeners())
		second.Family(nil) // who is no sibling any more
		second.after(time.Second)
		require.Zero(t, second.Listeners(), "changes are kept for who is not there")
	})
}

// What a gateway told is forgotten with it.
func TestConnectionsOfWhoIsNoSiblingAreForgotten(t *testing.T) {
	onInnerStreet(t, func(t *testing.T, s *street) {
		s.houses[0].device.Connect(downloads(4)...)
		s.houses[0].after(2 * chat)
		require.Equal(t, 4, s.houses[1].Flows().Known)
		s.houses[1].Family(nil)
		require.Zero(t, s.houses[1].Flows().Known)
		s.houses[1].device.SetOwned(behind4, behind6)
		s.houses[1].after(chat)
		s.houses[1].knows()
	})
}

// An address that goes to and fro brings each time what there is of it.
func TestConnectionsGoToAndFro(t *testing.T) {
	onInnerStreet(t, func(t *testing.T, s *street) {
		first, second := s.houses[0], s.houses[1]
		first.device.Connect(downloads(4)...)
		first.after(2 * chat)
		for range 3 {
			first.device.SetOwned()
			first.knows()
			second.device.SetOwned(behind4, behind6)
			second.after(2 * chat)
			second.knows(downloads(4)...)
			second.device.SetOwned()
			first.device.SetOwned(behind4, behind6)
			first.after(2 * chat)
			first.knows(downloads(4)...)
		}
		// One that ended at the other one does not come back.
		first.device.SetOwned()
		second.device.SetOwned(behind4, behind6)
		second.after(2 * chat)
		second.device.Disconnect(download(0))
		second.device.Connect(download(4))
		second.after(2 * chat)
		second.device.SetOwned()
		first.device.SetOwned(behind4, behind6)
		first.after(2 * chat)
		require.Subset(t, first.device.Connections(), downloads(5)[1:])
	})
}

// A gateway that gets its address back before anybody else had it goes on.
func TestConnectionsComeBackByThemselves(t *testing.T) {
	onInnerStreet(t, func(_ *testing.T, s *street) {
		h := s.houses[0]
		s.houses[1].stop()
		h.device.Connect(downloads(3)...)
		h.after(chat)
		h.device.SetOwned()
		h.after(time.Minute)
		h.knows()
		h.device.SetOwned(behind4, behind6)
		h.after(chat)
		h.knows(downloads(3)...)
		h.device.SetOwned()
		h.after(16 * time.Minute) // by now nobody speaks on
		h.device.SetOwned(behind4, behind6)
		h.after(chat)
		h.knows()
	})
}

// What a gateway has not told when its address leaves, it tells who has it then.
func TestLastConnectionsAreToldLate(t *testing.T) {
	onInnerStreet(t, func(_ *testing.T, s *street) {
		first, second := s.houses[0], s.houses[1]
		first.after(chat / 2)
		first.device.Connect(downloads(3)...)
		first.after(time.Millisecond)
		first.device.SetOwned()
		second.device.SetOwned(behind4, behind6)
		second.after(2 * chat)
		second.knows(downloads(3)...)
	})
}

// Without an inner address nothing is told, and nothing is heard.
func TestConnectionsWithoutAnInnerAddressAreNobodysBusiness(t *testing.T) {
	onInnerStreet(t, func(t *testing.T, s *street) {
		first, second := s.houses[0], s.houses[1]
		first.device.Connect(downloads(3)...)
		first.after(2 * chat)
		s.inner(nil)
		require.Zero(t, first.Flows())
		require.Zero(t, second.Flows())
		heard := make(chan gateway.Note, 100)
		go func() {
			in := func(yield func(gateway.Note) bool) {
				yield(gateway.Note{Full: true, Flows: gateway.FlowNote{Full: true, Here: []netip.Addr{behind4}, Began: downloads(3)}})
				<-t.Context().Done()
			}
			for n, err := range first.Talk(t.Context(), "gw3", iter.Seq[gateway.Note](in)) {
				if err == nil {
					heard <- n
				}
			}
		}()
		first.after(2 * time.Second)
		require.NotEmpty(t, heard)
		for len(heard) > 0 {
			n := <-heard
			require.Empty(t, n.Flows.Here)
			require.Empty(t, n.Flows.Began)
		}
		require.Equal(t, gateway.FlowCount{IgnoredTotal: 3}, first.Flows())
	})
}
