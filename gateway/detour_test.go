package gateway_test

import (
	"context"
	"net/netip"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/holdfastvpn/holdfast/gateway"
	"github.com/holdfastvpn/holdfast/gateway/gatewaytest"
	"github.com/holdfastvpn/holdfast/gateway/memdevice"
	"github.com/holdfastvpn/holdfast/transport/memtransport"
)

func TestDetoursLeadToTheCarrier(t *testing.T) {
	now := time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)
	want := gatewaytest.Config(4)
	want.Interface.Carried = true
	ours, theirs, third, nobody := want.Peers[0], want.Peers[1], want.Peers[2], want.Peers[3]
	seen := func(by gateway.ID, p gateway.Peer, ago time.Duration) gateway.Sighting {
		return gateway.Sighting{By: by, Key: p.Key, Heard: now.Add(-ago), Handshake: now.Add(-ago)}
	}
	hops := map[gateway.ID]netip.Addr{"gw1": addrs("10.60.0.1")[0], "gw2": addrs("10.60.0.2")[0], "gw3": addrs("fd60::3")[0]}
	via := func(id gateway.ID) netip.Addr { return hops[id] }
	c := gateway.NewCarrying("gw1")
	require.Empty(t, c.Detours(want, via))
	c.Note(now, seen("gw1", ours, 1), seen("gw2", ours, 2), seen("gw1", theirs, 2), seen("gw2", theirs, 1), seen("gw3", third, 1))
	silent := gateway.Sighting{By: "gw2", Key: nobody.Key, Heard: now} // no session was confirmed
	c.Note(now, silent)
	full := []gateway.Detour{{theirs.AllowedIPs[0], hops["gw2"]}, {third.AllowedIPs[1], hops["gw3"]}}
	require.Equal(t, full, c.Detours(want, via), "each by the family of the address")

	c.Note(now, seen("gw1", theirs, 0)) // it comes over
	require.Equal(t, full[1:], c.Detours(want, via))
	c.Note(now, gateway.Sighting{By: "gw2", Key: theirs.Key, Heard: now.Add(time.Second), Handshake: now.Add(time.Second)})
	require.Equal(t, full, c.Detours(want, via))

	delete(hops, "gw2") // lost
	require.Equal(t, full[1:], c.Detours(want, via))
	c.Drop("gw3", now)
	require.Empty(t, c.Detours(want, via))
	want.Peers = nil
	require.Empty(t, c.Detours(want, via))
	want = gatewaytest.Config(4)
	hops["gw2"] = addrs("10.60.0.2")[0]
	require.Empty(t, c.Detours(want, via), "nobody asked for it")
}

// A gateway passes on what is for a sibling's peers as long as that one is there, and
// no more when the peer comes over, or the location is of another kind.
func TestPacketsArePassedOn(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		plane := gatewaytest.NewPlane()
		want := gatewaytest.Config(3)
		want.Interface.Carried = true
		plane.Put(office, want)
		var all [2]*bench
		for i, id := range []gateway.ID{"gw1", "gw2"} {
			plane.Assign(id, office)
			all[i] = newBench(t, plane, id, memdevice.New())
			all[i].start()
		}
		all[0].Family([]gateway.Sibling{{ID: "gw2", Addr: "10.60.0.2:7946"}})
		all[1].Family([]gateway.Sibling{{ID: "gw1"}})
		end := converse(t, all)
		all[0].after(2 * time.Second)
		require.Empty(t, all[0].device.Detours())

		hear := func(b *bench, p gateway.Peer) {
			require.True(t, b.device.Hear(p.Key, memdevice.Traffic{
				Rx: 180, Tx: 92, Handshake: time.Now(), Endpoint: netip.MustParseAddrPort("192.0.2.1:7"),
			}))
			b.after(3 * time.Second)
		}
		detours := func(peers ...gateway.Peer) {
			t.Helper()
			var want []gateway.Detour
			for _, p := range peers {
				want = append(want, gateway.Detour{To: p.AllowedIPs[0], Via: netip.MustParseAddr("10.60.0.2")})
			}
			require.ElementsMatch(t, want, all[0].device.Detours())
		}
		hear(all[1], want.Peers[0])
		hear(all[1], want.Peers[2])
		detours(want.Peers[0], want.Peers[2])
		require.Empty(t, all[1].device.Detours())
		hear(all[0], want.Peers[0])
		detours(want.Peers[2])

		require.NoError(t, all[0].device.Open().Detour(t.Context(), want.Interface, nil)) // somebody else's hand
		all[0].after(31 * time.Second)
		detours(want.Peers[2])

		end() // it is lost
		all[0].after(time.Second)
		detours()
		end = converse(t, all)
		all[0].after(2 * time.Second)
		detours(want.Peers[2])
		plane.Edit(office, func(c *gateway.Config) { c.Interface.Carried = false })
		all[0].after(2 * time.Second)
		detours()
		end()
		for _, b := range all {
			b.stop()
		}
	})
}

// converse lets the two gateways talk, until the end.
func converse(t *testing.T, all [2]*bench) (stop func()) {
	ctx, cancel := context.WithCancel(t.Context())
	p := memtransport.NewPair(
		memtransport.End{ID: "gw1", Talker: about{all[0].Reconciler}},
		memtransport.End{ID: "gw2", Talker: about{all[1].Reconciler}},
	)
	go func() { _ = p.Talk(ctx, office) }()
	return cancel
}
