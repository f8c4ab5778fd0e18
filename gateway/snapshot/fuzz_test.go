package snapshot_test

import (
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/holdfastvpn/holdfast/gateway"
	"github.com/holdfastvpn/holdfast/gateway/gatewaytest"
	"github.com/holdfastvpn/holdfast/gateway/snapshot"
)

// Whatever was sealed, reading it ends, takes no more memory than it is worth, and
// what was read is written as something that reads as the same.
func FuzzDecode(f *testing.F) {
	for n := range 4 {
		k := kept("a", n)
		if n > 0 {
			k.Config.Peers[0].Preshared = gatewaytest.PresharedKey(1)
			k.Siblings = []gateway.Sibling{{ID: "gw2", Addr: "192.0.2.2:7946"}, {ID: "gw3"}}
		}
		f.Add(snapshot.Encode(k), false)
		k.Siblings = nil
		f.Add(asVersion1(f, k), true)
		k.Config.Interface.Floating = floating("192.0.2.9", "::ffff:192.0.2.9", "2001:db8::9", "fe80::9%eth0")[:n]
		f.Add(snapshot.Encode(k), false)
		k.Config.Interface.Inner = floating("10.60.0.10", "fd60::10", "fe80::9%eth0")[:n]
		f.Add(snapshot.Encode(k), false)
	}
	for n := range 10 {
		k := kept("a", 0)
		k.Config = gatewaytest.RandomConfig().Example(n)
		f.Add(snapshot.Encode(k), false)
	}
	f.Fuzz(func(t *testing.T, b []byte, old bool) {
		v := uint64(snapshot.Version)
		if old {
			v = snapshot.Oldest
		}
		k, err := snapshot.Decode(b, v)
		if err != nil {
			require.Empty(t, k)
			return
		}
		again, err := snapshot.Decode(snapshot.Encode(k), snapshot.Version)
		require.NoError(t, err)
		require.Equal(t, k, again)
		written := snapshot.Encode(k)
		if old {
			written = asVersion1(t, k)
		}
		require.Len(t, written, len(b), "it can be written in two ways")
	})
}

// Whatever stands in a directory, opening it ends, and nothing that was not sealed
// here is taken.
func FuzzLoad(f *testing.F) {
	good := filled(f)
	f.Add(good.data["snapshot-a"], good.data["snapshot.index"])
	f.Add(good.data["snapshot-b"], []byte("holdfast snapshots 1\n\"a\"\n\"a\"\n"))
	f.Add([]byte("holdfast snapshot 1\n"), []byte("holdfast snapshots 1\n\"\\xff\"\n"))
	f.Fuzz(func(t *testing.T, file, index []byte) {
		d := good.clone()
		d.data["snapshot-a"], d.data["snapshot.index"] = file, index
		counts, _, _ := load(t, open(t, d, "gw1"))
		if n, ok := counts["a"]; ok {
			require.Equal(t, 1, n)
			require.Equal(t, string(good.data["snapshot-a"]), string(file))
		}
		require.NoError(t, open(t, d, "gw1").Keep(t.Context(), kept("new", 4)))
		counts, _, err := load(t, open(t, d, "gw1"))
		require.NoError(t, err)
		require.Equal(t, 4, counts["new"])
	})
}
