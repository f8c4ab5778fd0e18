package vpn_test

import (
	"context"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/holdfastvpn/holdfast/gateway"
	"github.com/holdfastvpn/holdfast/location"
	"github.com/holdfastvpn/holdfast/peer"
	"github.com/holdfastvpn/holdfast/vpn"
)

// of adds device n of an owner with a place in the office.
func (r *rig) of(owner string, n int) peer.Device {
	r.t.Helper()
	d, err := r.core.Devices().Add(r.ctx, peer.NewDevice{
		Name: "laptop", Owner: owner, Key: key(n), Places: []peer.Place{{Location: r.office.ID}},
	})
	require.NoError(r.t, err)
	return d
}

// It proves P14.
func TestADisabledOwnersPeersGo(t *testing.T) {
	bubble(t, func(r *rig) {
		a, b := r.of("alice", 1), r.of("bob", 2)
		w := r.watch(r.core, r.gateway("gw1"), gateway.Config{})
		r.stands(w)

		own, err := r.core.Owners().Disable(vpn.WithActor(r.ctx, vpn.Actor{Name: "carol"}), "alice")
		require.NoError(t, err)
		require.Equal(t, vpn.Owner{Name: "alice", Disabled: true}, own)
		later := r.of("alice", 3)
		require.True(t, later.Standing.Disabled)
		bare := r.of("", 4) // a network device
		synctest.Wait()
		_, have, err := w.take()
		require.NoError(t, err)
		require.Len(t, have.Peers, 2)
		for _, p := range have.Peers {
			require.Contains(t, []any{b.Key, bare.Key}, p.Key)
		}

		// Handed to somebody else it comes back, and it goes when handed over.
		moved, err := r.core.Devices().Update(r.ctx, later.ID, func(d *peer.Device) error { d.Owner = "bob"; return nil })
		require.NoError(t, err)
		require.False(t, moved.Standing.Disabled)
		moved, err = r.core.Devices().Update(r.ctx, b.ID, func(d *peer.Device) error { d.Owner = "alice"; return nil })
		require.NoError(t, err)
		require.True(t, moved.Standing.Disabled)
		moved, err = r.core.Devices().Update(r.ctx, b.ID, func(d *peer.Device) error { d.Standing.Disabled = false; return nil })
		require.NoError(t, err)
		require.True(t, moved.Standing.Disabled, "what the owner's record says holds")

		list, err := r.core.Owners().List(r.ctx)
		require.NoError(t, err)
		require.Equal(t, []vpn.OwnerDevices{{Owner: vpn.Owner{Name: "alice", Disabled: true}, Devices: 2}, {Owner: vpn.Owner{Name: "bob"}, Devices: 1}}, list)

		_, err = r.core.Owners().Enable(r.ctx, "alice")
		require.NoError(t, err)
		d, err := r.core.Devices().Get(r.ctx, a.ID)
		require.NoError(t, err)
		require.False(t, d.Standing.Disabled)

		all, err := r.core.Events().List(r.ctx, vpn.EventFilter{What: "owner"})
		require.NoError(t, err)
		require.Len(t, all, 2)
		require.Equal(t, "Disabled true", all[0].Text)
		require.Equal(t, "carol", all[0].By)
	})
}

func TestTheSweepFinishesWhatACrashLeft(t *testing.T) {
	bubble(t, func(r *rig) {
		d := r.of("alice", 1)
		require.NoError(t, r.stores.Records().Update(r.ctx, "owner/alice", func([]byte) ([]byte, error) {
			return []byte(`{"name":"alice","disabled":true}`), nil
		}))
		time.Sleep(vpn.DefaultResync + time.Second)
		synctest.Wait()
		now, err := r.core.Devices().Get(r.ctx, d.ID)
		require.NoError(t, err)
		require.True(t, now.Standing.Disabled)
	})
}

func TestAnOwnersRecordThatCannotBeReadGrantsNothing(t *testing.T) {
	bubble(t, func(r *rig) {
		require.NoError(t, r.stores.Records().Update(r.ctx, "owner/alice", func([]byte) ([]byte, error) {
			return []byte(`{"name":"alice","banned":true}`), nil
		}))
		_, err := r.core.Devices().Add(r.ctx, peer.NewDevice{Name: "laptop", Owner: "alice", Key: key(1)})
		require.ErrorContains(t, err, `what owner "alice" may is not known`)
		_, err = r.core.Owners().Disable(r.ctx, "alice")
		require.ErrorContains(t, err, "banned")
		var field *location.FieldError
		_, err = r.core.Owners().Disable(r.ctx, "a\nb")
		require.ErrorAs(t, err, &field)
		require.Equal(t, "Owner", field.Field)
	})
}

// It proves P14.
func TestConfirmNamesWhoHasNot(t *testing.T) {
	bubble(t, func(r *rig) {
		gw1, gw2 := r.gateway("gw1"), r.gateway("gw2")
		r.gateway("gw3")
		r.of("alice", 1)
		for _, id := range []gateway.ID{gw1, gw2} {
			r.watch(r.core, id, gateway.Config{})
		}
		rev, err := r.core.Revision(r.ctx, r.office.ID)
		require.NoError(t, err)
		defer r.beat(r.core, gw1, func(s *gateway.Status) { s.Applied = rev })()
		defer r.beat(r.core, gw2, nil)()
		synctest.Wait()
		ctx, cancel := context.WithTimeout(r.ctx, time.Second)
		defer cancel()
		begin := time.Now()
		c, err := r.core.Confirm(ctx, r.office.ID, rev)
		require.NoError(t, err)
		require.Equal(t, time.Second, time.Since(begin))
		names := func(list []vpn.Gateway) (n []string) {
			for _, g := range list {
				n = append(n, g.Name)
			}
			return n
		}
		require.Equal(t, [][]string{{"gw1"}, {"gw2"}, {"gw3"}}, [][]string{names(c.Done), names(c.Late), names(c.Away)})
		require.True(t, r.core.Connected(c.Late[0]))
		require.False(t, r.core.Connected(c.Away[0]))
	})
}

// meddling is a backend where something happens just before the next write of a
// device.
type meddling struct {
	vpn.Stores

	before *func()
}

func (m meddling) Devices() peer.Store { return meddlingDevices{m.Stores.Devices(), m.before} }

type meddlingDevices struct {
	peer.Store

	before *func()
}

func (m meddlingDevices) Update(ctx context.Context, id peer.DeviceID, edit func(*peer.Device) error) (peer.Device, error) {
	if f := *m.before; f != nil {
		*m.before = nil
		f()
	}
	return m.Store.Update(ctx, id, edit)
}

func TestOfTwoWhoChangeAnOwnerTheLaterOneWins(t *testing.T) {
	bubble(t, func(r *rig) {
		d := r.of("alice", 1)
		var before func()
		other := r.newCore("core2", meddling{r.stores, &before})
		before = func() {
			_, err := r.core.Owners().Enable(r.ctx, "alice")
			require.NoError(t, err)
		}
		_, err := other.Owners().Disable(r.ctx, "alice")
		require.NoError(t, err)
		require.Nil(t, before)
		own, err := r.core.Owners().Get(r.ctx, "alice")
		require.NoError(t, err)
		require.False(t, own.Disabled)
		d, err = r.core.Devices().Get(r.ctx, d.ID)
		require.NoError(t, err)
		require.False(t, d.Standing.Disabled)
	})
}
