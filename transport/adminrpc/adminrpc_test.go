package adminrpc_test

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
	"github.com/stretchr/testify/require"

	"github.com/holdfastvpn/holdfast/gateway"
	"github.com/holdfastvpn/holdfast/location"
	"github.com/holdfastvpn/holdfast/location/locationtest"
	"github.com/holdfastvpn/holdfast/peer"
	"github.com/holdfastvpn/holdfast/transport/adminrpc"
	"github.com/holdfastvpn/holdfast/vpn"
	"github.com/holdfastvpn/holdfast/vpn/wgkey"
)

// compare compares rows; the sealed key does not cross.
var compare = cmp.Options{
	cmpopts.EquateComparable(netip.Addr{}, netip.Prefix{}, wgkey.Public{}), cmpopts.EquateEmpty(),
	cmpopts.IgnoreFields(location.Location{}, "Rev", "Key"), cmpopts.IgnoreFields(peer.Peer{}, "Rev"),
	cmpopts.IgnoreFields(peer.Standing{}, "Groups"),
}

func TestLocations(t *testing.T) {
	r, ctx := newRig(t), t.Context()
	full := locationtest.Full("") // a value in each field
	full.Rev, full.PublicKey, full.Key, full.Disabled = 0, wgkey.Public{}, "", false
	full.ClientKeepalive = location.KeepaliveOff
	key := wgkey.NewPrivate()
	l, err := r.root.ImportLocation(ctx, full, key)
	require.NoError(t, err)
	require.Equal(t, key.Public(), l.PublicKey)
	want := full
	want.ID, want.PublicKey = l.ID, l.PublicKey
	require.Empty(t, cmp.Diff(want, l, compare))
	stored, err := r.core.Locations().Get(ctx, l.ID)
	require.NoError(t, err)
	require.Empty(t, cmp.Diff(stored, l, compare))

	// What is not named stays, whatever the request has there.
	l, _, err = r.root.UpdateLocation(ctx, location.Location{ID: l.ID, Name: "hq", MTU: 1300, Port: 9}, "name", "mtu")
	require.NoError(t, err)
	want.Name, want.MTU = "hq", 1300
	require.Empty(t, cmp.Diff(want, l, compare))
	l, _, err = r.root.UpdateLocation(ctx, location.Location{ID: l.ID}, "dns", "destinations", "isolated", "floating", "inner_floating")
	require.NoError(t, err)
	want.DNS, want.Destinations, want.Isolated, want.Floating, want.InnerFloating = nil, nil, false, nil, nil
	require.Empty(t, cmp.Diff(want, l, compare))

	office := r.office()
	all, err := r.root.Locations(ctx)
	require.NoError(t, err)
	require.Len(t, all, 2)
	_, err = r.root.DeleteLocation(ctx, office.ID)
	require.NoError(t, err)
	_, err = r.root.Location(ctx, office.ID)
	require.ErrorIs(t, err, location.ErrNotFound)
	_, err = r.root.DeleteLocation(ctx, office.ID)
	require.NoError(t, err)
}

// Each error of the domain is the same on both sides.
func TestErrorsCross(t *testing.T) {
	r, ctx := newRig(t), t.Context()
	office := r.office()
	d := r.laptop(office.ID)
	tiny, err := r.root.CreateLocation(ctx, location.Location{Name: "tiny", Host: "vpn.example.org", Networks: prefixes("10.99.0.0/30")})
	require.NoError(t, err)
	r.laptop(tiny.ID)
	field := func(name string) func(error) bool {
		return func(err error) bool {
			f, ok := errors.AsType[*location.FieldError](err)
			return ok && f.Field == name && f.Reason != ""
		}
	}
	is := func(target error) func(error) bool { return func(err error) bool { return errors.Is(err, target) } }
	place := func(p peer.Place) func() error {
		return func() error {
			_, err := r.root.AddDevice(ctx, peer.NewDevice{Name: "x", Key: wgkey.NewPrivate().Public(), Places: []peer.Place{p}})
			return err
		}
	}
	for name, c := range map[string]struct {
		do   func() error
		want []func(error) bool
	}{
		"a bad field": {func() error {
			_, err := r.root.CreateLocation(ctx, location.Location{Name: "x", Host: "a:b", Networks: prefixes("10.1.0.0/16")})
			return err
		}, []func(error) bool{field("Host")}},
		"a name that is taken": {func() error {
			_, err := r.root.CreateLocation(ctx, location.Location{Name: "office", Host: "h.example.org", Networks: prefixes("10.1.0.0/16")})
			return err
		}, []func(error) bool{is(location.ErrExists), field("Name")}},
		"networks that overlap": {func() error {
			_, err := r.root.CreateLocation(ctx, location.Location{Name: "x", Host: "h.example.org", Networks: prefixes("10.20.7.0/24")})
			return err
		}, []func(error) bool{is(location.ErrOverlap), field("Networks[0]")}},
		"no such location": {func() error {
			_, _, err := r.root.UpdateLocation(ctx, location.Location{ID: "nowhere"}, "name")
			return err
		}, []func(error) bool{is(location.ErrNotFound)}},
		"no such device":  {func() error { _, err := r.root.Device(ctx, "nobody"); return err }, []func(error) bool{is(peer.ErrNotFound)}},
		"a place nowhere": {place(peer.Place{Location: "nowhere"}), []func(error) bool{is(location.ErrNotFound), field("Places[0].Location")}},
		"a key that is taken": {func() error {
			_, err := r.root.AddDevice(ctx, peer.NewDevice{Name: "x", Key: d.Key})
			return err
		}, []func(error) bool{is(peer.ErrKeyTaken), field("Key")}},
		"an address that is taken": {
			place(peer.Place{Location: office.ID, Addrs: d.Peers[0].Addrs}),
			[]func(error) bool{is(peer.ErrAddressTaken), field("Places[0].Addrs")},
		},
		"no address left": {place(peer.Place{Location: tiny.ID}), []func(error) bool{is(peer.ErrExhausted)}},
		"no such gateway": {func() error { _, err := r.root.RemoveGateway(ctx, "nobody", ""); return err }, []func(error) bool{is(vpn.ErrNotFound)}},
		"nothing to change": {func() error {
			_, _, err := r.root.UpdateDevice(ctx, d)
			return err
		}, []func(error) bool{field("update_mask")}},
		"what cannot be changed": {func() error {
			_, _, err := r.root.UpdateDevice(ctx, d, "id")
			return err
		}, []func(error) bool{field("update_mask")}},
		"a rule of the messages": {func() error {
			_, err := r.root.AddDevice(ctx, peer.NewDevice{Name: strings.Repeat("x", 300), Key: wgkey.NewPrivate().Public()})
			return err
		}, []func(error) bool{field("device.name")}},
		"no ID": {func() error { _, err := r.root.Device(ctx, ""); return err }, []func(error) bool{field("id")}},
	} {
		t.Run(name, func(t *testing.T) {
			err := c.do()
			require.Error(t, err)
			for i, want := range c.want {
				require.True(t, want(err), "%d: %#v: %v", i, err, err)
			}
			require.NotContains(t, err.Error(), "problem of its own")
		})
	}
	require.Empty(t, r.log.String())
}

func prefixes(list ...string) (out []netip.Prefix) {
	for _, s := range list {
		out = append(out, netip.MustParsePrefix(s))
	}
	return out
}

// broken is a backend whose records say what must stay inside.
type broken struct{ vpn.Stores }

func (broken) Records() vpn.Records { return brokenRecords{} }

type brokenRecords struct{}

var errDisk = errors.New("open /var/lib/secret-place: password hunter2")

func (brokenRecords) Get(context.Context, string) ([]byte, error) { return nil, errDisk }
func (brokenRecords) List(context.Context, string, string, int) ([]vpn.Record, error) {
	return nil, errDisk
}
func (brokenRecords) Update(context.Context, string, func([]byte) ([]byte, error)) error {
	return errDisk
}

// It proves P15.
func TestWhatFailsInsideStaysInside(t *testing.T) {
	r := newRig(t, func(s *vpn.Stores) { *s = broken{*s} })
	for _, do := range []func() error{
		func() error { _, err := r.root.Gateways(t.Context()); return err },
		func() error { _, _, err := r.root.DisableOwner(t.Context(), "alice"); return err },
		func() error { _, err := r.root.Tokens(t.Context()); return err },
	} {
		err := do()
		require.ErrorContains(t, err, "the core has a problem of its own; its log says which")
		require.NotContains(t, err.Error(), "hunter2")
	}
	require.Contains(t, r.log.String(), "hunter2")
}

func TestDevices(t *testing.T) {
	r, ctx := newRig(t), t.Context()
	office := r.office()
	d := r.laptop(office.ID)
	stored, err := r.core.Devices().Get(ctx, d.ID)
	require.NoError(t, err)
	require.Empty(t, cmp.Diff(stored, d, compare))
	require.Len(t, d.Peers[0].Addrs, 2)

	d, _, err = r.root.PlaceDevice(ctx, d.ID, peer.Place{Location: office.ID, Addrs: []netip.Addr{netip.MustParseAddr("10.20.7.7")}, Routes: prefixes("192.168.0.0/16"), Disabled: true})
	require.NoError(t, err)
	require.Equal(t, "10.20.7.7", d.Peers[0].Addrs[0].String())
	require.True(t, d.Peers[0].Disabled)
	d, _, err = r.root.UpdateDevice(ctx, peer.Device{ID: d.ID, Name: "phone", Disabled: true}, "name", "disabled")
	require.NoError(t, err)
	require.Equal(t, "phone alice true", fmt.Sprint(d.Name, " ", d.Owner, " ", d.Disabled))

	p, err := r.root.Profile(ctx, d.ID, office.ID)
	require.NoError(t, err)
	stored, err = r.core.Devices().Get(ctx, d.ID)
	require.NoError(t, err)
	l, err := r.core.Locations().Get(ctx, office.ID)
	require.NoError(t, err)
	want, err := peer.NewProfile(l, stored)
	require.NoError(t, err)
	require.Equal(t, want.Template(), p.Template())

	d, _, err = r.root.LeaveLocation(ctx, d.ID, office.ID)
	require.NoError(t, err)
	require.Empty(t, d.Peers)
	_, err = r.root.Profile(ctx, d.ID, office.ID)
	require.ErrorIs(t, err, peer.ErrNotFound)
	_, err = r.root.DeleteDevice(ctx, d.ID)
	require.NoError(t, err)
	_, err = r.root.DeleteDevice(ctx, d.ID)
	require.NoError(t, err)
}

func TestDevicesComeInPages(t *testing.T) {
	r, ctx := newRig(t), t.Context()
	const all = 2100 // more than two pages
	for i := range all {
		_, err := r.core.Devices().Add(ctx, peer.NewDevice{Name: fmt.Sprint("d", i), Key: wgkey.NewPrivate().Public()})
		require.NoError(t, err)
	}
	var last peer.DeviceID
	n := 0
	for d, err := range r.root.Devices(ctx, adminrpc.DeviceFilter{}) {
		require.NoError(t, err)
		require.Greater(t, d.ID, last)
		last = d.ID
		n++
	}
	require.Equal(t, all, n)
	n = 0
	for d, err := range r.root.Devices(ctx, adminrpc.DeviceFilter{Name: "d77"}) {
		require.NoError(t, err)
		require.Equal(t, "d77", d.Name)
		n++
	}
	require.Equal(t, 1, n)
}

func TestImportIsAllOrNothing(t *testing.T) {
	r, ctx := newRig(t), t.Context()
	office := r.office()
	there := r.laptop(office.ID)
	n := func(name string, addr string) peer.NewDevice {
		return peer.NewDevice{Name: name, Key: wgkey.NewPrivate().Public(), Places: []peer.Place{{Location: office.ID, Addrs: []netip.Addr{netip.MustParseAddr(addr)}}}}
	}
	a, b := n("a", "10.20.9.1"), n("b", "10.20.9.2")
	count := func() int {
		all, err := r.core.Devices().List(ctx, peer.Filter{})
		require.NoError(t, err)
		return len(all)
	}

	_, err := r.root.ImportDevices(ctx, []peer.NewDevice{a, n("c", there.Peers[0].Addrs[0].String())}, false)
	require.ErrorIs(t, err, peer.ErrAddressTaken)
	require.ErrorContains(t, err, "devices[1].Places[0].Addrs[0]")
	_, err = r.root.ImportDevices(ctx, []peer.NewDevice{a, n("c", "10.20.9.1")}, false)
	require.ErrorIs(t, err, peer.ErrAddressTaken)
	twice := b
	twice.Key = a.Key
	_, err = r.root.ImportDevices(ctx, []peer.NewDevice{a, twice}, false)
	require.ErrorIs(t, err, peer.ErrKeyTaken)
	_, err = r.root.ImportDevices(ctx, []peer.NewDevice{a, n("", "10.20.9.3")}, false)
	require.ErrorContains(t, err, "devices[1].Name")
	none, err := r.root.ImportDevices(ctx, []peer.NewDevice{a, b}, true)
	require.NoError(t, err)
	require.Empty(t, none)
	require.Equal(t, 1, count())

	both, err := r.root.ImportDevices(ctx, []peer.NewDevice{a, b}, false)
	require.NoError(t, err)
	require.Len(t, both, 2)
	require.Equal(t, 3, count())

	// One that fails in the middle takes those before it along: no check foresees
	// that there is no address left for a third.
	tiny, err := r.root.CreateLocation(ctx, location.Location{Name: "tiny", Host: "vpn.example.org", Networks: prefixes("10.99.0.0/30")})
	require.NoError(t, err)
	var many []peer.NewDevice
	for range 3 {
		many = append(many, peer.NewDevice{Name: "x", Key: wgkey.NewPrivate().Public(), Places: []peer.Place{{Location: tiny.ID}}})
	}
	_, err = r.root.ImportDevices(ctx, many, false)
	require.ErrorIs(t, err, peer.ErrExhausted)
	require.Equal(t, 3, count())
}

func TestGateways(t *testing.T) {
	r, ctx := newRig(t), t.Context()
	office := r.office()
	g, token, err := r.root.JoinToken(ctx, adminrpc.JoinRequest{Name: "gw1", Locations: []location.ID{office.ID}, At: "192.0.2.7:7946", Lifetime: time.Minute})
	require.NoError(t, err)
	require.Equal(t, string(g.ID), token.Identity.ID)
	require.NotZero(t, token.Secret())
	require.Equal(t, []adminrpc.TokenRequest{{Gateway: g.ID, Locations: []location.ID{office.ID}, At: "192.0.2.7:7946", Lifetime: time.Minute}}, r.joining.asked)

	_, _, err = r.root.JoinToken(ctx, adminrpc.JoinRequest{Name: "gw1", Locations: []location.ID{office.ID}, At: "192.0.2.8:7946"})
	require.ErrorIs(t, err, adminrpc.ErrExists)
	again, _, err := r.root.JoinToken(ctx, adminrpc.JoinRequest{ID: g.ID, Cores: []string{"core:7947"}})
	require.NoError(t, err)
	require.Equal(t, g.ID, again.ID)
	r.joining.err = errors.New("no")
	_, _, err = r.root.JoinToken(ctx, adminrpc.JoinRequest{Name: "gw2", Locations: []location.ID{office.ID}, At: "192.0.2.8:7946"})
	require.Error(t, err)
	r.joining.err = nil

	connected := r.gateway("gw3", true, office.ID)
	all, err := r.root.Gateways(ctx)
	require.NoError(t, err)
	require.Len(t, all, 2)
	require.Equal(t, "gw1 false gw3 true", fmt.Sprint(all[0].Name, " ", all[0].Connected, " ", all[1].Name, " ", all[1].Connected))

	_, _, err = r.root.UpdateGateway(ctx, vpn.Gateway{ID: g.ID, Name: "gw3"}, "name")
	require.ErrorIs(t, err, adminrpc.ErrExists)
	now, told, err := r.root.UpdateGateway(ctx, vpn.Gateway{ID: g.ID, Name: "first", Disabled: true}, "name", "disabled")
	require.NoError(t, err)
	require.False(t, told)
	require.Equal(t, vpn.Gateway{ID: g.ID, Name: "first", Disabled: true, Locations: []location.ID{office.ID}}, now.Gateway)

	// It hears that it has no locations before it is cut off, and has a moment.
	var heard time.Time
	go func() {
		for at, err := range r.core.Assigned(ctx, connected) {
			if err == nil && len(at) == 0 {
				r.joining.mu.Lock()
				heard = time.Now()
				r.joining.mu.Unlock()
			}
		}
	}()
	r.joining.before = func(id gateway.ID) {
		if id == connected {
			require.False(t, heard.IsZero())
			require.Greater(t, time.Since(heard), 10*time.Millisecond)
		}
	}
	told, err = r.root.RemoveGateway(ctx, connected, "stolen")
	require.NoError(t, err)
	require.True(t, told)
	told, err = r.root.RemoveGateway(ctx, g.ID, "")
	require.NoError(t, err)
	require.False(t, told)
	require.Equal(t, "stolen", r.joining.revoked[connected])
	require.Contains(t, r.joining.revoked[g.ID], "removed by ")
	all, err = r.root.Gateways(ctx)
	require.NoError(t, err)
	require.Empty(t, all)
}

// It proves P14: who has confirmed is named, who has not too.
func TestChangesNameWhoConfirmed(t *testing.T) {
	r, ctx := newRig(t), t.Context()
	office := r.office()
	good, slow := r.gateway("good", true, office.ID), r.gateway("slow", false, office.ID)
	away, err := r.core.Gateways().Add(ctx, vpn.Gateway{Name: "away", Locations: []location.ID{office.ID}})
	require.NoError(t, err)
	d := r.laptop(office.ID)
	want := []adminrpc.Confirmation{{
		Location: office.ID, Name: "office",
		Done: []adminrpc.GatewayName{{ID: good, Name: "good"}},
		Late: []adminrpc.GatewayName{{ID: slow, Name: "slow"}},
		Away: []adminrpc.GatewayName{{ID: away.ID, Name: "away"}},
	}}
	o, c, err := r.root.DisableOwner(ctx, "alice")
	require.NoError(t, err)
	require.Equal(t, vpn.OwnerDevices{Owner: vpn.Owner{Name: "alice", Disabled: true}, Devices: 1}, o)
	require.Equal(t, want, c)
	d, c, err = r.root.UpdateDevice(ctx, peer.Device{ID: d.ID, Disabled: true}, "disabled")
	require.NoError(t, err)
	require.True(t, d.Standing.Disabled)
	require.Equal(t, want, c)
	_, c, err = r.root.EnableOwner(ctx, "alice")
	require.NoError(t, err)
	require.Equal(t, want, c)
	c, err = r.root.DeleteDevice(ctx, d.ID)
	require.NoError(t, err)
	require.Equal(t, want, c)
	list, err := r.root.Owners(ctx)
	require.NoError(t, err)
	require.Equal(t, []vpn.OwnerDevices{{Owner: vpn.Owner{Name: "alice"}}}, list)
	c, err = r.root.DeleteLocation(ctx, office.ID)
	require.NoError(t, err)
	want[0].Name = ""
	require.Equal(t, want, c)
}

func TestOverviewAndEvents(t *testing.T) {
	r := newRig(t)
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
	defer cancel()
	office := r.office()
	d := r.laptop(office.ID)
	id := r.gateway("gw1", true, office.ID)
	require.NoError(t, r.core.Report(ctx, id, gateway.LocationID(office.ID), gateway.Status{Epoch: 2, Full: true, Seen: []gateway.Sighting{{
		Key: d.Key, Heard: time.Now(), Handshake: time.Now(), Endpoint: netip.MustParseAddrPort("192.0.2.9:4444"), Rx: 1 << 60, Tx: 7,
	}}}))
	want, err := r.core.Overview(ctx)
	require.NoError(t, err)
	o, err := r.root.Overview(ctx)
	require.NoError(t, err)
	require.Empty(t, cmp.Diff(want, o, compare, cmpopts.EquateComparable(netip.AddrPort{}, vpn.Revision{}),
		cmp.Comparer(func(a, b vpn.Age) bool {
			return (a < 0) == (b < 0) && a-b < vpn.Age(5*time.Second) && b-a < vpn.Age(5*time.Second)
		}),
		cmpopts.IgnoreFields(vpn.Overview{}, "At")))
	require.Equal(t, uint64(1<<60), o.Locations[0].Peers[0].Rx)
	n := 0
	for o, err := range r.root.WatchOverview(ctx) {
		require.NoError(t, err)
		require.Len(t, o.Locations, 1)
		if n++; n == 3 {
			break
		}
	}

	got := make(chan vpn.Event, 1)
	go func() {
		defer close(got)
		for e, err := range r.root.FollowEvents(ctx, vpn.EventFilter{What: "device"}) {
			if err == nil {
				got <- e
			}
			return
		}
	}()
	for i := 0; ; i++ { // following may begin late
		_, _, err := r.root.UpdateDevice(ctx, peer.Device{ID: d.ID, Name: fmt.Sprint("laptop", i)}, "name")
		require.NoError(t, err)
		select {
		case e, ok := <-got:
			require.True(t, ok)
			require.Equal(t, vpn.DeviceChanged, e.What)
			require.Equal(t, "unix socket", e.From)
			require.NotEmpty(t, e.By)
		case <-time.After(time.Second):
			continue
		case <-ctx.Done():
			require.Fail(t, "no event")
		}
		break
	}
	all, err := r.root.Events(ctx, vpn.EventFilter{What: "device.added"})
	require.NoError(t, err)
	stored, err := r.core.Events().List(ctx, vpn.EventFilter{What: "device.added"})
	require.NoError(t, err)
	require.Equal(t, stored, all)
	_, err = r.root.Events(ctx, vpn.EventFilter{Limit: 1})
	require.NoError(t, err)
}

func TestNewHandlerChecks(t *testing.T) {
	_, err := adminrpc.NewHandler(adminrpc.Config{})
	require.ErrorContains(t, err, "Core is missing")
	_, err = adminrpc.NewTokens(adminrpc.TokensConfig{})
	require.ErrorContains(t, err, "Records is missing")
}
