package wgkey_test

import (
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/holdfastvpn/holdfast/vpn/wgkey"
)

// A gateway makes a key of each peer each time it looks at its device.
func BenchmarkPresharedFrom(b *testing.B) {
	var raw [wgkey.Size]byte
	keep := make([]wgkey.Preshared, 10_000)
	for i := range keep {
		raw[0], raw[1] = byte(i), byte(i>>8)
		keep[i] = wgkey.PresharedFrom(raw)
	}
	b.ReportAllocs()
	i := 0
	for b.Loop() {
		raw[0], raw[1] = byte(i%len(keep)), byte(i%len(keep)>>8)
		if wgkey.PresharedFrom(raw) != keep[i%len(keep)] {
			b.Fatal("differs")
		}
		i++
	}
}

func TestAKnownSecretCostsNoMemory(t *testing.T) {
	raw := [wgkey.Size]byte{1, 2, 3}
	keep := wgkey.PresharedFrom(raw)
	require.Zero(t, testing.AllocsPerRun(1000, func() {
		if wgkey.PresharedFrom(raw) != keep || keep.Reveal() != raw {
			t.Error("differs")
		}
	}))
}
