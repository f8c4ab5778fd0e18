package gatewaytest

import (
	"iter"
	"net/netip"
	"slices"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/holdfastvpn/holdfast/gateway"
	"github.com/holdfastvpn/holdfast/vpn/wgkey"
)

// Harness is what RunDevice needs of a kind of device. Only Open is required; a
// case that needs one of the others is not there without it.
type Harness struct {
	// Open returns a new handle on one and the same interface, which is not there
	// at first. What has to be closed or taken away afterwards, it hands to
	// tb.Cleanup.
	Open func(tb testing.TB) gateway.Device
	// Talk lets the owner of a private key confirm a session with the interface,
	// and send it some data, before it returns.
	Talk func(tb testing.TB, peer wgkey.Private)
	// TakePort lets somebody else listen on a UDP port of the same machine, until
	// the test ends.
	TakePort func(tb testing.TB, port uint16)
	// Foreign puts an interface of the same name there that is somebody else's.
	Foreign func(tb testing.TB)
	// Own puts an address onto the same machine, such that it can be sent from when
	// Own returns, or takes it away. The cases that need it are for devices that
	// are a gateway.Owner.
	Own func(tb testing.TB, addr netip.Addr, have bool)
	// Detours tells what the machine passes on to siblings, in any order, and Siblings
	// are addresses of IPv4 of such, which the machine can send to. The cases that need
	// them are for devices that are a gateway.Detourer.
	Detours  func(tb testing.TB) []gateway.Detour
	Siblings []netip.Addr
	// Hang has the system forget a connection at an inner address, as when its ends have
	// ended it. The cases that need it, and Own, are for devices that are a
	// gateway.Tracker.
	Hang func(tb testing.TB, f gateway.Flow)
}

// RunDevice checks a gateway.Device against the contract. open is called for
// each case, and once before to see which cases there are; each Harness is about
// an interface of its own.
func RunDevice(t *testing.T, open func(tb testing.TB) Harness) {
	t.Helper()
	for name, test := range deviceCases(open(t), open) {
		t.Run(name, func(t *testing.T) { test(t) })
	}
}

type deviceCase struct {
	name string
	test func(tb testing.TB, h Harness)
}

// deviceCases yields the cases for devices whose Harness is like h.
func deviceCases(h Harness, open func(tb testing.TB) Harness) iter.Seq2[string, func(testing.TB)] {
	cases := slices.Concat(interfaceCases(), peerCases(), planCases(), floatingCases())
	if h.Talk != nil {
		cases = append(cases, sessionCases()...)
	}
	if h.TakePort != nil {
		cases = append(cases, deviceCase{"a port that is taken leaves nothing behind", takenPort})
	}
	if h.Foreign != nil {
		cases = append(cases, deviceCase{"an interface of somebody else is left alone", leavesForeign})
	}
	if h.Own != nil {
		cases = append(cases, ownCases()...)
	}
	if h.Detours != nil {
		cases = append(cases, detourCases()...)
	}
	if h.Hang != nil {
		cases = append(cases, flowCases()...)
	}
	return func(yield func(string, func(testing.TB)) bool) {
		for _, c := range cases {
			if !yield(c.name, func(tb testing.TB) { c.test(tb, open(tb)) }) {
				return
			}
		}
	}
}

// look observes a device.
func look(tb testing.TB, d gateway.Device) gateway.State {
	tb.Helper()
	var s gateway.State
	require.NoError(tb, d.Observe(tb.Context(), &s))
	return s
}

// do applies steps that all have to succeed.
func do(tb testing.TB, d gateway.Device, steps ...gateway.Step) {
	tb.Helper()
	require.NoError(tb, d.Apply(tb.Context(), steps))
}

func set(p gateway.Peer) gateway.Step { return gateway.Step{Verb: gateway.Set, Peer: p} }

func remove(k wgkey.Public) gateway.Step {
	return gateway.Step{Verb: gateway.Remove, Peer: gateway.Peer{Key: k}}
}

// reach brings a device to be as c says, in one round.
func reach(tb testing.TB, d gateway.Device, c gateway.Config) {
	tb.Helper()
	if !c.Interface.IsZero() {
		require.NoError(tb, c.Validate())
	}
	do(tb, d, gateway.Diff(c, look(tb, d))...)
	is(tb, d, c)
}

// is requires a device to be as c says, in other words than Diff's.
func is(tb testing.TB, d gateway.Device, c gateway.Config) {
	tb.Helper()
	s := look(tb, d)
	if c.Interface.IsZero() {
		require.False(tb, s.Exists, "the interface is still there")
		return
	}
	require.True(tb, s.Exists, "the interface is not there")
	require.True(tb, s.Up, "the interface is not up")
	require.True(tb, s.Forwarding, "nothing is forwarded")
	require.True(tb, s.Filtered, "the filter is not as asked for")
	require.True(tb, s.Sourced, "what is sent does not leave from floating addresses")
	require.NotEmpty(tb, s.Backend)
	have := s.Interface
	have.Addrs = slices.DeleteFunc(have.Addrs, func(p netip.Prefix) bool {
		return p.Addr().IsLinkLocalUnicast() && !slices.Contains(c.Interface.Addrs, p)
	})
	require.Equal(tb, c.Interface.Key, have.Key, "the private key is another one")
	require.Equal(tb, c.Interface.String(), have.String())
	if want, have := keys(c.Peers), keysOf(s.Peers); !slices.Equal(want, have) {
		tb.Fatalf("%d peers, want %d: they are %v, want %v", len(have), len(want), have, want)
	}
	for i, want := range c.Peers {
		have := s.Peers[i]
		allowed := slices.SortedFunc(slices.Values(want.AllowedIPs), netip.Prefix.Compare)
		switch {
		case want.Preshared != have.Preshared:
			tb.Fatalf("the preshared key of %v is another one", want.Key)
		case want.Keepalive != have.Keepalive:
			tb.Fatalf("the keepalive of %v is %v, want %v", want.Key, have.Keepalive, want.Keepalive)
		case !slices.Equal(allowed, have.AllowedIPs):
			tb.Fatalf("the allowed IPs of %v are %v, want %v", want.Key, have.AllowedIPs, allowed)
		}
	}
	require.True(tb, slices.IsSortedFunc(s.Routes, netip.Prefix.Compare), "routes are not in order")
	require.Empty(tb, gateway.Diff(c, s).String(), "there is something left to do")
}

// tidy makes lists that are empty be nil, for comparisons.
func tidy(s gateway.State) gateway.State {
	s = s.Clone()
	for _, list := range []*[]netip.Prefix{&s.Interface.Addrs, &s.Interface.Masquerade, &s.Interface.Destinations, &s.Routes} {
		if len(*list) == 0 {
			*list = nil
		}
	}
	if len(s.Problems) == 0 {
		s.Problems = nil
	}
	for _, list := range []*[]netip.Addr{&s.Interface.Floating, &s.Owned} {
		if len(*list) == 0 {
			*list = nil
		}
	}
	for i := range s.Peers {
		if len(s.Peers[i].AllowedIPs) == 0 {
			s.Peers[i].AllowedIPs = nil
		}
	}
	return s
}

// peerOf returns what a device has of a peer, which has to be there.
func peerOf(tb testing.TB, d gateway.Device, key wgkey.Public) gateway.PeerState {
	tb.Helper()
	s := look(tb, d)
	i := slices.Index(keysOf(s.Peers), key)
	require.GreaterOrEqual(tb, i, 0, "the peer %v is not there", key)
	return s.Peers[i]
}

func keys(peers []gateway.Peer) []wgkey.Public {
	out := make([]wgkey.Public, len(peers))
	for i, p := range peers {
		out[i] = p.Key
	}
	return out
}

func keysOf(peers []gateway.PeerState) []wgkey.Public {
	out := make([]wgkey.Public, len(peers))
	for i, p := range peers {
		out[i] = p.Key
	}
	return out
}
