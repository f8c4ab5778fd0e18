package peer_test

import (
	"context"
	"errors"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/holdfastvpn/holdfast/location"
	"github.com/holdfastvpn/holdfast/location/locationtest"
	"github.com/holdfastvpn/holdfast/peer"
	"github.com/holdfastvpn/holdfast/peer/peertest"
	"github.com/holdfastvpn/holdfast/vpn/seal"
	"github.com/holdfastvpn/holdfast/vpn/wgkey"
)

// world is a store with locations.
type world struct {
	locations location.Store
	rules     *location.Service
	store     peer.Store
	office    location.ID
}

func newWorld(t testing.TB, networks ...string) *world { //nolint:thelper // both of tests and benchmarks
	t.Helper()
	w := &world{locations: locationtest.NewStore(), store: peertest.NewStore()}
	var err error
	w.rules, err = location.NewService(location.ServiceConfig{Store: w.locations, Keys: seal.Ephemeral()})
	require.NoError(t, err)
	w.office = w.location(t, "office", networks...)
	return w
}

func (w *world) location(t testing.TB, name string, networks ...string) location.ID { //nolint:thelper // both of tests and benchmarks
	t.Helper()
	l, err := w.rules.Create(t.Context(), location.Location{Name: name, Host: "vpn.example.org", Networks: prefixes(networks...)})
	require.NoError(t, err)
	return l.ID
}

// service makes one more Service on the store, as another core would.
func (w *world) service(t testing.TB) *peer.Service { //nolint:thelper // both of tests and benchmarks
	t.Helper()
	s, err := peer.NewService(peer.ServiceConfig{Store: w.store, Locations: w.locations})
	require.NoError(t, err)
	return s
}

// laptopAt is a new device with places that ask for free addresses.
func laptopAt(at ...location.ID) peer.NewDevice {
	n := peer.NewDevice{Name: "laptop", Owner: "alice", Key: wgkey.NewPrivate().Public()}
	for _, id := range at {
		n.Places = append(n.Places, peer.Place{Location: id})
	}
	return n
}

func add(t *testing.T, s *peer.Service, n peer.NewDevice) peer.Device {
	t.Helper()
	d, err := s.Add(t.Context(), n)
	require.NoError(t, err)
	return d
}

func requireField(t *testing.T, err error, field, reason string) {
	t.Helper()
	var got *peer.FieldError
	require.ErrorAs(t, err, &got)
	require.Equal(t, field, got.Field)
	require.Contains(t, got.Reason, reason)
}

func TestNewServiceNamesWhatIsMissing(t *testing.T) {
	_, err := peer.NewService(peer.ServiceConfig{Locations: locationtest.NewStore()})
	require.EqualError(t, err, "peer: new service: Store is missing")
	_, err = peer.NewService(peer.ServiceConfig{Store: peertest.NewStore()})
	require.EqualError(t, err, "peer: new service: Locations is missing")
}

func TestAddGivesTheNextFreeAddresses(t *testing.T) {
	w := newWorld(t, "10.20.0.0/24", "fd20::/64")
	branch := w.location(t, "branch", "10.30.0.0/24")
	s := w.service(t)
	a := add(t, s, laptopAt(w.office, branch))
	require.Regexp(t, "^[a-z][a-z2-7]{25}$", string(a.ID))
	at, _ := a.At(w.office)
	require.Equal(t, addrs("10.20.0.2", "fd20::2"), at.Addrs)
	at, _ = a.At(branch)
	require.Equal(t, addrs("10.30.0.2"), at.Addrs)
	require.NoError(t, a.Validate())

	b := add(t, s, laptopAt(w.office))
	require.Equal(t, addrs("10.20.0.3", "fd20::3"), b.Peers[0].Addrs)
	require.NotEqual(t, a.ID, b.ID)
	c := add(t, s, laptopAt())
	require.Empty(t, c.Peers, "no places is fine")

	saved, err := s.Get(t.Context(), a.ID)
	require.NoError(t, err)
	require.Equal(t, a, saved)
	found, err := s.Find(t.Context(), b.Key)
	require.NoError(t, err)
	require.Equal(t, b, found)
	all, err := s.List(t.Context(), peer.Filter{Location: branch})
	require.NoError(t, err)
	require.Len(t, all, 1)
}

func TestWhatIsFreedIsGivenAgain(t *testing.T) {
	w := newWorld(t, "10.20.0.0/24")
	s := w.service(t)
	var all []peer.Device
	for range 4 {
		all = append(all, add(t, s, laptopAt(w.office)))
	}
	require.NoError(t, s.Delete(t.Context(), all[2].ID))
	require.NoError(t, s.Delete(t.Context(), all[2].ID), "a second time")
	require.Equal(t, all[2].Peers[0].Addrs, add(t, s, laptopAt(w.office)).Peers[0].Addrs)

	d, err := s.Leave(t.Context(), all[0].ID, w.office)
	require.NoError(t, err)
	require.Empty(t, d.Peers)
	_, err = s.Leave(t.Context(), all[0].ID, w.office)
	require.NoError(t, err, "a second time")
	require.Equal(t, addrs("10.20.0.2"), add(t, s, laptopAt(w.office)).Peers[0].Addrs)

	_, err = s.Place(t.Context(), all[1].ID, peer.Place{Location: w.office, Addrs: addrs("10.20.0.77")})
	require.NoError(t, err)
	require.Equal(t, addrs("10.20.0.3"), add(t, s, laptopAt(w.office)).Peers[0].Addrs, "what a change gave up")
	_, err = s.Place(t.Context(), all[1].ID, peer.Place{Location: w.office, Addrs: addrs("10.20.0.78", "10.20.0.77")})
	require.NoError(t, err, "keeps one of its own")
}

func TestAddTakesStaticAddressesAndRoutes(t *testing.T) {
	w := newWorld(t, "10.20.0.0/24", "fd20::/64")
	s := w.service(t)
	n := laptopAt(w.office)
	n.Places[0].Addrs = addrs("fd20::7", "10.20.0.2")
	n.Places[0].Routes = prefixes("192.168.8.0/24", "192.168.7.0/24")
	n.Places[0].Disabled = true
	d := add(t, s, n)
	require.Equal(t, peer.Peer{
		Location: w.office, Rev: d.Peers[0].Rev, Disabled: true,
		Addrs: addrs("10.20.0.2", "fd20::7"), Routes: prefixes("192.168.7.0/24", "192.168.8.0/24"),
	}, d.Peers[0], "in order")
	require.Equal(t, addrs("fd20::7", "10.20.0.2"), n.Places[0].Addrs, "the caller's stay as they were")
	require.Equal(t, addrs("10.20.0.3", "fd20::2"), add(t, s, laptopAt(w.office)).Peers[0].Addrs, "a static address is passed over")
}

func TestAddRefuses(t *testing.T) {
	w := newWorld(t, "10.20.0.0/24")
	branch := w.location(t, "branch", "10.30.0.0/24")
	s := w.service(t)
	taken := laptopAt(w.office)
	taken.Name, taken.Places[0].Addrs, taken.Places[0].Routes = "first", addrs("10.20.0.50"), prefixes("192.168.0.0/16")
	add(t, s, taken)

	for name, c := range map[string]struct {
		edit          func(*peer.NewDevice)
		field, reason string
		is            error
	}{
		"no name":          {func(n *peer.NewDevice) { n.Name = "" }, "Name", "is empty", nil},
		"no key":           {func(n *peer.NewDevice) { n.Key = wgkey.Public{} }, "Key", "is missing", nil},
		"a taken key":      {func(n *peer.NewDevice) { n.Key = taken.Key }, "Key", `belongs to device "first"`, peer.ErrKeyTaken},
		"no location":      {func(n *peer.NewDevice) { n.Places[1].Location = "" }, "Places[1].Location", "is missing", nil},
		"another location": {func(n *peer.NewDevice) { n.Places[1].Location = "x" }, "Places[1].Location", `"x" is not there`, location.ErrNotFound},
		"one twice":        {func(n *peer.NewDevice) { n.Places[1].Location = w.office }, "Places[1].Location", "there already", nil},
		"outside":          {func(n *peer.NewDevice) { n.Places[1].Addrs = addrs("10.30.0.9", "10.20.0.9") }, "Places[1].Addrs[1]", `none of the networks of "branch"`, nil},
		"an address twice": {func(n *peer.NewDevice) { n.Places[0].Addrs = addrs("10.20.0.9", "10.20.0.9") }, "Places[0].Addrs[1]", "there already", nil},
		"the gateway's":    {func(n *peer.NewDevice) { n.Places[0].Addrs = addrs("10.20.0.1") }, "Places[0].Addrs[0]", "gateways", nil},
		"a taken address":  {func(n *peer.NewDevice) { n.Places[0].Addrs = addrs("10.20.0.50") }, "Places[0].Addrs", `10.20.0.50 belongs to device "first"`, peer.ErrAddressTaken},
		"a taken route":    {func(n *peer.NewDevice) { n.Places[0].Routes = prefixes("192.168.7.0/24") }, "Places[0].Routes", `192.168.7.0/24 overlaps 192.168.0.0/16 of device "first"`, peer.ErrAddressTaken},
		"a bad route":      {func(n *peer.NewDevice) { n.Places[0].Routes = prefixes("172.16.0.0/12", "0.0.0.0/0") }, "Places[0].Routes[1]", "everybody's traffic", nil},
		"a bad group":      {func(n *peer.NewDevice) { n.Standing.Groups = []string{""} }, "Standing.Groups[0]", "is empty", nil},
	} {
		t.Run(name, func(t *testing.T) {
			n := laptopAt(w.office, branch)
			c.edit(&n)
			_, err := s.Add(t.Context(), n)
			requireField(t, err, c.field, c.reason)
			require.ErrorContains(t, err, `peer: add "`+n.Name+`": `)
			if c.is != nil {
				require.ErrorIs(t, err, c.is)
			}
		})
	}
	all, err := s.List(t.Context(), peer.Filter{})
	require.NoError(t, err)
	require.Len(t, all, 1, "nothing was saved")
	d := add(t, s, laptopAt(w.office, branch))
	at, _ := d.At(w.office)
	require.Equal(t, addrs("10.20.0.2"), at.Addrs, "what was refused took no address")
}

func TestExhausted(t *testing.T) {
	w := newWorld(t, "10.20.0.0/29", "fd20::/64")
	s := w.service(t)
	var last peer.Device
	for range 5 {
		last = add(t, s, laptopAt(w.office))
	}
	_, err := s.Add(t.Context(), laptopAt(w.office))
	require.ErrorIs(t, err, peer.ErrExhausted, "IPv4 has no room; half a place is none")
	require.ErrorContains(t, err, `"office" has [10.20.0.0/29 fd20::/64]`)

	// What another core freed is found when nothing else is left.
	require.NoError(t, w.service(t).Delete(t.Context(), last.ID))
	require.Equal(t, last.Peers[0].Addrs, add(t, s, laptopAt(w.office)).Peers[0].Addrs)

	_, err = w.rules.Update(t.Context(), w.office, func(l *location.Location) error {
		l.Networks = append(l.Networks, prefixes("10.21.0.0/29")...)
		return nil
	})
	require.NoError(t, err)
	require.Equal(t, addrs("10.21.0.2", "fd20::7"), add(t, s, laptopAt(w.office)).Peers[0].Addrs, "a network more")
}

func TestReservedIsNotGivenUnasked(t *testing.T) {
	w := newWorld(t, "10.20.0.0/24")
	s := w.service(t)
	require.Equal(t, addrs("10.20.0.2"), add(t, s, laptopAt(w.office)).Peers[0].Addrs)
	_, err := w.rules.Update(t.Context(), w.office, func(l *location.Location) error {
		l.Reserved = prefixes("10.20.0.0/28")
		return nil
	})
	require.NoError(t, err)
	require.Equal(t, addrs("10.20.0.16"), add(t, s, laptopAt(w.office)).Peers[0].Addrs)
	n := laptopAt(w.office)
	n.Places[0].Addrs = addrs("10.20.0.5")
	require.Equal(t, addrs("10.20.0.5"), add(t, s, n).Peers[0].Addrs)
}

func TestPlace(t *testing.T) {
	w := newWorld(t, "10.20.0.0/24")
	branch := w.location(t, "branch", "10.30.0.0/24")
	s := w.service(t)
	d := add(t, s, laptopAt(w.office))

	d, err := s.Place(t.Context(), d.ID, peer.Place{Location: branch})
	require.NoError(t, err)
	require.NoError(t, d.Validate(), "in order")
	at, _ := d.At(branch)
	require.Equal(t, addrs("10.30.0.2"), at.Addrs)

	d, err = s.Place(t.Context(), d.ID, peer.Place{Location: branch, Routes: prefixes("192.168.7.0/24"), Disabled: true})
	require.NoError(t, err)
	at, _ = d.At(branch)
	require.Equal(t, addrs("10.30.0.2"), at.Addrs, "addresses stay when none are asked for")
	require.Equal(t, prefixes("192.168.7.0/24"), at.Routes)
	require.True(t, at.Disabled)

	d, err = s.Place(t.Context(), d.ID, peer.Place{Location: branch, Addrs: addrs("10.30.0.7")})
	require.NoError(t, err)
	at, _ = d.At(branch)
	require.Equal(t, peer.Peer{Location: branch, Rev: at.Rev, Addrs: addrs("10.30.0.7")}, at, "all is as asked for")
	require.Equal(t, addrs("10.30.0.2"), add(t, s, laptopAt(branch)).Peers[0].Addrs)

	_, err = s.Place(t.Context(), d.ID, peer.Place{Location: branch, Addrs: addrs("10.30.0.2")})
	require.ErrorIs(t, err, peer.ErrAddressTaken)
	requireField(t, err, "Addrs", "belongs to device")
	_, err = s.Place(t.Context(), d.ID, peer.Place{Location: branch, Routes: prefixes("10.30.0.0/25")})
	requireField(t, err, "Routes[0]", "networks elsewhere")
	_, err = s.Place(t.Context(), "absent", peer.Place{Location: branch})
	require.ErrorIs(t, err, peer.ErrNotFound)
	_, err = s.Place(t.Context(), d.ID, peer.Place{Location: "x"})
	require.ErrorIs(t, err, location.ErrNotFound)
	_, err = s.Leave(t.Context(), "absent", branch)
	require.ErrorIs(t, err, peer.ErrNotFound)

	now, err := s.Get(t.Context(), d.ID)
	require.NoError(t, err)
	require.Equal(t, d, now, "what was refused changed nothing")
}

// The error names who has what was asked for, and never the device itself.
func TestTheHolderIsSomebodyElse(t *testing.T) {
	w := newWorld(t, "10.20.0.0/24")
	s := w.service(t)
	a, b := add(t, s, laptopAt(w.office)), add(t, s, laptopAt(w.office))
	if b.ID < a.ID {
		a, b = b, a // so that a is looked at first
	}
	_, err := s.Place(t.Context(), a.ID, peer.Place{Location: w.office, Addrs: append(a.Peers[0].Addrs, b.Peers[0].Addrs...)})
	require.ErrorIs(t, err, peer.ErrAddressTaken)
	requireField(t, err, "Addrs", string(b.ID))
}

func TestPlaceWhileAnotherPlacesOrLeaves(t *testing.T) {
	w := newWorld(t, "10.20.0.0/24")
	d := add(t, w.service(t), laptopAt())
	w.store = &swift{w.store, func() {
		_, err := w.service(t).Place(t.Context(), d.ID, peer.Place{Location: w.office, Addrs: addrs("10.20.0.77")})
		require.NoError(t, err)
	}}
	s := w.service(t)
	got, err := s.Place(t.Context(), d.ID, peer.Place{Location: w.office, Routes: prefixes("192.168.7.0/24")})
	require.NoError(t, err)
	require.Equal(t, addrs("10.20.0.77"), got.Peers[0].Addrs, "placed meanwhile: its addresses stay")
	require.Equal(t, prefixes("192.168.7.0/24"), got.Peers[0].Routes)

	w.store.(*swift).before = func() { //nolint:errcheck // it was put there above
		_, err := w.service(t).Leave(t.Context(), d.ID, w.office)
		require.NoError(t, err)
	}
	got, err = s.Place(t.Context(), d.ID, peer.Place{Location: w.office})
	require.NoError(t, err)
	require.Equal(t, addrs("10.20.0.2"), got.Peers[0].Addrs, "left meanwhile: it gets new ones")
}

func TestUpdate(t *testing.T) {
	w := newWorld(t, "10.20.0.0/24")
	s := w.service(t)
	d, other := add(t, s, laptopAt(w.office)), add(t, s, laptopAt())
	fresh := wgkey.NewPrivate().Public()
	up, err := s.Update(t.Context(), d.ID, func(d *peer.Device) error {
		d.Name, d.Owner, d.Key, d.Disabled, d.Peers[0].Disabled, d.Peers[0].Rev = "desktop", "bob", fresh, true, true, 99
		return nil
	})
	require.NoError(t, err)
	require.Equal(t, "desktop", up.Name)
	require.True(t, up.Peers[0].Disabled)
	require.Less(t, up.Peers[0].Rev, uint64(99), "the store's business")
	_, err = s.Find(t.Context(), fresh)
	require.NoError(t, err)
	_, err = s.Find(t.Context(), d.Key)
	require.ErrorIs(t, err, peer.ErrNotFound, "the old key is nobody's")

	for name, c := range map[string]struct {
		field string
		edit  func(*peer.Device)
	}{
		"ID":         {"ID", func(d *peer.Device) { d.ID = "x" }},
		"zero":       {"ID", func(d *peer.Device) { *d = peer.Device{} }},
		"name":       {"Name", func(d *peer.Device) { d.Name = "" }},
		"addresses":  {"Peers", func(d *peer.Device) { d.Peers[0].Addrs = addrs("10.20.0.9") }},
		"in place":   {"Peers", func(d *peer.Device) { d.Peers[0].Addrs[0] = addrs("10.20.0.9")[0] }},
		"routes":     {"Peers", func(d *peer.Device) { d.Peers[0].Routes = prefixes("192.168.7.0/24") }},
		"more":       {"Peers", func(d *peer.Device) { d.Peers = append(d.Peers, peer.Peer{Location: "x", Addrs: addrs("10.0.0.1")}) }},
		"less":       {"Peers", func(d *peer.Device) { d.Peers = nil }},
		"elsewhere":  {"Peers", func(d *peer.Device) { d.Peers[0].Location = "x" }},
		"taken key":  {"Key", func(d *peer.Device) { d.Key = other.Key }},
		"no key":     {"Key", func(d *peer.Device) { d.Key = wgkey.Public{} }},
		"bad owner":  {"Owner", func(d *peer.Device) { d.Owner = strings.Repeat("x", 256) }},
		"bad groups": {"Standing.Groups[0]", func(d *peer.Device) { d.Standing.Groups = []string{"\n"} }},
	} {
		_, err = s.Update(t.Context(), d.ID, func(d *peer.Device) error { c.edit(d); return nil })
		requireField(t, err, c.field, "")
		require.ErrorContains(t, err, "peer: update ", name)
	}
	mine := errors.New("mine")
	_, err = s.Update(t.Context(), d.ID, func(d *peer.Device) error { d.Name = "x"; return mine })
	require.ErrorIs(t, err, mine)
	_, err = s.Update(t.Context(), "absent", func(d *peer.Device) error { *d = up; return nil })
	require.ErrorIs(t, err, peer.ErrNotFound)
	now, err := s.Get(t.Context(), d.ID)
	require.NoError(t, err)
	require.Equal(t, up, now, "what was refused changed nothing")
}

// What takes access away works on any row, also one that today's rules refuse.
func TestDisableAndDeleteAlwaysWork(t *testing.T) {
	w := newWorld(t, "10.20.0.0/24")
	s := w.service(t)
	_, err := w.store.Update(t.Context(), "odd", func(d *peer.Device) error {
		*d = peer.Device{ID: "odd", Owner: "alice", Peers: []peer.Peer{{Location: "gone"}}}
		return nil
	})
	require.NoError(t, err)
	d, err := s.Disable(t.Context(), "odd")
	require.NoError(t, err)
	require.True(t, d.Disabled)
	d, err = s.Enable(t.Context(), "odd")
	require.NoError(t, err)
	require.False(t, d.Disabled)
	n, err := s.SetStanding(t.Context(), "alice", peer.Standing{Disabled: true})
	require.NoError(t, err)
	require.Equal(t, 1, n)
	_, err = s.Leave(t.Context(), "odd", "gone")
	require.NoError(t, err)
	require.NoError(t, s.Delete(t.Context(), "odd"))
	_, err = s.Disable(t.Context(), "odd")
	require.ErrorIs(t, err, peer.ErrNotFound)
}

func TestSetStanding(t *testing.T) {
	w := newWorld(t, "10.20.0.0/24")
	s := w.service(t)
	a, b := add(t, s, laptopAt(w.office)), add(t, s, laptopAt())
	other := laptopAt()
	other.Owner = "bob"
	c := add(t, s, other)

	groups := []string{"staff"}
	n, err := s.SetStanding(t.Context(), "alice", peer.Standing{Disabled: true, Groups: groups})
	require.NoError(t, err)
	require.Equal(t, 2, n)
	groups[0] = "changed"
	for _, id := range []peer.DeviceID{a.ID, b.ID} {
		d, err := s.Get(t.Context(), id)
		require.NoError(t, err)
		require.Equal(t, peer.Standing{Disabled: true, Groups: []string{"staff"}}, d.Standing)
	}
	d, err := s.Get(t.Context(), c.ID)
	require.NoError(t, err)
	require.Equal(t, peer.Standing{}, d.Standing)

	_, err = s.SetStanding(t.Context(), "", peer.Standing{})
	requireField(t, err, "Owner", "is empty")
	_, err = s.SetStanding(t.Context(), "alice", peer.Standing{Groups: []string{""}})
	requireField(t, err, "Standing.Groups[0]", "is empty")
}

// A device that changes hands meanwhile is the new owner's.
func TestSetStandingLeavesOthersAlone(t *testing.T) {
	w := newWorld(t, "10.20.0.0/24")
	d := add(t, w.service(t), laptopAt())
	plain := w.service(t)
	w.store = &swift{w.store, func() {
		_, err := plain.Update(t.Context(), d.ID, func(d *peer.Device) error { d.Owner = "bob"; return nil })
		require.NoError(t, err)
	}}
	_, err := w.service(t).SetStanding(t.Context(), "alice", peer.Standing{Disabled: true})
	require.NoError(t, err)
	d, err = plain.Get(t.Context(), d.ID)
	require.NoError(t, err)
	require.False(t, d.Standing.Disabled)
}

func TestSetStandingGoesOnAfterAFailure(t *testing.T) {
	w := newWorld(t, "10.20.0.0/24")
	s := w.service(t)
	a, b := add(t, s, laptopAt()), add(t, s, laptopAt())
	w.store = failing{w.store, min(a.ID, b.ID)}
	_, err := w.service(t).SetStanding(t.Context(), "alice", peer.Standing{Disabled: true})
	require.ErrorIs(t, err, errDisk)
	d, err := s.Get(t.Context(), max(a.ID, b.ID))
	require.NoError(t, err)
	require.True(t, d.Standing.Disabled)
}

func TestErrorsOfTheStoreComeThrough(t *testing.T) {
	w := newWorld(t, "10.20.0.0/24")
	s := w.service(t)
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	_, err := s.Add(ctx, laptopAt(w.office))
	require.ErrorIs(t, err, context.Canceled)
	_, err = s.Get(ctx, "a")
	require.ErrorIs(t, err, context.Canceled)
	_, err = s.List(ctx, peer.Filter{})
	require.ErrorIs(t, err, context.Canceled)
	_, err = s.Find(ctx, wgkey.Public{1})
	require.ErrorIs(t, err, context.Canceled)
	require.ErrorIs(t, s.Delete(ctx, "a"), context.Canceled)
	require.Equal(t, addrs("10.20.0.2"), add(t, s, laptopAt(w.office)).Peers[0].Addrs, "and takes no address")

	w.store = &stumbling{w.store, 1}
	s = w.service(t)
	_, err = s.Add(t.Context(), laptopAt(w.office))
	require.ErrorIs(t, err, errDisk)
	require.Equal(t, addrs("10.20.0.3"), add(t, s, laptopAt(w.office)).Peers[0].Addrs, "nor does a failed write")
}
