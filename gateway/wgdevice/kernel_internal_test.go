//go:build linux

package wgdevice

// Internal: the kernel's WireGuard is behind a seam here, so that what is sent to
// it can be seen on a machine that has none.

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"slices"
	"testing"

	"github.com/stretchr/testify/require"
	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"
	"golang.zx2c4.com/wireguard/wgctrl/wgtypes"
	"pgregory.net/rapid"

	"github.com/holdfastvpn/holdfast/gateway"
	"github.com/holdfastvpn/holdfast/internal/testnet"
	"github.com/holdfastvpn/holdfast/vpn/wgkey"
)

// fakeKernel notes what it is told, and keeps peers as a kernel does.
type fakeKernel struct {
	device fakeDevice
	calls  []wgtypes.Config
	reads  int
	refuse func(wgtypes.PeerConfig) error
	fail   error
}

// fakeDevice is what a fakeKernel has.
type fakeDevice struct {
	gateway.Interface

	Peers []wgtypes.PeerConfig
}

func (f *fakeKernel) Close() error { return nil }
func (f *fakeKernel) close() error { return nil }

func (f *fakeKernel) read(_ string, s *gateway.State) error {
	f.reads++
	s.Interface.Key, s.Interface.Port, s.Interface.Mark = f.device.Key, f.device.Port, f.device.Mark
	s.Peers = s.Peers[:0]
	for _, p := range f.device.Peers {
		grow(s).Key = wgkey.Public(p.PublicKey)
	}
	return f.fail
}

func (f *fakeKernel) ConfigureDevice(_ string, c wgtypes.Config) error {
	f.calls = append(f.calls, c)
	if f.fail != nil {
		return f.fail
	}
	for _, p := range c.Peers {
		if f.refuse != nil && f.refuse(p) != nil {
			return f.refuse(p)
		}
	}
	if c.ReplacePeers {
		f.device.Peers = nil
	}
	for _, p := range c.Peers {
		i := slices.IndexFunc(f.device.Peers, func(have wgtypes.PeerConfig) bool { return have.PublicKey == p.PublicKey })
		switch {
		case p.Remove && i >= 0:
			f.device.Peers = slices.Delete(f.device.Peers, i, i+1)
		case p.Remove:
		case i < 0:
			f.device.Peers = append(f.device.Peers, p)
		default:
			f.device.Peers[i].AllowedIPs = p.AllowedIPs
		}
	}
	return nil
}

// someRound is an Apply of the plan to the fake.
func someRound(ctx context.Context, f *fakeKernel, p gateway.Plan) *round {
	return &round{
		Device: &Device{name: "wg0", backend: Kernel}, ctx: ctx, plan: p, failed: map[int]error{},
		link: &netlink.Wireguard{}, wg: &kernel{name: "wg0", client: f, list: f},
	}
}

// manyPeers are n Set steps with two prefixes each.
func manyPeers(n int) gateway.Plan {
	out := make(gateway.Plan, n)
	for i := range out {
		a := netip.AddrFrom4([4]byte{10, byte(i >> 16), byte(i >> 8), byte(i)})
		out[i] = gateway.Step{Verb: gateway.Set, Peer: gateway.Peer{
			Key:        wgkey.Public{1, byte(i >> 16), byte(i >> 8), byte(i)},
			AllowedIPs: []netip.Prefix{netip.PrefixFrom(a, 32), netip.PrefixFrom(netip.AddrFrom16(a.As16()).Next(), 128)},
		}}
	}
	return out
}

// removals are the Remove steps for the same peers.
func removals(sets gateway.Plan) gateway.Plan {
	out := make(gateway.Plan, len(sets))
	for i, s := range sets {
		out[i] = gateway.Step{Verb: gateway.Remove, Peer: gateway.Peer{Key: s.Peer.Key}}
	}
	return out
}

// Peers go to the kernel in messages that fit, and nothing goes with them.
func TestKernelBatches(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		f := &fakeKernel{}
		plan := anyPlan(t)
		if err := someRound(context.Background(), f, plan).run(); err != nil {
			t.Fatal(err)
		}
		want := map[wgtypes.Key]int{}
		for _, s := range plan {
			if s.Verb == gateway.Set {
				want[wgtypes.Key(s.Peer.Key)] = len(s.Peer.AllowedIPs)
			} else {
				delete(want, wgtypes.Key(s.Peer.Key))
			}
		}
		for _, p := range f.device.Peers {
			if n, ok := want[p.PublicKey]; !ok || n != len(p.AllowedIPs) {
				t.Fatalf("peer %v has %d prefixes, want %d", p.PublicKey, len(p.AllowedIPs), n)
			}
		}
		if len(want) != len(f.device.Peers) {
			t.Fatalf("%d peers, want %d", len(f.device.Peers), len(want))
		}
		for _, c := range f.calls {
			if c.PrivateKey != nil || c.ListenPort != nil || c.FirewallMark != nil || c.ReplacePeers && len(c.Peers) > 0 {
				t.Fatal("settings among peers")
			}
			prefixes := 0
			for _, p := range c.Peers {
				prefixes += len(p.AllowedIPs)
				if !p.Remove && (!p.ReplaceAllowedIPs || p.PresharedKey == nil || p.PersistentKeepaliveInterval == nil) || p.UpdateOnly {
					t.Fatalf("incomplete: %+v", p)
				}
			}
			if len(c.Peers) > 32 || len(c.Peers) > 1 && prefixes > 256 {
				t.Fatalf("%d peers with %d prefixes in a message", len(c.Peers), prefixes)
			}
		}
	})
}

func TestKernelRemovesAllAtOnce(t *testing.T) {
	f := &fakeKernel{}
	sets := manyPeers(1000)
	require.NoError(t, someRound(t.Context(), f, sets).run())
	require.Len(t, f.calls, 32)
	require.Zero(t, f.reads, "nobody needs to know who is there")

	f.calls = nil
	require.NoError(t, someRound(t.Context(), f, removals(sets[1:])).run())
	require.Len(t, f.calls, 32, "one peer stays, and must not be touched")
	require.Len(t, f.device.Peers, 1)

	require.NoError(t, someRound(t.Context(), f, sets).run())
	f.calls = nil
	require.NoError(t, someRound(t.Context(), f, append(removals(sets), sets[5])).run())
	require.Len(t, f.calls, 2)
	require.Equal(t, wgtypes.Config{ReplacePeers: true}, f.calls[0])
	require.Len(t, f.device.Peers, 1)
}

// One bad peer fails alone, and is named.
func TestKernelRefusesOne(t *testing.T) {
	sets := manyPeers(70)
	bad := wgtypes.Key(sets[40].Peer.Key)
	f := &fakeKernel{refuse: func(p wgtypes.PeerConfig) error {
		if p.PublicKey == bad {
			return unix.EINVAL
		}
		return nil
	}}
	err := someRound(t.Context(), f, sets).run()
	failed := new(gateway.ApplyError)
	require.ErrorAs(t, err, &failed)
	require.Len(t, failed.Failed, 1)
	require.ErrorIs(t, failed.Failed[40], unix.EINVAL)
	require.ErrorContains(t, failed.Failed[40], "set peer "+sets[40].Peer.Key.String())
	require.Len(t, f.device.Peers, 69)
	require.Len(t, f.calls, 3+32)
}

// A list that lacks peers is read again; when that never ends it has to do, and
// says so.
func TestKernelIsReadAgain(t *testing.T) {
	f := &fakeKernel{fail: netlink.ErrDumpInterrupted}
	s := gateway.State{Problems: []string{"another"}}
	require.NoError(t, (&kernel{name: "wg0", list: f}).read(&s))
	require.Equal(t, tries, f.reads)
	require.Len(t, s.Problems, 2)
	require.Contains(t, s.Problems[1], "is something else setting wg0?")
	calm := &calming{fakeKernel: fakeKernel{fail: netlink.ErrDumpInterrupted}, after: 3}
	s.Problems = nil
	require.NoError(t, (&kernel{list: calm}).read(&s))
	require.Equal(t, 4, calm.reads)
	require.Empty(t, s.Problems)
}

// calming is a fakeKernel that is disturbed only at first.
type calming struct {
	fakeKernel

	after int
}

func (c *calming) read(name string, s *gateway.State) error {
	if c.reads == c.after {
		c.fail = nil
	}
	return c.fakeKernel.read(name, s)
}

// An interface that has gone is not asked for each peer again.
func TestKernelHasGone(t *testing.T) {
	f := &fakeKernel{fail: os.ErrNotExist}
	sets := manyPeers(64)
	err := someRound(t.Context(), f, sets).run()
	failed := new(gateway.ApplyError)
	require.ErrorAs(t, err, &failed)
	require.Len(t, failed.Failed, 64)
	require.ErrorIs(t, failed.Failed[63], unix.ENODEV)
	require.Len(t, f.calls, 2)

	var s gateway.State
	k := &kernel{client: f, list: f}
	require.ErrorIs(t, k.read(&s), unix.ENODEV)
	f.fail = unix.EOPNOTSUPP
	require.ErrorIs(t, k.read(&s), unix.ENODEV, "something else of the same name")
	f.fail = unix.EPERM
	require.ErrorIs(t, k.read(&s), unix.EPERM)
}

func TestApplyEndsWithItsContext(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	f := &fakeKernel{refuse: func(wgtypes.PeerConfig) error { cancel(); return unix.EINVAL }}
	err := someRound(ctx, f, manyPeers(100)).run()
	require.ErrorIs(t, err, context.Canceled)
	require.ErrorContains(t, err, "stopped after 32 of 100 steps")
	require.Len(t, f.calls, 1)
}

// An endpoint is given to a peer that is new, and to no other.
func TestKernelEndpoints(t *testing.T) {
	f := &fakeKernel{}
	sets := manyPeers(2)
	for i := range sets {
		sets[i].Peer.Endpoint = netip.MustParseAddrPort("192.0.2.1:1000")
	}
	require.NoError(t, someRound(t.Context(), f, sets[:1]).run())
	f.calls = nil
	require.NoError(t, someRound(t.Context(), f, sets).run())
	require.Len(t, f.calls, 1)
	require.Nil(t, f.calls[0].Peers[0].Endpoint)
	require.Equal(t, "192.0.2.1:1000", f.calls[0].Peers[1].Endpoint.String())
	require.NoError(t, someRound(t.Context(), f, gateway.Plan{removals(sets)[0], sets[0]}).run())
	require.Equal(t, "192.0.2.1:1000", f.calls[len(f.calls)-1].Peers[0].Endpoint.String())
}

// Of the device only what differs is set, each time without peers.
func TestKernelSettings(t *testing.T) {
	key, port, mark := wgkey.NewPrivate(), uint16(51820), uint32(0xfffffff0)
	f := &fakeKernel{}
	k := &kernel{client: f, list: f}
	want := gateway.Interface{Key: key, Port: port, Mark: mark}
	require.NoError(t, setWireGuard(k, want, gateway.FieldsAll))
	require.Len(t, f.calls, 1)
	c := f.calls[0]
	require.Equal(t, wgtypes.Key(key.Reveal()), *c.PrivateKey)
	require.Equal(t, int(port), *c.ListenPort)
	require.Equal(t, uint32(mark), uint32(*c.FirewallMark)) //nolint:unconvert // int on the wire, of 32 bits on some machines
	require.Empty(t, c.Peers)
	require.False(t, c.ReplacePeers)

	f.device.Interface = want
	require.NoError(t, setWireGuard(k, want, gateway.FieldsAll))
	require.Len(t, f.calls, 1, "nothing differs")
	want.Port = 0
	require.NoError(t, setWireGuard(k, want, gateway.FieldsAll))
	require.Len(t, f.calls, 1, "port 0 is whatever WireGuard has chosen")
	want.Port, want.Mark, want.Key = 7, 8, wgkey.NewPrivate()
	require.NoError(t, setWireGuard(k, want, gateway.FieldPort))
	require.Len(t, f.calls, 2)
	require.Nil(t, f.calls[1].PrivateKey)
	require.Nil(t, f.calls[1].FirewallMark)
	require.Equal(t, 7, *f.calls[1].ListenPort)
	f.fail = unix.EADDRINUSE
	require.ErrorIs(t, k.set(settings{port: &port}), unix.EADDRINUSE)
}

func TestPrefixes(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		p := anyPrefix(t)
		back, ok := prefixOf(ipNet(p))
		if !ok || back != p {
			t.Fatalf("%v came back as %v", p, back)
		}
	})
	_, ok := prefixOf(nil)
	require.False(t, ok)
	_, ok = prefixOf(&net.IPNet{IP: net.IP{1, 2}, Mask: net.IPMask{255, 0}})
	require.False(t, ok)
	_, ok = prefixOf(&net.IPNet{IP: net.IPv4(1, 2, 3, 4), Mask: net.IPMask{255, 0, 255, 0}})
	require.False(t, ok)
	got, ok := prefixOf(&net.IPNet{IP: net.IPv4(1, 2, 3, 4), Mask: net.CIDRMask(24, 32)})
	require.True(t, ok)
	require.Equal(t, "1.2.3.4/24", got.String())
}

// The kernel is asked whether it has a kind of link, and nothing is made.
func TestProbe(t *testing.T) {
	testnet.Need(t, testnet.Netns)
	h := testnet.ForTest(t).Host("h")
	ns, err := openNamespace(fmt.Sprintf("/proc/self/fd/%d", int(h.NS())))
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, ns.Close()) })
	nl := h.Netlink()
	before, err := nl.LinkList()
	require.NoError(t, err)
	require.NoError(t, probe(nl, "bridge"))
	require.NoError(t, probe(nl, "veth"))
	require.ErrorIs(t, probe(nl, "no-such-kind"), unix.EOPNOTSUPP)
	if wg := probe(nl, kindKernel); wg != nil {
		require.ErrorIs(t, wg, unix.EOPNOTSUPP)
	}
	after, err := nl.LinkList()
	require.NoError(t, err)
	require.Len(t, after, len(before))
}

// A list that others disturb is asked for again, but not for ever.
func TestAgain(t *testing.T) {
	for _, disturbed := range []int{0, 1, 5, tries - 1, tries, 1000} {
		calls := 0
		got, err := again(t.Context(), func() (int, error) {
			if calls++; calls <= disturbed {
				return calls, fmt.Errorf("list: %w", netlink.ErrDumpInterrupted)
			}
			return calls, nil
		})
		require.NoError(t, err)
		require.Equal(t, min(disturbed+1, tries), got)
	}
	ctx, cancel := context.WithCancel(t.Context())
	_, err := again(ctx, func() (int, error) { cancel(); return 0, netlink.ErrDumpInterrupted })
	require.ErrorIs(t, err, context.Canceled)
	wrong := errors.New("wrong")
	_, err = again(t.Context(), func() (int, error) { return 0, wrong })
	require.ErrorIs(t, err, wrong)
}
