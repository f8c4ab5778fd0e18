package wgdevice

// Internal: a batch shows in what is sent, and not outside.

import (
	"fmt"
	"net/netip"
	"slices"
	"testing"

	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"

	"github.com/holdfastvpn/holdfast/gateway"
	"github.com/holdfastvpn/holdfast/vpn/wgkey"
)

// somePrefixes are n of them.
func somePrefixes(n int) []netip.Prefix {
	out := make([]netip.Prefix, n)
	for i := range out {
		out[i] = netip.PrefixFrom(netip.AddrFrom4([4]byte{10, byte(i >> 16), byte(i >> 8), byte(i)}), 32)
	}
	return out
}

func set(key byte, prefixes int) gateway.Step {
	return gateway.Step{Verb: gateway.Set, Peer: gateway.Peer{Key: wgkey.Public{key}, AllowedIPs: somePrefixes(prefixes)}}
}

func remove(key byte) gateway.Step {
	return gateway.Step{Verb: gateway.Remove, Peer: gateway.Peer{Key: wgkey.Public{key}}}
}

func TestBatch(t *testing.T) {
	many := func(step func(byte) gateway.Step, n int) (p gateway.Plan) {
		for i := range n {
			p = append(p, step(byte(i)))
		}
		return p
	}
	light := func(k byte) gateway.Step { return set(k, 2) }
	heavy := func(k byte) gateway.Step { return set(k, 100) }
	for _, c := range []struct {
		name string
		plan gateway.Plan
		want int
	}{
		{"none", nil, 0},
		{"of another kind", gateway.Plan{{Verb: gateway.Configure}, light(1)}, 0},
		{"one", many(light, 1), 1},
		{"as many as fit", many(light, 32), 32},
		{"more than fit", many(light, 33), 32},
		{"many prefixes", many(heavy, 5), 2},
		{"too many prefixes of one peer still go", gateway.Plan{set(1, 300), light(2)}, 1},
		{"exactly as many prefixes", gateway.Plan{set(1, 128), set(2, 128), set(3, 0), set(4, 1)}, 3},
		{"prefixes of peers that go do not count", gateway.Plan{{Verb: gateway.Remove, Peer: set(1, 300).Peer}, remove(2)}, 2},
		{"remove, then set", gateway.Plan{remove(1), remove(2), light(3)}, 2},
		{"set, then remove", gateway.Plan{light(1), remove(1)}, 1},
		{"the same key again", gateway.Plan{light(1), light(2), light(1)}, 2},
	} {
		t.Run(c.name, func(t *testing.T) { require.Equal(t, c.want, batch(c.plan)) })
	}
}

// anyPlan is steps for a few peers.
func anyPlan(t *rapid.T) gateway.Plan {
	return rapid.SliceOfN(rapid.Custom(func(t *rapid.T) gateway.Step {
		k := rapid.ByteRange(0, 60).Draw(t, "key")
		if rapid.Bool().Draw(t, "remove") {
			return remove(k)
		}
		return set(k, rapid.SampledFrom([]int{0, 1, 2, 50, 200, 300}).Draw(t, "prefixes"))
	}), 0, 120).Draw(t, "plan")
}

// However a plan is cut, every message fits and says one thing of each key.
func TestBatchesFit(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		plan := anyPlan(t)
		for i := 0; i < len(plan); {
			n := batch(plan[i:])
			b := plan[i : i+n]
			seen, prefixes := map[wgkey.Public]bool{}, 0
			for _, s := range b {
				if seen[s.Peer.Key] || s.Verb != b[0].Verb {
					t.Fatalf("batch %v", b)
				}
				seen[s.Peer.Key] = true
				prefixes += len(s.Peer.AllowedIPs)
			}
			if n < 1 || n > batchPeers || n > 1 && prefixes > batchPrefixes {
				t.Fatalf("%d peers, %d prefixes", n, prefixes)
			}
			i += n
		}
	})
}

func TestEndpointIsForNewPeers(t *testing.T) {
	e := netip.MustParseAddrPort("192.0.2.1:5")
	s := set(1, 1)
	s.Peer.Endpoint = e
	have := present{}
	require.True(t, needsPresent(gateway.Plan{s}))
	require.Equal(t, e, have.change(s).peer.Endpoint)
	have.did(s)
	require.False(t, have.change(s).peer.Endpoint.IsValid())
	require.Equal(t, e, s.Peer.Endpoint, "the plan is the caller's")
	have.did(remove(1))
	require.Equal(t, e, have.change(s).peer.Endpoint, "removed and set again it is a new one")
	require.Equal(t, change{peer: s.Peer}, present(nil).change(s))
}

func TestWipeOnlyIfNobodyIsLeft(t *testing.T) {
	have := present{{1}: {}, {2}: {}}
	require.True(t, have.allIn(gateway.Plan{remove(2), remove(1)}))
	require.True(t, have.allIn(gateway.Plan{remove(2), remove(3), remove(1)}))
	require.False(t, have.allIn(gateway.Plan{remove(2), remove(3)}))
	require.False(t, have.allIn(gateway.Plan{remove(2), remove(2)}))
	require.False(t, have.allIn(nil))
	require.False(t, present(nil).allIn(gateway.Plan{remove(1)}), "nobody has looked")
	require.False(t, needsPresent(slices.Repeat(gateway.Plan{remove(1)}, wipeFrom-1)))
	require.True(t, needsPresent(slices.Repeat(gateway.Plan{remove(1)}, wipeFrom)))
}

func TestOwner(t *testing.T) {
	for _, c := range []struct {
		name string
		link found
		want standing
		says string
	}{
		{"marked", found{kind: kindKernel, alias: "holdfast kernel"}, ours, ""},
		{"marked by hand", found{kind: kindKernel, alias: "holdfast"}, ours, ""},
		{"not quite marked", found{kind: kindKernel, alias: "holdfaster"}, stranger, "allow to adopt it"},
		{"just made", found{kind: kindKernel, group: group}, ours, ""},
		{"by somebody else", found{kind: kindKernel}, stranger, "somebody else made"},
		{"by somebody else, with a group", found{kind: kindKernel, group: 7}, stranger, ""},
		{"a TUN device of this process", found{kind: kindTUN, engine: true}, ours, ""},
		{"whose mark was deleted", found{kind: kindTUN, engine: true, alias: "x"}, ours, ""},
		{"of another process", found{kind: kindTUN, alias: alias(Userspace, 77), self: 78}, foreign, "another process (process 77)"},
		{"of this process, but not running", found{kind: kindTUN, alias: alias(Userspace, 78), self: 78}, foreign, "another process:"},
		{"a TUN device", found{kind: kindTUN}, foreign, "is a tun device"},
		{"any other, marked or not", found{kind: "dummy", alias: "holdfast", group: group}, foreign, "is a dummy device"},
	} {
		t.Run(c.name, func(t *testing.T) {
			got, why := c.link.owner()
			require.Equal(t, c.want, got)
			require.Contains(t, why, c.says)
			if got != ours {
				require.EqualError(t, errForeign("wg7", "is NAME"), "wgdevice: wg7 is wg7: "+gateway.ErrForeign.Error())
				require.ErrorIs(t, errForeign("wg7", why), gateway.ErrForeign)
			}
		})
	}
	require.Equal(t, "holdfast userspace 12", alias(Userspace, 12))
	require.Equal(t, fmt.Sprintf("%x", "hfst"), fmt.Sprintf("%x", group))
}
