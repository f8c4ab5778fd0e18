//go:build linux

package testnet

import (
	"context"
	"time"
)

// ForTest returns a network that the end of the test closes. It skips the test
// where there can be none (see [Need]).
func ForTest(t T) *Net {
	t.Helper()
	Need(t, Netns)
	n, err := New(context.Background(), Config{})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := n.Close(); err != nil {
			t.Log(err)
		}
	})
	return n
}

// Eventually asks f again and again until it returns nil, and fails the test
// with its last error when that takes longer than limit.
func Eventually(t T, limit time.Duration, f func() error) {
	t.Helper()
	var last error
	err := until(limit, func() (bool, error) {
		last = f()
		return last == nil, nil
	})
	if err != nil {
		t.Fatal(err, "last error:", last)
	}
}
