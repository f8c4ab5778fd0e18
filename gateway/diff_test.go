package gateway_test

import (
	"context"
	"net/netip"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"

	"github.com/holdfastvpn/holdfast/gateway"
	"github.com/holdfastvpn/holdfast/gateway/gatewaytest"
	"github.com/holdfastvpn/holdfast/gateway/memdevice"
	"github.com/holdfastvpn/holdfast/vpn/wgkey"
)

// tester is what *testing.T and *rapid.T have in common.
type tester interface {
	require.TestingT
	Helper()
	Context() context.Context
}

func observe(tb tester, d gateway.Device) gateway.State {
	tb.Helper()
	var s gateway.State
	require.NoError(tb, d.Observe(tb.Context(), &s))
	return s
}

// round makes d be as c says, the way a Reconciler does.
func round(tb tester, d gateway.Device, c gateway.Config) {
	tb.Helper()
	require.NoError(tb, d.Apply(tb.Context(), gateway.Diff(c, observe(tb, d))))
}

// A grant is one thing that lets somebody in.
type grant struct {
	key       wgkey.Public
	preshared wgkey.Preshared
	prefix    netip.Prefix // zero: may have a session at all
	route     bool
}

func granted(s gateway.State) map[grant]bool {
	out := map[grant]bool{}
	for _, p := range s.Peers {
		out[grant{key: p.Key, preshared: p.Preshared}] = true
		for _, a := range p.AllowedIPs {
			out[grant{key: p.Key, preshared: p.Preshared, prefix: a}] = true
		}
	}
	for _, r := range s.Routes {
		out[grant{prefix: r, route: true}] = true
	}
	return out
}

func wanted(c gateway.Config) map[grant]bool {
	s := gateway.State{}
	for _, p := range c.Peers {
		s.Peers = append(s.Peers, gateway.PeerState{Key: p.Key, Preshared: p.Preshared, AllowedIPs: p.AllowedIPs})
		for _, a := range p.AllowedIPs {
			if !slices.ContainsFunc(c.Interface.Addrs, func(n netip.Prefix) bool {
				return n.Overlaps(a) && n.Bits() <= a.Bits()
			}) {
				s.Routes = append(s.Routes, a)
			}
		}
	}
	return granted(s)
}

// scene is a device that was configured, met strangers, and is to be as want.
type scene struct {
	device *memdevice.Device
	want   gateway.Config
}

func drawScene(t *rapid.T) scene {
	s := scene{device: memdevice.New(), want: gatewaytest.RandomConfig().Draw(t, "want")}
	if rapid.Bool().Draw(t, "exists") {
		require.NoError(t, s.device.Apply(t.Context(), gateway.Diff(gatewaytest.RandomConfig().Draw(t, "old"), gateway.State{})))
		_ = s.device.Apply(t.Context(), gatewaytest.RandomPlan().Draw(t, "strangers")) // what fails has done nothing
		for i, k := range gatewaytest.Keys(5) {
			s.device.Hear(k, memdevice.Traffic{Rx: 1000, Handshake: time.Unix(int64(1000+i), 0)})
		}
	}
	if rapid.IntRange(0, 9).Draw(t, "ended") == 0 {
		s.want = gateway.Config{}
	}
	return s
}

func TestOneRoundIsEnough(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		s := drawScene(t)
		have := observe(t, s.device)
		plan := gateway.Diff(s.want, have)
		require.NoError(t, s.device.Apply(t.Context(), plan), "plan:\n%s", plan)
		after := observe(t, s.device)
		require.Empty(t, gateway.Diff(s.want, after).String(), "the second round has something to do after\n%s", plan)

		// The same in other words than Diff's.
		require.Equal(t, !s.want.Interface.IsZero(), after.Exists)
		require.True(t, s.want.Interface.Equal(after.Interface), "want %v, have %v", s.want.Interface, after.Interface)
		require.Equal(t, wanted(s.want), granted(after))
		for i, p := range s.want.Peers {
			require.Equal(t, p.Keepalive, after.Peers[i].Keepalive)
		}
	})
}

func TestRevokeComesBeforeGrant(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		s := drawScene(t)
		allowed, had := wanted(s.want), granted(observe(t, s.device))
		exists := observe(t, s.device).Exists
		for _, step := range gateway.Diff(s.want, observe(t, s.device)) {
			require.NoError(t, s.device.Apply(t.Context(), gateway.Plan{step}))
			now := granted(observe(t, s.device))
			fresh := step.Verb == gateway.Configure && exists
			for g := range now {
				if had[g] {
					continue
				}
				fresh = true
				require.True(t, allowed[g], "step %v gives what nobody asked for: %+v", step, g)
			}
			if fresh { // it gave something, so nothing may be left to take away
				for g := range now {
					require.True(t, allowed[g], "step %v gives before %+v was taken away", step, g)
				}
			}
			had = now
		}
	})
}

// proves P8: peers that did not change are not touched.
func TestWhoDidNotChangeGetsNoStep(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		s := drawScene(t)
		have := observe(t, s.device)
		plan := gateway.Diff(s.want, have)
		require.NoError(t, s.device.Apply(t.Context(), plan))
		after := observe(t, s.device)
		for _, h := range have.Peers {
			w, ok := s.want.Peer(h.Key)
			if !ok || w.Preshared != h.Preshared {
				continue
			}
			i := slices.IndexFunc(after.Peers, func(p gateway.PeerState) bool { return p.Key == h.Key })
			require.Equal(t, h.Handshake, after.Peers[i].Handshake, "the session of %v is gone", h.Key)
			require.Equal(t, h.Rx, after.Peers[i].Rx)
			require.Equal(t, h.Endpoint, after.Peers[i].Endpoint, "%v was sent elsewhere", h.Key)
			if w.Keepalive != h.Keepalive || !slices.Equal(w.AllowedIPs, h.AllowedIPs) {
				continue
			}
			for _, step := range plan {
				require.NotEqual(t, h.Key, step.Peer.Key, "%v: %v did not change", step, h.Key)
			}
		}
	})
}

func TestDiffIsPure(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		s := drawScene(t)
		have := observe(t, s.device)
		want, had := s.want.Clone(), have.Clone()
		first := gateway.Diff(s.want, have)
		require.Equal(t, first, gateway.Diff(s.want, have), "the same arguments give another plan")
		require.Equal(t, want, s.want.Clone(), "want was changed")
		require.Equal(t, had, have.Clone(), "have was changed")

		// The order of lists says nothing, and is not relied on.
		shuffled, mixed := s.want.Clone(), have.Clone()
		shuffled.Peers = rapid.Permutation(shuffled.Peers).Draw(t, "want")
		mixed.Peers = rapid.Permutation(mixed.Peers).Draw(t, "have")
		mixed.Routes = rapid.Permutation(mixed.Routes).Draw(t, "routes")
		require.Equal(t, first.String(), gateway.Diff(shuffled, mixed).String())
	})
}

func TestPlanHasItsOrder(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		s := drawScene(t)
		have := observe(t, s.device)
		phase, last := 0, wgkey.Public{}
		for _, step := range gateway.Diff(s.want, have) {
			now := map[gateway.Verb]int{
				gateway.Remove: 1, gateway.Set: 2, gateway.Unroute: 3, gateway.Destroy: 4,
				gateway.Configure: 5, gateway.Route: 7,
			}[step.Verb]
			if step.Verb == gateway.Set && phase > 2 || step.Verb == gateway.Set && !narrows(step.Peer, have) {
				now = 6
			}
			require.GreaterOrEqual(t, now, phase, "%v comes late", step)
			if now == phase && now != 3 && now != 7 {
				require.Positive(t, step.Peer.Key.Compare(last), "%v is not in key order", step)
			}
			phase, last = now, step.Peer.Key
		}
	})
}

func narrows(p gateway.Peer, have gateway.State) bool {
	for _, h := range have.Peers {
		if h.Key == p.Key {
			return len(p.AllowedIPs) < len(h.AllowedIPs) && !slices.ContainsFunc(p.AllowedIPs, func(a netip.Prefix) bool {
				return !slices.Contains(h.AllowedIPs, a)
			})
		}
	}
	return false
}

func TestDiff(t *testing.T) {
	c := gatewaytest.Config(2)
	a, b := c.Peers[0].Key, c.Peers[1].Key
	routed := netip.MustParsePrefix("192.0.2.0/24")
	for name, test := range map[string]struct {
		want    func(*gateway.Config)
		strange func(*gateway.State)
		plan    string
	}{
		"nothing to do": {plan: ""},
		"a foreign link-local address is the kernel's": {
			strange: func(s *gateway.State) {
				s.Interface.Addrs = append(s.Interface.Addrs, netip.MustParsePrefix("fe80::1234/64"))
			},
		},
		"a peer that roamed is not sent back": {
			want:    func(c *gateway.Config) { c.Peers[0].Endpoint = netip.MustParseAddrPort("192.0.2.1:1") },
			strange: func(s *gateway.State) { s.Peers[0].Endpoint = netip.MustParseAddrPort("192.0.2.2:2") },
		},
		"another preshared key is another session": {
			want: func(c *gateway.Config) {
				c.Peers[0].Preshared = gatewaytest.PresharedKey(1)
				c.Peers[0].Endpoint = netip.MustParseAddrPort("192.0.2.1:1")
			},
			plan: "remove A\nset A 10.20.1.1/32,fd20::101/128 preshared endpoint 192.0.2.1:1\n",
		},
		"a prefix moves": {
			want: func(c *gateway.Config) {
				c.Peers[1].AllowedIPs = append(c.Peers[0].AllowedIPs[:1:1], c.Peers[1].AllowedIPs...)
				c.Peers[0].AllowedIPs = c.Peers[0].AllowedIPs[1:]
			},
			plan: "set A fd20::101/128\nset B 10.20.1.1/32,10.20.1.2/32,fd20::102/128\n",
		},
		"a stolen prefix comes back": {
			strange: func(s *gateway.State) {
				s.Peers[1].AllowedIPs = append(s.Peers[0].AllowedIPs[:1:1], s.Peers[1].AllowedIPs...)
				s.Peers[0].AllowedIPs = s.Peers[0].AllowedIPs[1:]
			},
			plan: "set B 10.20.1.2/32,fd20::102/128\nset A 10.20.1.1/32,fd20::101/128\n",
		},
		"a peer swaps one prefix for another": {
			want: func(c *gateway.Config) {
				c.Peers[0].AllowedIPs = []netip.Prefix{c.Peers[0].AllowedIPs[0], routed}
			},
			plan: "set A 10.20.1.1/32\nset A 10.20.1.1/32,192.0.2.0/24\nroute 192.0.2.0/24\n",
		},
		"a peer that is there and gains is not sent elsewhere": {
			want: func(c *gateway.Config) {
				c.Peers[0].Endpoint = netip.MustParseAddrPort("192.0.2.1:1")
				c.Peers[0].Keepalive = time.Second
			},
			plan: "set A 10.20.1.1/32,fd20::101/128 keepalive 1s\n",
		},
		"what is narrowed is set once": {
			want: func(c *gateway.Config) {
				c.Peers[0].AllowedIPs = c.Peers[0].AllowedIPs[:1]
				c.Peers[0].Keepalive = time.Second
			},
			plan: "set A 10.20.1.1/32 keepalive 1s\n",
		},
		"a prefix that is wider than a network needs a route": {
			want: func(c *gateway.Config) {
				c.Peers[0].AllowedIPs = append(gatewaytest.Prefixes("10.20.0.0/14"), c.Peers[0].AllowedIPs...)
			},
			plan: "set A 10.20.0.0/14,10.20.1.1/32,fd20::101/128\nroute 10.20.0.0/14\n",
		},
		"strangers go": {
			strange: func(s *gateway.State) {
				s.Peers = append(s.Peers, gateway.PeerState{Key: wgkey.Public{1}, AllowedIPs: []netip.Prefix{routed}})
				s.Routes = []netip.Prefix{routed}
			},
			plan: "remove " + wgkey.Public{1}.String() + "\nunroute 192.0.2.0/24\n",
		},
		"fields of the interface": {
			want: func(c *gateway.Config) { c.Interface.Port, c.Interface.Mark = 443, 7 },
			strange: func(s *gateway.State) {
				s.Up, s.Filtered, s.Forwarding = false, false, false
			},
			plan: "configure port,mark,filter,forwarding,up: port 443, addresses 10.20.0.1/16,fd20::1/64, mtu 1420," +
				" mark 0x7, masquerade 10.20.0.0/16,fd20::/64\n",
		},
		"only the filter changes": {
			want: func(c *gateway.Config) {
				c.Interface.Destinations, c.Interface.Isolated = gatewaytest.Prefixes("10.60.0.0/16", "fd60::/64"), true
			},
			plan: "configure filter: port 51820, addresses 10.20.0.1/16,fd20::1/64, mtu 1420," +
				" masquerade 10.20.0.0/16,fd20::/64, destinations 10.60.0.0/16,fd60::/64, isolated\n",
		},
		"floating addresses come": {
			want: func(c *gateway.Config) {
				c.Interface.Mark, c.Interface.Floating = 7, []netip.Addr{netip.MustParseAddr("198.51.100.10")}
			},
			plan: "configure mark,source: port 51820, addresses 10.20.0.1/16,fd20::1/64, mtu 1420, mark 0x7," +
				" floating 198.51.100.10, masquerade 10.20.0.0/16,fd20::/64\n",
		},
		"floating addresses go": {
			strange: func(s *gateway.State) {
				s.Interface.Floating, s.Owned = []netip.Addr{netip.MustParseAddr("198.51.100.10")}, nil
			},
			plan: "configure source: port 51820, addresses 10.20.0.1/16,fd20::1/64, mtu 1420," +
				" masquerade 10.20.0.0/16,fd20::/64\n",
		},
		"what sends from elsewhere does not matter without floating addresses": {
			strange: func(s *gateway.State) { s.Sourced = false },
		},
		"new addresses bring the routes again": {
			want: func(c *gateway.Config) {
				c.Interface.Addrs = c.Interface.Addrs[1:]
				c.Interface.Masquerade = nil
				c.Peers = c.Peers[:1]
			},
			plan: "remove B\nconfigure addrs,filter: port 51820, addresses fd20::1/64, mtu 1420\nroute 10.20.1.1/32\n",
		},
		"an interface that is not there": {
			want:    func(c *gateway.Config) { c.Interface.Masquerade = nil },
			strange: func(s *gateway.State) { s.Exists = false },
			plan: "configure create,key,port,mark,mtu,addrs,filter,forwarding,up,source: port 51820," +
				" addresses 10.20.0.1/16,fd20::1/64, mtu 1420\n" +
				"set A 10.20.1.1/32,fd20::101/128\nset B 10.20.1.2/32,fd20::102/128\n",
		},
		"the end": {
			want:    func(c *gateway.Config) { *c = gateway.Config{Revision: c.Revision} },
			strange: func(s *gateway.State) { s.Routes = []netip.Prefix{routed} },
			plan:    "remove A\nremove B\nunroute 192.0.2.0/24\ndestroy\n",
		},
		"the end of nothing": {
			want:    func(c *gateway.Config) { c.Interface = gateway.Interface{} },
			strange: func(s *gateway.State) { s.Exists = false },
		},
	} {
		t.Run(name, func(t *testing.T) {
			d, c := memdevice.New(), c.Clone()
			round(t, d, c)
			have := observe(t, d)
			if test.want != nil {
				test.want(&c)
			}
			if test.strange != nil {
				test.strange(&have)
			}
			text := gateway.Diff(c, have).String()
			text = strings.NewReplacer(a.String(), "A", b.String(), "B").Replace(text)
			require.Equal(t, test.plan, text)
		})
	}
}

// A field that Diff forgets is a change that never reaches a device. Each field
// of desired state has to stand here, so that a new one fails until Diff knows
// it.
func TestDiffSeesEveryField(t *testing.T) {
	changes := map[string]func(*gateway.Config){
		"Config.Revision":      nil, // says which state it is, and is no part of it
		"Config.Interface":     func(c *gateway.Config) { c.Interface = gateway.Interface{} },
		"Config.Peers":         func(c *gateway.Config) { c.Peers = nil },
		"Interface.Key":        func(c *gateway.Config) { c.Interface.Key = gatewaytest.PrivateKey(9) },
		"Interface.Port":       func(c *gateway.Config) { c.Interface.Port++ },
		"Interface.Addrs":      func(c *gateway.Config) { c.Interface.Addrs = c.Interface.Addrs[:1] },
		"Interface.MTU":        func(c *gateway.Config) { c.Interface.MTU++ },
		"Interface.Mark":       func(c *gateway.Config) { c.Interface.Mark++ },
		"Interface.Masquerade": func(c *gateway.Config) { c.Interface.Masquerade = nil },
		"Interface.Destinations": func(c *gateway.Config) {
			c.Interface.Destinations = gatewaytest.Prefixes("10.60.0.0/16")
		},
		"Interface.Isolated": func(c *gateway.Config) { c.Interface.Isolated = true },
		"Interface.Floating": func(c *gateway.Config) { c.Interface.Floating = nil },
		"Interface.Carried":  nil, // no part of the interface: see Detourer
		"Interface.Inner":    func(c *gateway.Config) { c.Interface.Inner = nil },
		"Peer.Key":           func(c *gateway.Config) { c.Peers[0].Key = wgkey.Public{1} },
		"Peer.Preshared":     func(c *gateway.Config) { c.Peers[0].Preshared = gatewaytest.PresharedKey(9) },
		"Peer.AllowedIPs":    func(c *gateway.Config) { c.Peers[0].AllowedIPs = c.Peers[0].AllowedIPs[:1] },
		"Peer.Keepalive":     func(c *gateway.Config) { c.Peers[0].Keepalive = time.Second },
		"Peer.Endpoint":      nil, // used when the peer is added; see TestDiff
	}
	drifts := map[string]func(*gateway.State){
		"State.Exists":         func(s *gateway.State) { s.Exists = false },
		"State.Up":             func(s *gateway.State) { s.Up = false },
		"State.Backend":        nil,
		"State.Interface":      func(s *gateway.State) { s.Interface = gateway.Interface{} },
		"State.Filtered":       func(s *gateway.State) { s.Filtered = false },
		"State.Forwarding":     func(s *gateway.State) { s.Forwarding = false },
		"State.Owned":          nil, // whose they are is not for us to say
		"State.Sourced":        func(s *gateway.State) { s.Sourced = false },
		"State.Routes":         func(s *gateway.State) { s.Routes = gatewaytest.Prefixes("192.0.2.0/24") },
		"State.Peers":          func(s *gateway.State) { s.Peers = nil },
		"State.Problems":       nil, // told, not repaired
		"PeerState.Key":        func(s *gateway.State) { s.Peers[0].Key = wgkey.Public{1} },
		"PeerState.Preshared":  func(s *gateway.State) { s.Peers[0].Preshared = gatewaytest.PresharedKey(9) },
		"PeerState.AllowedIPs": func(s *gateway.State) { s.Peers[0].AllowedIPs = nil },
		"PeerState.Keepalive":  func(s *gateway.State) { s.Peers[0].Keepalive = time.Second },
		"PeerState.Endpoint":   nil, // the peer's own
		"PeerState.Handshake":  nil, // seen, not wanted
		"PeerState.Rx":         nil,
		"PeerState.Tx":         nil,
	}
	full := gatewaytest.Config(2)
	full.Interface.Mark = 7
	full.Interface.Floating = []netip.Addr{netip.MustParseAddr("198.51.100.10")}
	full.Interface.Inner = []netip.Addr{netip.MustParseAddr("10.60.0.10")}
	d := memdevice.New()
	round(t, d, full)
	for _, typ := range []reflect.Type{
		reflect.TypeFor[gateway.Config](), reflect.TypeFor[gateway.Interface](), reflect.TypeFor[gateway.Peer](),
	} {
		for f := range typ.Fields() {
			name := typ.Name() + "." + f.Name
			change, known := changes[name]
			require.True(t, known, "%s: say in this test what a change of it does", name)
			if change != nil {
				c := full.Clone()
				change(&c)
				require.NotEmpty(t, gateway.Diff(c, observe(t, d)), "Diff does not see a change of %s", name)
			}
		}
	}
	for _, typ := range []reflect.Type{reflect.TypeFor[gateway.State](), reflect.TypeFor[gateway.PeerState]()} {
		for f := range typ.Fields() {
			name := typ.Name() + "." + f.Name
			drift, known := drifts[name]
			require.True(t, known, "%s: say in this test what a change of it does", name)
			if drift != nil {
				s := observe(t, d)
				drift(&s)
				require.NotEmpty(t, gateway.Diff(full, s), "Diff does not see a change of %s", name)
			}
		}
	}
}

func BenchmarkDiff(b *testing.B) {
	c := gatewaytest.Config(10_000)
	d := memdevice.New()
	round(b, d, c)
	have := observe(b, d)
	for b.Loop() {
		if len(gateway.Diff(c, have)) != 0 {
			b.Fatal("nothing changed")
		}
	}
}
