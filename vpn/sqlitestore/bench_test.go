package sqlitestore_test

import (
	"fmt"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/holdfastvpn/holdfast/location"
	"github.com/holdfastvpn/holdfast/vpn"
	"github.com/holdfastvpn/holdfast/vpn/sqlitestore"
)

// filled has devices of one location, and others that are empty.
func filled(b *testing.B, devices, locations int) *sqlitestore.Store {
	b.Helper()
	s := open(b, place(b))
	for i := range locations {
		id := location.ID(fmt.Sprintf("l%d", i))
		_, err := s.Locations().Update(b.Context(), id, func(l *location.Location) error {
			*l = location.Location{ID: id, Name: string(id)}
			return nil
		})
		require.NoError(b, err)
	}
	for n := range devices {
		addDevice(b, s, n)
	}
	look(b, s, vpn.Revision{})
	return s
}

// BenchmarkAdd adds devices to a location of 10,000: each one synced to the disk.
func BenchmarkAdd(b *testing.B) {
	for _, writers := range []int{1, 8} {
		b.Run(fmt.Sprintf("writers=%d", writers), func(b *testing.B) {
			s := filled(b, 10_000, 1)
			b.ReportAllocs()
			b.ResetTimer()
			var n atomic.Int64
			var wg sync.WaitGroup
			for range writers {
				wg.Go(func() {
					for {
						i := n.Add(1)
						if i > int64(b.N) {
							return
						}
						addDevice(b, s, 10_000+int(i))
					}
				})
			}
			wg.Wait()
			b.ReportMetric(float64(b.N)/b.Elapsed().Seconds(), "adds/s")
		})
	}
}

// BenchmarkView looks at a location of 10,000 devices: at all, and at one that
// changed.
func BenchmarkView(b *testing.B) {
	s := filled(b, 10_000, 1)
	now := look(b, s, vpn.Revision{}).Rev
	b.Run("whole", func(b *testing.B) {
		b.ReportAllocs()
		for b.Loop() {
			require.Len(b, look(b, s, vpn.Revision{}).Devices, 10_000)
		}
	})
	b.Run("change", func(b *testing.B) {
		before := vpn.Revision{Epoch: now.Epoch, Number: now.Number - 1}
		b.ReportAllocs()
		for b.Loop() {
			require.Len(b, look(b, s, before).Devices, 1)
		}
	})
}

// BenchmarkHeads is what each core does five times a second.
func BenchmarkHeads(b *testing.B) {
	for _, locations := range []int{1, 100} {
		b.Run(fmt.Sprintf("locations=%d", locations), func(b *testing.B) {
			s := filled(b, 1000, locations)
			b.ReportAllocs()
			b.ResetTimer()
			for b.Loop() {
				_, err := s.Feed().Heads(b.Context())
				require.NoError(b, err)
			}
		})
	}
}

// BenchmarkOpen opens a store of 10,000 devices, which reads all of it.
func BenchmarkOpen(b *testing.B) {
	s := filled(b, 10_000, 1)
	file := backup(b, s)
	c := sqlitestore.Config{Path: place(b)}
	require.NoError(b, sqlitestore.Restore(b.Context(), c, file))
	for b.Loop() {
		s, err := sqlitestore.Open(b.Context(), c)
		require.NoError(b, err)
		require.NoError(b, s.Close())
	}
}

func BenchmarkBackup(b *testing.B) {
	s := filled(b, 10_000, 1)
	for b.Loop() {
		backup(b, s)
	}
}
