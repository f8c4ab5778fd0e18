package vpn_test

import (
	"context"
	"fmt"
	"math/rand/v2"
	"net/netip"
	"slices"
	"testing"

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
			switch pick(10) {
			case 9:
				if l.ID != "" {
					l.Floating, l.Mark = someAddrs(pick), uint32(7*pick(2))
					l.InnerFloating = addrs("10.60.0.9", "fd60::9")[:pick(3)]
				}
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
				l.Floating = someAddrs(pick)
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

func someAddrs(pick chooser) []netip.Addr {
	return addrs("2001:db8::9", "192.0.2.10", "192.0.2.9")[pick(4):]
}

// sameUpdate has cmp compare updates: secrets are comparable, and no list is an
// empty one.
var sameUpdate = cmp.Options{cmpopts.EquateEmpty(), cmpopts.EquateComparable(netip.Addr{}, netip.Prefix{}, netip.AddrPort{}, wgkey.Private{}, wgkey.Preshared{})}

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
		"floating addresses are not seen": func(v *vpn.View, _ *gateway.Update) {
			if v != nil && v.Location != nil {
				v.Location.Floating = nil
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
	l.Floating, l.InnerFloating = addrs("192.0.2.9"), addrs("10.60.0.9")
	p := vpn.NewProjection("office", keys)
	u, err := p.Apply(vpn.View{ID: "office", Rev: vpn.Revision{Epoch: 1, Number: 1}, Location: &l, Devices: []peer.Device{dev(1, "office")}}, noon)
	require.NoError(t, err)
	was := p.Config()
	u.Set[0].AllowedIPs[0] = netip.MustParsePrefix("0.0.0.0/0")
	u.Interface.Addrs[0] = netip.MustParsePrefix("0.0.0.0/0")
	c := p.Config()
	c.Peers[0].AllowedIPs[0] = netip.MustParsePrefix("0.0.0.0/0")
	c.Interface.Masquerade[0] = netip.MustParsePrefix("0.0.0.0/0")
	c.Interface.Floating[0] = netip.MustParseAddr("0.0.0.0")
	u.Interface.Floating[0] = netip.MustParseAddr("0.0.0.0")
	c.Interface.Inner[0] = netip.MustParseAddr("0.0.0.0")
	u.Interface.Inner[0] = netip.MustParseAddr("0.0.0.0")
	require.True(t, was.Equal(p.Config()))
}
