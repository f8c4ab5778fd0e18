package vpn_test

import (
	"context"
	"fmt"
	"math/rand/v2"
	"net/netip"
	"reflect"
	"slices"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"

	"github.com/holdfastvpn/holdfast/gateway"
	"github.com/holdfastvpn/holdfast/location"
	"github.com/holdfastvpn/holdfast/peer"
	"github.com/holdfastvpn/holdfast/vpn"
	"github.com/holdfastvpn/holdfast/vpn/memstore"
	"github.com/holdfastvpn/holdfast/vpn/seal"
	"github.com/holdfastvpn/holdfast/vpn/wgkey"
)

var noon = time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)

// office is a location whose key the ring opens.
func office(keys *seal.Keyring) location.Location {
	l := location.Location{
		ID: "office", Name: "office", Host: "vpn.example.org", Mark: 7,
		Networks: []netip.Prefix{netip.MustParsePrefix("fd20::/64"), netip.MustParsePrefix("10.20.0.0/16")},
	}.WithDefaults()
	secret := wgkey.NewPrivate()
	raw := secret.Reveal()
	l.PublicKey, l.Key = secret.Public(), keys.Seal(raw[:], l.KeyBound())
	return l
}

// dev is device n, with places.
func dev(n int, at ...location.ID) peer.Device {
	d := peer.Device{ID: peer.DeviceID(fmt.Sprintf("d%06d", n)), Name: fmt.Sprintf("laptop %d", n), Owner: "ann", Key: key(n)}
	for _, l := range at {
		d.Peers = append(d.Peers, peer.Peer{Location: l, Addrs: []netip.Addr{addr(n)}})
	}
	return d
}

func key(n int) wgkey.Public { return wgkey.Public{byte(n * 37), byte(n >> 8), byte(n >> 16), 1} }

func addr(n int) netip.Addr {
	n += 2
	return netip.AddrFrom4([4]byte{10, 20 + byte(n>>16), byte(n >> 8), byte(n)})
}

func TestProject(t *testing.T) {
	keys := seal.Ephemeral()
	l := office(keys)
	secret, err := l.Reveal(keys)
	require.NoError(t, err)
	d := dev(1, l.ID)
	d.Peers[0].Routes = []netip.Prefix{netip.MustParsePrefix("10.9.0.0/24")}
	d.Peers[0].Addrs = append(d.Peers[0].Addrs, netip.MustParseAddr("fd20::3"))
	v := vpn.View{ID: l.ID, Rev: vpn.Revision{Epoch: 1, Number: 5}, Location: &l, Devices: []peer.Device{d, dev(0, l.ID)}}
	face := gateway.Interface{
		Key: secret, Port: 51820, MTU: 1420, Mark: 7,
		Addrs:      []netip.Prefix{netip.MustParsePrefix("10.20.0.1/16"), netip.MustParsePrefix("fd20::1/64")},
		Masquerade: []netip.Prefix{netip.MustParsePrefix("10.20.0.0/16"), netip.MustParsePrefix("fd20::/64")},
	}
	one := gateway.Peer{Key: key(1), AllowedIPs: []netip.Prefix{
		netip.MustParsePrefix("10.9.0.0/24"), netip.MustParsePrefix("10.20.0.3/32"), netip.MustParsePrefix("fd20::3/128"),
	}}
	zero := gateway.Peer{Key: key(0), AllowedIPs: []netip.Prefix{netip.MustParsePrefix("10.20.0.2/32")}}
	whole := gateway.Config{Revision: v.Rev, Interface: face, Peers: []gateway.Peer{zero, one}}
	nothing := gateway.Config{Revision: v.Rev}
	otherKey := office(seal.Ephemeral())

	for name, c := range map[string]struct {
		edit func(v *vpn.View, l *loc, d *peer.Device)
		want gateway.Config
		err  string
	}{
		"as it is": {func(*vpn.View, *loc, *peer.Device) {}, whole, ""},
		"no location": {func(v *vpn.View, _ *loc, _ *peer.Device) {
			v.Location = nil
		}, nothing, ""},
		"a zero location":     {func(_ *vpn.View, l *loc, _ *peer.Device) { *l = loc{} }, nothing, ""},
		"a disabled location": {func(_ *vpn.View, l *loc, _ *peer.Device) { l.Disabled = true }, nothing, ""},
		"a disabled location needs no key": {func(_ *vpn.View, l *loc, _ *peer.Device) {
			l.Disabled, l.Key = true, "rubbish"
		}, nothing, ""},
		"a key of another ring": {func(_ *vpn.View, l *loc, _ *peer.Device) {
			l.Key, l.PublicKey = otherKey.Key, otherKey.PublicKey
		}, nothing, `vpn: project location "office": location: open the key of "office": seal: unreadable`},
		"a key moved from another row": {func(_ *vpn.View, l *loc, _ *peer.Device) {
			raw := secret.Reveal()
			l.Key = keys.Seal(raw[:], "location/home/key")
		}, nothing, "unreadable"},
		"another public key": {func(_ *vpn.View, l *loc, _ *peer.Device) { l.PublicKey = key(3) }, nothing, "does not belong"},
		"an inner side of newer software": {func(_ *vpn.View, l *loc, _ *peer.Device) {
			l.Inner = "carried"
		}, nothing, `does not know what Inner "carried" means`},
		"a later view": {func(v *vpn.View, _ *loc, _ *peer.Device) {
			v.Since = vpn.Revision{Epoch: 1, Number: 4}
		}, nothing, "only what changed since"},
		"routed": {func(_ *vpn.View, l *loc, _ *peer.Device) { l.Inner = "routed" }, with(whole, func(c *gateway.Config) {
			c.Interface.Masquerade = nil
		}), ""},
		"snat": {func(_ *vpn.View, l *loc, _ *peer.Device) { l.Inner = "snat" }, whole, ""},
		"isolated": {func(_ *vpn.View, l *loc, _ *peer.Device) { l.Isolated = true }, with(whole, func(c *gateway.Config) {
			c.Interface.Isolated = true
		}), ""},
		"destinations, and resolvers with them": {func(_ *vpn.View, l *loc, _ *peer.Device) {
			l.Destinations = prefixes("fd60::/64", "10.60.0.0/16")
			l.DNS = []netip.Addr{
				netip.MustParseAddr("2001:db8::53"), netip.MustParseAddr("9.9.9.9"), netip.MustParseAddr("9.9.9.9"),
				netip.MustParseAddr("10.60.0.53"),
			}
		}, with(whole, func(c *gateway.Config) {
			c.Interface.Destinations = prefixes("9.9.9.9/32", "10.60.0.0/16", "2001:db8::53/128", "fd60::/64")
		}), ""},
		"resolvers alone restrict nothing": {func(_ *vpn.View, l *loc, _ *peer.Device) {
			l.DNS = []netip.Addr{netip.MustParseAddr("10.60.0.53")}
		}, whole, ""},
		"another gateway address": {func(_ *vpn.View, l *loc, _ *peer.Device) {
			l.Gateway = []netip.Addr{netip.MustParseAddr("10.20.0.9")}
		}, with(whole, func(c *gateway.Config) { c.Interface.Addrs[0] = netip.MustParsePrefix("10.20.0.9/16") }), ""},
		"a disabled device": {func(_ *vpn.View, _ *loc, d *peer.Device) { d.Disabled = true }, with(whole, without(key(1))), ""},
		"a disabled owner": {func(_ *vpn.View, _ *loc, d *peer.Device) {
			d.Standing.Disabled = true
		}, with(whole, without(key(1))), ""},
		"a disabled place": {func(_ *vpn.View, _ *loc, d *peer.Device) {
			d.Peers[0].Disabled = true
		}, with(whole, without(key(1))), ""},
		"a place elsewhere": {func(_ *vpn.View, _ *loc, d *peer.Device) {
			d.Peers[0].Location = "home"
		}, with(whole, without(key(1))), ""},
		"no place":      {func(_ *vpn.View, _ *loc, d *peer.Device) { d.Peers = nil }, with(whole, without(key(1))), ""},
		"no key":        {func(_ *vpn.View, _ *loc, d *peer.Device) { d.Key = wgkey.Public{} }, with(whole, without(key(1))), ""},
		"a gone device": {func(_ *vpn.View, _ *loc, d *peer.Device) { *d = peer.Device{ID: d.ID} }, with(whole, without(key(1))), ""},
	} {
		t.Run(name, func(t *testing.T) {
			v, l := v, l.Clone()
			v.Location, v.Devices = &l, []peer.Device{d.Clone(), v.Devices[1].Clone()}
			c.edit(&v, &l, &v.Devices[0])
			before := copyOf(v)
			got, err := vpn.Project(v, keys, noon)
			if c.err == "" {
				require.NoError(t, err)
			} else {
				require.ErrorContains(t, err, c.err)
			}
			require.True(t, c.want.Equal(got), "want %v\n got %v", c.want, got)
			require.Empty(t, viewDiff(before, v), "the View stays as it was")
			if !got.Interface.IsZero() {
				require.NoError(t, got.Validate())
			}
		})
	}
}

func prefixes(list ...string) []netip.Prefix {
	out := make([]netip.Prefix, len(list))
	for i, s := range list {
		out[i] = netip.MustParsePrefix(s)
	}
	return out
}

func with(c gateway.Config, edit func(*gateway.Config)) gateway.Config {
	c = c.Clone()
	edit(&c)
	return c
}

func without(k wgkey.Public) func(*gateway.Config) {
	return func(c *gateway.Config) {
		c.Peers = slices.DeleteFunc(c.Peers, func(p gateway.Peer) bool { return p.Key == k })
	}
}

func copyOf(v vpn.View) vpn.View {
	if v.Location != nil {
		l := v.Location.Clone()
		v.Location = &l
	}
	v.Devices = slices.Clone(v.Devices)
	for i := range v.Devices {
		v.Devices[i] = v.Devices[i].Clone()
	}
	return v
}

func viewDiff(a, b vpn.View) string {
	return cmp.Diff(a, b, cmpopts.EquateComparable(netip.Addr{}, netip.Prefix{}))
}

// A field of the domain that Project forgets is a rule that no gateway keeps.
// Each has to be named here.
func TestProjectKnowsEveryField(t *testing.T) {
	known := map[reflect.Type]string{
		reflect.TypeFor[location.Location](): "ID Networks Gateway Port MTU Mark Inner Destinations Isolated DNS Disabled PublicKey Key" +
			" | Rev Name Reserved AllowOverlap Host Search AllowedIPs ClientKeepalive", // for clients, people and stores
		reflect.TypeFor[peer.Device]():   "ID Key Disabled Standing Peers | Name Owner",
		reflect.TypeFor[peer.Standing](): "Disabled | Groups",
		reflect.TypeFor[peer.Peer]():     "Location Disabled Addrs Routes | Rev",
		reflect.TypeFor[vpn.View]():      "ID Since Rev Location Devices |",
	}
	for of, fields := range known {
		for f := range of.Fields() {
			require.Contains(t, " "+fields+" ", " "+f.Name+" ", "%v.%s: say here whether Project needs it", of, f.Name)
		}
	}
}

// chooser makes a history: rapid's, which shrinks, or a random one.
type chooser func(n int) int

// random is a chooser without rapid.
func random(seed uint64) chooser {
	r := rand.New(rand.NewPCG(seed, 0))
	return r.IntN
}

// meddle changes something in a store: of one location, "office", and of few
// devices, so that much happens to each.
func meddle(ctx context.Context, s vpn.Stores, keys *seal.Keyring, pick chooser) error {
	var err error
	switch n := pick(20); {
	case n < 5:
		_, err = s.Locations().Update(ctx, "office", func(l *location.Location) error {
			switch pick(9) {
			case 8:
				if l.ID != "" {
					l.Destinations, l.Isolated = prefixes("10.60.0.0/16", "fd60::/64")[:pick(3)], pick(2) == 0
					l.DNS = []netip.Addr{addr(pick(3))}
				}
			case 0:
				*l = location.Location{}
			case 1:
				*l = office(seal.Ephemeral()) // nobody reads it
			case 2:
				l.Disabled = !l.Disabled && l.ID != ""
			case 3:
				if l.ID != "" {
					l.MTU = 1300 + pick(5)
				}
			case 4:
				if l.ID != "" {
					l.Name = fmt.Sprint("office ", pick(5))
				}
			default:
				*l = office(keys)
			}
			return nil
		})
	case n < 8:
		_, err = s.Devices().Update(ctx, dev(pick(4)).ID, func(d *peer.Device) error {
			*d = peer.Device{}
			return nil
		})
	default:
		i := pick(4)
		_, err = s.Devices().Update(ctx, dev(i).ID, func(d *peer.Device) error {
			at := []location.ID{"office", "home"}[:pick(3)]
			*d = dev(i, at...)
			d.Key, d.Disabled, d.Standing.Disabled = key(pick(5)), pick(5) == 0, pick(7) == 0
			for i := range d.Peers {
				d.Peers[i].Addrs[0] = addr(pick(5))
				d.Peers[i].Disabled = pick(5) == 0
			}
			return nil
		})
		if err != nil { // taken: by another one of the few
			err = nil
		}
	}
	return err
}

// sameUpdate has cmp compare updates: secrets are comparable, and no list is an
// empty one.
var sameUpdate = cmp.Options{cmpopts.EquateEmpty(), cmpopts.EquateComparable(netip.Prefix{}, netip.AddrPort{}, wgkey.Private{}, wgkey.Preshared{})}

// follow has a Projection follow a history, with a reader of its updates, and
// says where it parts from Project. fault, if it is not nil, changes what the
// Projection gets to see, and what the reader does.
func follow(ctx context.Context, pick chooser, steps int, fault func(*vpn.View, *gateway.Update)) error {
	keys := seal.Ephemeral()
	s := memstore.New()
	p := vpn.NewProjection("office", keys)
	var reader gateway.Config
	for range steps {
		for range 1 + pick(3) {
			if err := meddle(ctx, s, keys, pick); err != nil {
				return err
			}
		}
		if pick(40) == 0 {
			s = memstore.New() // a restored backup, or a new database
		}
		after := p.Revision()
		if pick(8) == 0 {
			after = vpn.Revision{}
		}
		v, err := s.Feed().View(ctx, "office", after)
		if err != nil {
			return err
		}
		now, before := copyOf(v), p.Config()
		if fault != nil {
			fault(&now, nil)
		}
		u, err := p.Apply(now, noon)
		if err != nil {
			return err
		}
		if exact := p.Config().Since(before); before.Revision.Epoch == v.Rev.Epoch && !cmp.Equal(exact, u, sameUpdate) {
			return fmt.Errorf("the update is not exactly what changed:\n%s", cmp.Diff(exact, u, sameUpdate))
		}
		if u.From.IsZero() != (before.Revision.Epoch != v.Rev.Epoch) {
			return fmt.Errorf("from %v to %v: the update is from %v", before.Revision, v.Rev, u.From)
		}
		if fault != nil {
			fault(nil, &u)
		}
		if reader, err = reader.Apply(u); err != nil {
			return err
		}
		whole, err := s.Feed().View(ctx, "office", vpn.Revision{})
		if err != nil {
			return err
		}
		want, problem := vpn.Project(whole, keys, noon)
		switch got := p.Config(); {
		case !got.Equal(want):
			return fmt.Errorf("the Projection has\n%v\nProject says\n%v", got, want)
		case !reader.Equal(want):
			return fmt.Errorf("a reader of its updates has\n%v\nProject says\n%v", reader, want)
		case fmt.Sprint(problem) != fmt.Sprint(p.Err()):
			return fmt.Errorf("the Projection says %w, Project %w", p.Err(), problem)
		case p.Revision() != whole.Rev:
			return fmt.Errorf("the Projection is at %v, the store at %v", p.Revision(), whole.Rev)
		}
	}
	return nil
}

// proves P1: what gateways are told, change by change, is what Project says.
func TestProjectionIsProject(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		pick := func(n int) int { return rapid.IntRange(0, n-1).Draw(t, "pick") }
		require.NoError(t, follow(t.Context(), pick, rapid.IntRange(1, 30).Draw(t, "steps"), nil))
	})
}

// The same with longer histories.
func TestProjectionIsProjectForLong(t *testing.T) {
	for seed := range uint64(8) {
		require.NoError(t, follow(t.Context(), random(seed+100), 200, nil), "seed %d", seed+100)
	}
}

func TestTheComparisonNoticesFaults(t *testing.T) {
	gone := func(d peer.Device) bool { _, here := d.At("office"); return !here }
	for name, fault := range map[string]func(*vpn.View, *gateway.Update){
		"none": func(*vpn.View, *gateway.Update) {},
		"removals are lost": func(v *vpn.View, _ *gateway.Update) {
			if v != nil && !v.Since.IsZero() {
				v.Devices = slices.DeleteFunc(v.Devices, gone)
			}
		},
		"disabling is not seen": func(v *vpn.View, _ *gateway.Update) {
			if v != nil {
				for i := range v.Devices {
					v.Devices[i].Disabled = false
				}
			}
		},
		"locations are not seen later": func(v *vpn.View, _ *gateway.Update) {
			if v != nil && !v.Since.IsZero() {
				v.Location = nil
			}
		},
		"the reader removes nobody": func(_ *vpn.View, u *gateway.Update) {
			if u != nil {
				u.Remove = nil
			}
		},
		"the reader sets nobody again": func(_ *vpn.View, u *gateway.Update) {
			if u != nil && !u.From.IsZero() {
				u.Set = nil
			}
		},
		"the reader keeps its interface": func(_ *vpn.View, u *gateway.Update) {
			if u != nil && !u.From.IsZero() {
				u.Interface = nil
			}
		},
	} {
		t.Run(name, func(t *testing.T) {
			noticed := 0
			for seed := range uint64(10) {
				if follow(t.Context(), random(seed), 60, fault) != nil {
					noticed++
				}
			}
			if name == "none" {
				require.Zero(t, noticed)
			} else {
				require.Greater(t, noticed, 5)
			}
		})
	}
}

func TestProjectionRefusesWhatDoesNotFit(t *testing.T) {
	keys := seal.Ephemeral()
	l := office(keys)
	p := vpn.NewProjection("office", keys)
	_, err := p.Apply(vpn.View{ID: "home"}, noon)
	require.ErrorContains(t, err, `a View of location "home" for the Projection of "office"`)
	u, err := p.Apply(vpn.View{ID: "office", Rev: vpn.Revision{Epoch: 1, Number: 3}, Location: &l}, noon)
	require.NoError(t, err)
	require.Equal(t, vpn.Revision{}, u.From)
	was := p.Config()
	_, err = p.Apply(vpn.View{ID: "office", Since: vpn.Revision{Epoch: 1, Number: 4}, Rev: vpn.Revision{Epoch: 1, Number: 5}}, noon)
	require.ErrorIs(t, err, gateway.ErrGap)
	require.True(t, was.Equal(p.Config()), "nothing changed")
}

func TestAKeyThatMovesIsNotRemoved(t *testing.T) {
	keys := seal.Ephemeral()
	l := office(keys)
	p := vpn.NewProjection("office", keys)
	rev := func(n uint64) vpn.Revision { return vpn.Revision{Epoch: 1, Number: n} }
	_, err := p.Apply(vpn.View{ID: "office", Rev: rev(1), Location: &l, Devices: []peer.Device{dev(1, "office"), dev(2, "office")}}, noon)
	require.NoError(t, err)
	a, b := dev(1, "office"), dev(2, "office")
	a.Key, b.Key = key(3), a.Key // 2 takes over the key of 1, which has a new one
	u, err := p.Apply(vpn.View{ID: "office", Since: rev(1), Rev: rev(2), Devices: []peer.Device{a, b}}, noon)
	require.NoError(t, err)
	require.Nil(t, u.Interface)
	require.Equal(t, []wgkey.Public{key(2)}, u.Remove)
	require.Len(t, u.Set, 2)
}

func TestUpdatesShareNoMemoryWithTheProjection(t *testing.T) {
	keys := seal.Ephemeral()
	l := office(keys)
	p := vpn.NewProjection("office", keys)
	u, err := p.Apply(vpn.View{ID: "office", Rev: vpn.Revision{Epoch: 1, Number: 1}, Location: &l, Devices: []peer.Device{dev(1, "office")}}, noon)
	require.NoError(t, err)
	was := p.Config()
	u.Set[0].AllowedIPs[0] = netip.MustParsePrefix("0.0.0.0/0")
	u.Interface.Addrs[0] = netip.MustParsePrefix("0.0.0.0/0")
	c := p.Config()
	c.Peers[0].AllowedIPs[0] = netip.MustParsePrefix("0.0.0.0/0")
	c.Interface.Masquerade[0] = netip.MustParsePrefix("0.0.0.0/0")
	require.True(t, was.Equal(p.Config()))
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
