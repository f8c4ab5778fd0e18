package vpn_test

import (
	"context"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/holdfastvpn/holdfast/gateway"
	"github.com/holdfastvpn/holdfast/location"
	"github.com/holdfastvpn/holdfast/peer"
	"github.com/holdfastvpn/holdfast/vpn"
)

// Everything at once, in real time: what this finds is for the race detector.
func TestEverythingAtOnce(t *testing.T) {
	const times = 15
	d := newDriven(t)
	at := d.found()
	id := d.origin().Enrol(at)
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	var streams sync.WaitGroup
	streams.Go(func() {
		for ctx.Err() == nil {
			for u, err := range d.core.Watch(ctx, id, at, vpn.Revision{}) {
				if err != nil || len(u.Set) > times {
					break
				}
			}
		}
	})
	streams.Go(func() {
		for _, err := range d.core.Assigned(ctx, id) {
			if err != nil {
				t.Error(err)
			}
		}
	})
	full := gateway.Status{Epoch: 1, Full: true}
	require.NoError(t, d.core.Report(ctx, id, at, full))
	for _, do := range []func(n int) error{
		func(n int) error {
			return d.core.Report(ctx, id, at, gateway.Status{Epoch: 1, Seen: []gateway.Sighting{{Key: key(n), Heard: time.Now(), Rx: uint64(n)}}})
		},
		func(n int) error {
			_, err := d.stores.Devices().Update(ctx, dev(n%9).ID, func(row *peer.Device) error {
				*row = dev(n%9, location.ID(at))
				row.Disabled = n%2 == 0
				return nil
			})
			return err
		},
		func(n int) error {
			_, err := d.core.Gateways().Update(ctx, id, func(g *vpn.Gateway) error {
				g.Name = []string{"a", "b"}[n%2]
				return nil
			})
			return err
		},
		func(int) error {
			ctx, cancel := context.WithTimeout(ctx, time.Millisecond)
			defer cancel()
			_ = d.core.Wait(ctx, location.ID(at), vpn.Revision{Epoch: 1})
			return nil
		},
	} {
		streams.Go(func() {
			for n := 0; ctx.Err() == nil; n++ {
				if err := do(n); err != nil && ctx.Err() == nil {
					t.Error(err)
					return
				}
			}
		})
	}
	for range times {
		_, err := d.core.Overview(ctx)
		require.NoError(t, err)
	}
	cancel()
	streams.Wait()
}
