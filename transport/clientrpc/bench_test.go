package clientrpc_test

import (
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// One request and its answer, both ends of it, without a network.
func BenchmarkCall(b *testing.B) {
	r := newRig(b)
	b.ReportAllocs()
	for b.Loop() {
		r.now = r.now.Add(time.Second)
		_, err := r.call(b, "echo", "hello")
		require.NoError(b, err)
	}
}
