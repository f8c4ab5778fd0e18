package vpn_test

import (
	"context"
	"fmt"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/holdfastvpn/holdfast/gateway"
	"github.com/holdfastvpn/holdfast/location"
	"github.com/holdfastvpn/holdfast/peer"
	"github.com/holdfastvpn/holdfast/vpn"
	"github.com/holdfastvpn/holdfast/vpn/memstore"
	"github.com/holdfastvpn/holdfast/vpn/seal"
)

// BenchmarkWatch is what one change costs from the write until a watcher has it:
// it must not depend on how many peers there are.
func BenchmarkWatch(b *testing.B) {
	for _, size := range []int{1_000, 10_000, 100_000} {
		b.Run(fmt.Sprint(size), func(b *testing.B) {
			stores, core, id := filledCore(b, size)
			ctx, cancel := context.WithCancel(b.Context())
			done := make(chan error, 1)
			go func() { done <- core.Run(ctx) }()
			told := make(chan vpn.Revision, 1)
			go func() {
				for u, err := range core.Watch(ctx, id, "office", vpn.Revision{}) {
					if err != nil {
						b.Error(err)
					}
					told <- u.To
				}
			}()
			at := <-told
			b.ReportAllocs()
			for i := 0; b.Loop(); i++ {
				d, err := stores.Devices().Update(ctx, dev(i%size).ID, func(d *peer.Device) error {
					d.Disabled = !d.Disabled
					return nil
				})
				if err != nil {
					b.Fatal(err)
				}
				for at.Number < d.Peers[0].Rev {
					at = <-told
				}
			}
			cancel()
			require.NoError(b, <-done)
		})
	}
}

// BenchmarkSnapshot is what a gateway costs that begins with nothing.
func BenchmarkSnapshot(b *testing.B) {
	for _, size := range []int{10_000, 100_000} {
		b.Run(fmt.Sprint(size), func(b *testing.B) {
			_, core, id := filledCore(b, size)
			ctx, cancel := context.WithCancel(b.Context())
			done := make(chan error, 1)
			go func() { done <- core.Run(ctx) }()
			snapshot := func() {
				for u, err := range core.Watch(ctx, id, "office", vpn.Revision{}) {
					if err != nil || len(u.Set) != size {
						b.Fatal(len(u.Set), err)
					}
					break
				}
			}
			snapshot() // the first one has the core look at everything
			b.ReportAllocs()
			for b.Loop() {
				snapshot()
			}
			cancel()
			require.NoError(b, <-done)
		})
	}
}

func BenchmarkReport(b *testing.B) {
	const size = 10_000
	_, core, id := filledCore(b, size)
	full := gateway.Status{Epoch: 1, Full: true}
	for i := range size {
		full.Seen = append(full.Seen, gateway.Sighting{Key: key(i)})
	}
	part := gateway.Status{Epoch: 1, Seen: full.Seen[:100]}
	require.NoError(b, core.Report(b.Context(), id, "office", full))
	for name, s := range map[string]gateway.Status{"full": full, "part": part} {
		b.Run(name, func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				if err := core.Report(b.Context(), id, "office", s); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}

func BenchmarkOverview(b *testing.B) {
	for _, size := range []int{1_000, 100_000} {
		b.Run(fmt.Sprint(size), func(b *testing.B) {
			_, core, _ := filledCore(b, size)
			b.ReportAllocs()
			for b.Loop() {
				if _, err := core.Overview(b.Context()); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}

func filledCore(b *testing.B, size int) (vpn.Stores, *vpn.Core, gateway.ID) {
	b.Helper()
	keys, stores := seal.Ephemeral(), memstore.New()
	core, err := vpn.New(vpn.Config{Stores: stores, Keys: keys})
	require.NoError(b, err)
	_, err = stores.Locations().Update(b.Context(), "office", func(l *location.Location) error {
		*l = office(keys)
		return nil
	})
	require.NoError(b, err)
	for i := range size {
		_, err := stores.Devices().Update(b.Context(), dev(i).ID, func(d *peer.Device) error {
			*d = dev(i, "office")
			return nil
		})
		require.NoError(b, err)
	}
	gw, err := core.Gateways().Add(b.Context(), vpn.Gateway{Name: "gw", Locations: []location.ID{"office"}})
	require.NoError(b, err)
	return stores, core, gw.ID
}

func BenchmarkProjectionOneChange(b *testing.B) {
	for _, size := range []int{10_000, 100_000} {
		b.Run(fmt.Sprint(size), func(b *testing.B) {
			keys := seal.Ephemeral()
			p := filledProjection(b, keys, size)
			b.ReportAllocs()
			for i := uint64(1); b.Loop(); i++ {
				d := dev(int(i)%size, "office")
				d.Peers[0].Addrs[0] = addr(size + int(i%2))
				v := vpn.View{ID: "office", Since: p.Revision(), Rev: vpn.Revision{Epoch: 1, Number: i + 1}, Devices: []peer.Device{d}}
				if _, err := p.Apply(v, noon); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}

func BenchmarkProjectWhole(b *testing.B) {
	for _, size := range []int{10_000, 100_000} {
		b.Run(fmt.Sprint(size), func(b *testing.B) {
			keys := seal.Ephemeral()
			l := office(keys)
			v := vpn.View{ID: "office", Rev: vpn.Revision{Epoch: 1, Number: 1}, Location: &l}
			for i := range size {
				v.Devices = append(v.Devices, dev(i, "office"))
			}
			b.ReportAllocs()
			for b.Loop() {
				if _, err := vpn.Project(v, keys, noon); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}

func filledProjection(b *testing.B, keys *seal.Keyring, size int) *vpn.Projection {
	b.Helper()
	l := office(keys)
	p := vpn.NewProjection("office", keys)
	v := vpn.View{ID: "office", Rev: vpn.Revision{Epoch: 1, Number: 1}, Location: &l}
	for i := range size {
		v.Devices = append(v.Devices, dev(i, "office"))
	}
	_, err := p.Apply(v, noon)
	require.NoError(b, err)
	return p
}
