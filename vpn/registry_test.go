package vpn_test

import (
	"context"
	"errors"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/holdfastvpn/holdfast/location"
	"github.com/holdfastvpn/holdfast/vpn"
)

func TestRegistrationsAreFollowed(t *testing.T) {
	bubble(t, func(r *rig) {
		other := r.newCore("core2", r.stores)
		r.run(other)
		ctx, cancel := context.WithCancel(r.ctx)
		names := make(chan string, 10)
		done := make(chan struct{})
		go func() {
			defer close(done)
			for all := range other.Gateways().Follow(ctx) {
				text := ""
				for _, g := range all {
					text += g.Name + " " + g.Address + ";"
				}
				names <- text
			}
		}()
		require.Empty(r.t, <-names)
		gw, err := r.core.Gateways().Add(r.ctx, vpn.Gateway{Name: "b"})
		require.NoError(r.t, err)
		require.Equal(r.t, "b ;", <-names)
		_, err = r.core.Gateways().Update(r.ctx, gw.ID, func(g *vpn.Gateway) error { g.Address = "gw:1"; return nil })
		require.NoError(r.t, err)
		require.Equal(r.t, "b gw:1;", <-names)
		require.NoError(r.t, r.core.Gateways().Remove(r.ctx, gw.ID))
		require.Empty(r.t, <-names)
		cancel()
		<-done
	})
}

func TestRegistry(t *testing.T) {
	bubble(t, func(r *rig) {
		g := r.core.Gateways()
		field := func(err error, want string) {
			r.t.Helper()
			var f *location.FieldError
			require.ErrorAs(r.t, err, &f)
			require.Equal(r.t, want, f.Field)
		}
		for name, bad := range map[string]vpn.Gateway{
			"Name":         {},
			"ID":           {ID: "chosen", Name: "gw"},
			"Locations[1]": {Name: "gw", Locations: []location.ID{r.office.ID, "zzz"}},
		} {
			_, err := g.Add(r.ctx, bad)
			field(err, name)
		}
		for _, bad := range []string{strings.Repeat("x", 64), "a\nb", "\x1b[31m", "\xff"} {
			_, err := g.Add(r.ctx, vpn.Gateway{Name: bad})
			field(err, "Name")
		}
		for _, bad := range []string{"gw1", ":7946", "gw1:", "gw1:0", "gw1:65536", "gw1:http", "2001:db8::7:7946", "a b:1"} {
			_, err := g.Add(r.ctx, vpn.Gateway{Name: "gw", Address: bad})
			field(err, "Address")
		}
		b, err := g.Add(r.ctx, vpn.Gateway{Name: "b", Address: "[2001:db8::7]:7946", Locations: []location.ID{r.office.ID, r.office.ID}})
		require.NoError(r.t, err)
		require.Len(r.t, b.Locations, 1)
		require.Equal(r.t, "[2001:db8::7]:7946", b.Address)
		require.Regexp(r.t, `^[a-z][a-z2-7]{25}$`, string(b.ID))
		a, err := g.Add(r.ctx, vpn.Gateway{Name: "ä", Disabled: true})
		require.NoError(r.t, err)
		list, err := g.List(r.ctx)
		require.NoError(r.t, err)
		require.Equal(r.t, []vpn.Gateway{b, a}, list)
		got, err := g.Get(r.ctx, b.ID)
		require.NoError(r.t, err)
		require.Equal(r.t, b, got)

		got, err = g.Update(r.ctx, a.ID, func(gw *vpn.Gateway) error {
			gw.Name, gw.Disabled, gw.Locations = "a", false, []location.ID{r.office.ID}
			return nil
		})
		require.NoError(r.t, err)
		require.Equal(r.t, vpn.Gateway{ID: a.ID, Name: "a", Locations: []location.ID{r.office.ID}}, got)
		_, err = g.Update(r.ctx, a.ID, func(gw *vpn.Gateway) error { gw.ID = "other"; return nil })
		field(err, "ID")
		_, err = g.Update(r.ctx, a.ID, func(gw *vpn.Gateway) error { gw.Name = ""; return nil })
		field(err, "Name")
		_, err = g.Update(r.ctx, a.ID, func(gw *vpn.Gateway) error { gw.Locations = []location.ID{"zzz"}; return nil })
		field(err, "Locations[0]")
		wrong := errors.New("no")
		_, err = g.Update(r.ctx, a.ID, func(*vpn.Gateway) error { return wrong })
		require.Equal(r.t, wrong, err)
		_, err = g.Update(r.ctx, "zzz", func(*vpn.Gateway) error { return nil })
		require.ErrorIs(r.t, err, vpn.ErrNotFound)

		require.NoError(r.t, r.core.Locations().Delete(r.ctx, r.office.ID))
		_, err = g.Update(r.ctx, a.ID, func(gw *vpn.Gateway) error { gw.Name = "still there"; return nil })
		require.NoError(r.t, err, "a location that has gone meanwhile is no obstacle")

		require.NoError(r.t, g.Remove(r.ctx, a.ID))
		require.NoError(r.t, g.Remove(r.ctx, a.ID))
		require.NoError(r.t, g.Remove(r.ctx, "never was"))
		_, err = g.Get(r.ctx, a.ID)
		require.ErrorIs(r.t, err, vpn.ErrNotFound)
		_, err = g.Update(r.ctx, a.ID, func(*vpn.Gateway) error { return nil })
		require.ErrorIs(r.t, err, vpn.ErrNotFound)
		list, err = g.List(r.ctx)
		require.NoError(r.t, err)
		require.Equal(r.t, []vpn.Gateway{b}, list)

		r.stores.fail(errDisk)
		_, err = g.List(r.ctx)
		require.ErrorIs(r.t, err, errDisk)
		_, err = g.Add(r.ctx, vpn.Gateway{Name: "x"})
		require.ErrorIs(r.t, err, errDisk)
		_, err = r.core.Overview(r.ctx)
		require.ErrorIs(r.t, err, errDisk)
	})
}
