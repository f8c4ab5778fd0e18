package gateway_test

import (
	"context"
	"net/netip"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/holdfastvpn/holdfast/gateway"
	"github.com/holdfastvpn/holdfast/gateway/gatewaytest"
	"github.com/holdfastvpn/holdfast/gateway/memdevice"
	"github.com/holdfastvpn/holdfast/vpn/wgkey"
)

func TestDriftIsRepairedAndTold(t *testing.T) {
	first := gatewaytest.Peers(3)[0]
	stranger := wgkey.Public{1}
	inet := netip.MustParsePrefix("192.0.2.0/24")
	for name, c := range map[string]struct {
		meddle func(*gateway.State)
		words  []string
		key    wgkey.Public
	}{
		"a peer is removed": {
			func(s *gateway.State) { s.Peers = s.Peers[1:] },
			[]string{"the peer was removed"}, first.Key,
		},
		"a stranger is added": {
			func(s *gateway.State) { s.Peers = append(s.Peers, gateway.PeerState{Key: stranger}) },
			[]string{"a peer that does not belong here was added"}, stranger,
		},
		"a preshared key is set": {
			func(s *gateway.State) { s.Peers[0].Preshared = gatewaytest.PresharedKey(1) },
			[]string{"its preshared key was changed"}, first.Key,
		},
		"allowed IPs and keepalive are changed": {
			func(s *gateway.State) {
				s.Peers[0].AllowedIPs[0] = netip.MustParsePrefix("203.0.113.0/24")
				s.Peers[0].Keepalive = time.Second
			},
			[]string{
				"its allowed IPs were changed from " + text(first.AllowedIPs) + " to 203.0.113.0/24," + first.AllowedIPs[1].String(),
				"its keepalive was changed from 0s to 1s",
			}, first.Key,
		},
		"the link is taken down": {
			func(s *gateway.State) { s.Up = false },
			[]string{"the interface was taken down"}, wgkey.Public{},
		},
		"the table is flushed": {
			func(s *gateway.State) { s.Filtered = false },
			[]string{"the filter table was changed or removed"}, wgkey.Public{},
		},
		"forwarding is switched off": {
			func(s *gateway.State) { s.Forwarding = false },
			[]string{"forwarding was switched off"}, wgkey.Public{},
		},
		"what sends from the floating addresses is taken away": {
			func(s *gateway.State) {
				s.Interface.Floating, s.Sourced = []netip.Addr{netip.MustParseAddr("198.51.100.10")}, false
			},
			[]string{"what sends from the floating addresses was changed or removed"}, wgkey.Public{},
		},
		"the interface is deleted": {
			func(s *gateway.State) { s.Exists = false },
			[]string{"the interface was deleted"}, wgkey.Public{},
		},
		"routes are changed": {
			func(s *gateway.State) { s.Routes = []netip.Prefix{netip.MustParsePrefix("198.51.100.0/24")} },
			[]string{"a route to 198.51.100.0/24 was added", "the route to 192.0.2.0/24 was removed"}, wgkey.Public{},
		},
		"fields of the interface are changed": {
			func(s *gateway.State) {
				s.Interface.Key, s.Interface.Port, s.Interface.Mark = gatewaytest.PrivateKey(9), 7, 7
				s.Interface.MTU, s.Interface.Addrs = 1500, s.Interface.Addrs[:1]
			},
			[]string{
				"the private key was changed", "the port was changed from 51820 to 7",
				"the firewall mark was changed from 0x0 to 0x7", "the MTU was changed from 1420 to 1500",
				"the addresses were changed from 10.20.0.1/16,fd20::1/64 to 10.20.0.1/16",
			}, wgkey.Public{},
		},
	} {
		t.Run(name, func(t *testing.T) {
			inBubble(t, 3, func(t *testing.T, b *bench) {
				b.plane.Edit(office, func(c *gateway.Config) { c.Peers[2].AllowedIPs = append(c.Peers[2].AllowedIPs, inet) })
				b.after(3 * time.Second)
				b.device.Open().Meddle(c.meddle)
				at := time.Now()
				b.after(time.Second)
				require.Empty(t, gateway.Diff(b.plane.Config(office), b.state()), "it is not repaired within a poll")

				last := b.plane.Last("gw1", office)
				require.Equal(t, uint64(len(c.words)), last.Drifts)
				var words []string
				for _, p := range last.Drift {
					words = append(words, p.What)
					require.Equal(t, c.key, p.Key)
					require.WithinRange(t, p.At, at, at.Add(time.Second))
				}
				slices.Sort(words)
				require.Equal(t, slices.Sorted(slices.Values(c.words)), words)
				require.ElementsMatch(t, c.words, b.steps.drift)

				b.after(time.Minute)
				require.Equal(t, last.Drifts, b.Status().Drifts, "a repair is taken for drift")
			})
		})
	}
}

func text(list []netip.Prefix) string {
	out := make([]string, len(list))
	for i, p := range list {
		out[i] = p.String()
	}
	return strings.Join(out, ",")
}

// What is wanted shares no memory with what is observed.
func TestDriftDoesNotReachWhatIsWanted(t *testing.T) {
	inBubble(t, 3, func(t *testing.T, b *bench) {
		for range 5 {
			b.device.Open().Meddle(func(s *gateway.State) {
				s.Interface.Addrs = gatewaytest.Prefixes("10.99.0.1/16", "fd99::1/64")
				s.Interface.Masquerade = gatewaytest.Prefixes("10.99.0.0/16")
				s.Peers[0].AllowedIPs = gatewaytest.Prefixes("10.99.0.9/32", "fd99::9/128")
			})
			b.after(time.Second)
			require.Empty(t, gateway.Diff(b.plane.Config(office), b.state()).String())
			b.plane.Edit(office, func(c *gateway.Config) { c.Interface.MTU-- })
			b.after(time.Second)
			require.Empty(t, gateway.Diff(b.plane.Config(office), b.state()).String())
		}
	})
}

func TestOnlyTheLatestDriftIsKept(t *testing.T) {
	inBubble(t, 40, func(t *testing.T, b *bench) {
		b.device.Open().Meddle(func(s *gateway.State) { s.Peers = nil })
		b.after(2 * time.Second)
		s := b.Status()
		require.Equal(t, uint64(40), s.Drifts)
		require.Len(t, s.Drift, 16)
		require.Equal(t, b.plane.Config(office).Peers[39].Key, s.Drift[15].Key)
	})
}

// notifying is a device that notices changes by itself.
type notifying struct {
	*memdevice.Device

	changes chan struct{}
}

func (n notifying) Changes(context.Context) <-chan struct{} { return n.changes }

func TestADeviceThatNoticesIsRepairedSooner(t *testing.T) {
	inBubble(t, 3, func(t *testing.T, b *bench) {
		b.stop()
		d := notifying{b.device, make(chan struct{}, 1)}
		var looks atomic.Int64
		r, err := gateway.NewReconciler(gateway.ReconcilerConfig{
			ID: "gw1", Location: office, Device: d, Plane: b.link, Poll: time.Hour,
			Trace: gateway.Trace{OnObserve: func(time.Duration, int, error) { looks.Add(1) }},
		})
		require.NoError(t, err)
		b.Reconciler = r
		b.start()
		b.after(time.Minute)
		looks.Store(0)
		b.device.Open().Meddle(func(s *gateway.State) { s.Up = false })
		d.changes <- struct{}{}
		b.after(50 * time.Millisecond)
		require.True(t, b.state().Up)
		require.Equal(t, int64(1), looks.Load())

		// Changes without end neither stop it from looking nor make it look
		// without end.
		looks.Store(0)
		for range 1000 {
			d.changes <- struct{}{}
			b.after(10 * time.Millisecond)
		}
		require.InDelta(t, 10*time.Second/(50*time.Millisecond), looks.Load(), 50)
	})
}
