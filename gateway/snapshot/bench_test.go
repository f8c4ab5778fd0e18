package snapshot_test

import (
	"fmt"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/holdfastvpn/holdfast/gateway"
	"github.com/holdfastvpn/holdfast/gateway/gatewaytest"
	"github.com/holdfastvpn/holdfast/gateway/snapshot"
	"github.com/holdfastvpn/holdfast/transport/statedir"
)

// On real files, with fsync.
func BenchmarkStore(b *testing.B) {
	for _, n := range []int{1_000, 100_000} {
		dir, err := statedir.Open(b.TempDir() + "/state")
		require.NoError(b, err)
		b.Cleanup(func() { require.NoError(b, dir.Close()) })
		s, err := snapshot.New(snapshot.Config{Gateway: "gw1", Files: dir})
		require.NoError(b, err)
		k := gateway.Kept{Location: "office", Config: gatewaytest.Config(n), Heard: time.Now()}
		b.Run(fmt.Sprintf("keep/%d", n), func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				require.NoError(b, s.Keep(b.Context(), k))
			}
			data, err := dir.Read("snapshot-office")
			require.NoError(b, err)
			b.ReportMetric(float64(len(data)), "B/file")
		})
		m := open(b, newFiles(), "gw1")
		b.Run(fmt.Sprintf("keep without a disk/%d", n), func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				require.NoError(b, m.Keep(b.Context(), k))
			}
		})
		b.Run(fmt.Sprintf("load/%d", n), func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				all, err := s.Load(b.Context())
				require.NoError(b, err)
				require.NoError(b, all[0].Refused)
				require.Len(b, all[0].Config.Peers, n)
			}
		})
	}
}
