//go:build linux

package testnet_test

import (
	"errors"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/holdfastvpn/holdfast/internal/testnet"
)

// BenchmarkDo is the price of standing in a host for a moment.
func BenchmarkDo(b *testing.B) {
	h := testnet.ForTest(b).Host("a")
	for b.Loop() {
		if err := h.Do(func() error { return nil }); err != nil {
			b.Fatal(err)
		}
	}
}

// BenchmarkNet is the price of a small network, from nothing to nothing.
func BenchmarkNet(b *testing.B) {
	testnet.Need(b, testnet.Netns)
	for b.Loop() {
		n, err := testnet.New(b.Context(), testnet.Config{})
		require.NoError(b, err)
		one, two, lan := n.Host("one"), n.Host("two"), n.Switch("lan")
		require.NoError(b, errors.Join(
			lan.Attach(one, "eth0", prefix("192.0.2.1/24"), prefix("2001:db8::1/64")),
			lan.Attach(two, "eth0", prefix("192.0.2.2/24"), prefix("2001:db8::2/64")),
			n.Close(),
		))
	}
}
