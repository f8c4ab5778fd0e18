package location_test

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/holdfastvpn/holdfast/location"
	"github.com/holdfastvpn/holdfast/location/locationtest"
	"github.com/holdfastvpn/holdfast/vpn/seal"
	"github.com/holdfastvpn/holdfast/vpn/wgkey"
)

func service(t *testing.T, store location.Store, keys *seal.Keyring) *location.Service {
	t.Helper()
	s, err := location.NewService(location.ServiceConfig{Store: store, Keys: keys})
	require.NoError(t, err)
	return s
}

func office(networks ...string) location.Location {
	return location.Location{Name: "office", Host: "vpn.example.org", Networks: prefixes(networks...)}
}

func named(name string, networks ...string) location.Location {
	l := office(networks...)
	l.Name = name
	return l
}

// requireField checks that err names a field and says something.
func requireField(t *testing.T, err error, field, reason string) {
	t.Helper()
	var got *location.FieldError
	require.ErrorAs(t, err, &got)
	require.Equal(t, field, got.Field)
	require.Contains(t, got.Reason, reason)
}

func TestNewServiceNamesWhatIsMissing(t *testing.T) {
	_, err := location.NewService(location.ServiceConfig{Keys: seal.Ephemeral()})
	require.EqualError(t, err, "location: new service: Store is missing")
	_, err = location.NewService(location.ServiceConfig{Store: locationtest.NewStore()})
	require.EqualError(t, err, "location: new service: Keys is missing")
}

func TestCreate(t *testing.T) {
	store := locationtest.NewStore()
	s := service(t, store, seal.Ephemeral())
	l, err := s.Create(t.Context(), office("10.20.0.0/16", "fd20::/64"))
	require.NoError(t, err)
	require.Regexp(t, "^[a-z][a-z2-7]{25}$", string(l.ID))
	require.Equal(t, uint16(51820), l.Port)
	require.Equal(t, 1420, l.MTU)
	require.Equal(t, 25*time.Second, l.ClientKeepalive)
	require.Equal(t, location.SNAT, l.Inner)
	require.False(t, l.PublicKey.IsZero())

	key, err := s.Reveal(l)
	require.NoError(t, err)
	require.Equal(t, l.PublicKey, key.Public())

	saved, err := s.Get(t.Context(), l.ID)
	require.NoError(t, err)
	require.Equal(t, l, saved)
	require.NotContains(t, fmt.Sprintf("%+v", saved), key.RevealText())

	again, err := s.Create(t.Context(), named("branch", "10.21.0.0/16"))
	require.NoError(t, err)
	require.NotEqual(t, l.ID, again.ID)
	require.NotEqual(t, l.PublicKey, again.PublicKey)
	all, err := s.List(t.Context())
	require.NoError(t, err)
	require.Len(t, all, 2)
}

func TestCreateTakesNothingFromTheCaller(t *testing.T) {
	s := service(t, locationtest.NewStore(), seal.Ephemeral())
	in := office("10.20.0.0/16")
	l, err := s.Create(t.Context(), in)
	require.NoError(t, err)
	in.Networks[0] = prefixes("10.99.0.0/16")[0]
	saved, err := s.Get(t.Context(), l.ID)
	require.NoError(t, err)
	require.Equal(t, prefixes("10.20.0.0/16"), saved.Networks)
}

func TestImportKeepsTheKey(t *testing.T) {
	s := service(t, locationtest.NewStore(), seal.Ephemeral())
	key := wgkey.NewPrivate()
	l, err := s.Import(t.Context(), office("10.20.0.0/16"), key)
	require.NoError(t, err)
	require.Equal(t, key.Public(), l.PublicKey)
	got, err := s.Reveal(l)
	require.NoError(t, err)
	require.Equal(t, key, got)

	_, err = s.Import(t.Context(), named("branch", "10.21.0.0/16"), wgkey.Private{})
	require.EqualError(t, err, `location: import "branch": the private key is missing`)
}

func TestCreateRefuses(t *testing.T) {
	store := locationtest.NewStore()
	s := service(t, store, seal.Ephemeral())
	_, err := s.Create(t.Context(), office("10.20.0.5/16"))
	requireField(t, err, "Networks[0]", "write 10.20.0.0/16")
	require.ErrorContains(t, err, `location: create "office": Networks[0]: `)

	for _, l := range []location.Location{
		{ID: "mine"}, {PublicKey: wgkey.Public{1}}, {Key: "x"},
	} {
		l.Name, l.Host, l.Networks = "office", "vpn.example.org", prefixes("10.20.0.0/16")
		_, err = s.Create(t.Context(), l)
		requireField(t, err, "ID", "leave them empty")
	}
	all, err := store.List(t.Context())
	require.NoError(t, err)
	require.Empty(t, all, "nothing was saved")

	_, err = s.Create(t.Context(), office("10.20.0.0/16"))
	require.NoError(t, err)
	_, err = s.Create(t.Context(), office("10.21.0.0/16"))
	require.ErrorIs(t, err, location.ErrExists)
	requireField(t, err, "Name", `"office" belongs to another location: choose another name`)
}

func TestNetworksMayNotOverlapThoseOfOtherLocations(t *testing.T) {
	s := service(t, locationtest.NewStore(), seal.Ephemeral())
	a, err := s.Create(t.Context(), named("a", "10.20.0.0/16", "fd20::/64"))
	require.NoError(t, err)
	for _, network := range []string{"10.20.0.0/16", "10.20.7.0/24", "10.0.0.0/8", "fd20::/64", "fd20::/48"} {
		_, err = s.Create(t.Context(), named("b", "192.168.0.0/24", network))
		require.ErrorIs(t, err, location.ErrOverlap)
		requireField(t, err, "Networks[1]", `of location "a": choose another network, or set AllowOverlap`)
	}

	asks := named("asks", "10.20.7.0/24")
	asks.AllowOverlap = true
	asks, err = s.Create(t.Context(), asks)
	require.NoError(t, err, "one that asks may")
	_, err = s.Create(t.Context(), named("c", "10.20.7.0/25"))
	require.ErrorIs(t, err, location.ErrOverlap, "that another one asked does not help")
	both := named("both", "10.20.7.0/25")
	both.AllowOverlap = true
	_, err = s.Create(t.Context(), both)
	require.NoError(t, err)

	// The one that was there first goes on as before.
	a, err = s.Update(t.Context(), a.ID, func(l *location.Location) error { l.MTU = 1300; return nil })
	require.NoError(t, err)
	_, err = s.Update(t.Context(), a.ID, func(l *location.Location) error {
		l.Networks = append(l.Networks, prefixes("10.21.0.0/16")...)
		return nil
	})
	require.ErrorIs(t, err, location.ErrOverlap, "but when its networks change they are compared")
	_, err = s.Update(t.Context(), asks.ID, func(l *location.Location) error { l.AllowOverlap = false; return nil })
	require.ErrorIs(t, err, location.ErrOverlap, "and so they are when it asks no more")
	require.Equal(t, 1300, a.MTU)
	_, err = s.Update(t.Context(), a.ID, func(l *location.Location) error {
		l.Networks = prefixes("10.20.0.0/17", "172.16.0.0/12")
		return nil
	})
	require.ErrorIs(t, err, location.ErrOverlap, "with both, who asked")
	require.NoError(t, s.Delete(t.Context(), a.ID))

	// Of two that asked, none claims anything: the service alone sees that one
	// asks no more.
	_, err = s.Update(t.Context(), asks.ID, func(l *location.Location) error { l.AllowOverlap = false; return nil })
	require.ErrorIs(t, err, location.ErrOverlap)
	requireField(t, err, "Networks[0]", `of location "both"`)
}

// Where addresses float a mark is one location's alone, whoever has it first.
func TestMarksAreNotShared(t *testing.T) {
	s := service(t, locationtest.NewStore(), seal.Ephemeral())
	n := 0
	add := func(mark uint32, port uint16, floating ...string) (location.Location, error) {
		n++
		l := named(fmt.Sprintf("l%d", n), fmt.Sprintf("10.%d.0.0/16", n))
		l.Mark, l.Port, l.Floating = mark, port, addrs(floating...)
		return s.Create(t.Context(), l)
	}
	_, err := add(7, 1, "192.0.2.1")
	require.NoError(t, err)
	plain, err := add(8, 2)
	require.NoError(t, err)
	ours, err := add(0, 3, "192.0.2.3")
	require.NoError(t, err)
	for mark, of := range map[uint32]string{7: "l1", 8: "l2", ours.FirewallMark(): "l3"} {
		_, err = add(mark, 9, "192.0.2.9")
		requireField(t, err, "Mark", fmt.Sprintf("%#x is also that of location %q", mark, of))
		require.ErrorContains(t, err, "or 0 for one of ours")
	}
	_, err = add(7, 9)
	requireField(t, err, "Mark", `of location "l1"`)
	_, err = add(8, 9)
	require.NoError(t, err, "where nothing floats they may be shared")
	_, err = add(0, 3, "192.0.2.4")
	require.NoError(t, err, "they have the same port, so they are not on one machine")

	float := func(l *location.Location) error { l.Floating = addrs("192.0.2.8"); return nil }
	_, err = s.Update(t.Context(), plain.ID, float)
	requireField(t, err, "Mark", "0x8 is also that of location")
	_, err = s.Update(t.Context(), plain.ID, func(l *location.Location) error { l.Mark = 9; return float(l) })
	require.NoError(t, err)
	_, err = s.Update(t.Context(), plain.ID, func(l *location.Location) error { l.Mark = 7; return nil })
	requireField(t, err, "Mark", `of location "l1"`)
}

func TestALocationDoesNotOverlapItself(t *testing.T) {
	s := service(t, locationtest.NewStore(), seal.Ephemeral())
	l, err := s.Create(t.Context(), office("10.20.0.0/16"))
	require.NoError(t, err)
	for _, networks := range [][]string{{"10.20.0.0/17"}, {"10.0.0.0/8"}, {"10.21.0.0/16", "10.20.0.0/16"}} {
		_, err = s.Update(t.Context(), l.ID, func(l *location.Location) error { l.Networks = prefixes(networks...); return nil })
		require.NoError(t, err, networks)
	}
}

func TestUpdate(t *testing.T) {
	s := service(t, locationtest.NewStore(), seal.Ephemeral())
	l, err := s.Create(t.Context(), office("10.20.0.0/16"))
	require.NoError(t, err)

	up, err := s.Update(t.Context(), l.ID, func(l *location.Location) error {
		l.Name, l.MTU, l.Port = "head office", 1380, 0
		l.Rev = 99
		return nil
	})
	require.NoError(t, err)
	require.Equal(t, "head office", up.Name)
	require.Equal(t, 1380, up.MTU)
	require.Equal(t, uint16(location.DefaultPort), up.Port, "zero is the default here too")
	require.Less(t, up.Rev, uint64(99), "the store's business")
	_, err = s.Reveal(up)
	require.NoError(t, err)

	for field, edit := range map[string]func(*location.Location){
		"ID":        func(l *location.Location) { l.ID = "another" },
		"PublicKey": func(l *location.Location) { l.PublicKey = wgkey.NewPrivate().Public() },
		"Key":       func(l *location.Location) { l.Key = "x" },
		"MTU":       func(l *location.Location) { l.MTU = 1 },
		"Name":      func(l *location.Location) { l.Name = "" },
	} {
		_, err = s.Update(t.Context(), l.ID, func(l *location.Location) error { edit(l); return nil })
		requireField(t, err, field, "")
	}
	_, err = s.Update(t.Context(), l.ID, func(l *location.Location) error { *l = location.Location{}; return nil })
	requireField(t, err, "ID", "Delete removes a location")

	mine := errors.New("mine")
	_, err = s.Update(t.Context(), l.ID, func(l *location.Location) error { l.MTU = 1400; return mine })
	require.ErrorIs(t, err, mine)
	_, err = s.Update(t.Context(), "absent", func(l *location.Location) error { *l = up; return nil })
	require.ErrorIs(t, err, location.ErrNotFound)
	require.ErrorContains(t, err, `location: update "absent": `)

	now, err := s.Get(t.Context(), l.ID)
	require.NoError(t, err)
	require.Equal(t, up, now, "what was refused changed nothing")
}

func TestDelete(t *testing.T) {
	s := service(t, locationtest.NewStore(), seal.Ephemeral())
	l, err := s.Create(t.Context(), office("10.20.0.0/16"))
	require.NoError(t, err)
	require.NoError(t, s.Delete(t.Context(), l.ID))
	require.NoError(t, s.Delete(t.Context(), l.ID), "a second time")
	_, err = s.Get(t.Context(), l.ID)
	require.ErrorIs(t, err, location.ErrNotFound)
	again, err := s.Create(t.Context(), office("10.20.0.0/16"))
	require.NoError(t, err, "name and networks are free")
	require.NotEqual(t, l.ID, again.ID)
}

// proves P15: a sealed key opens in its own row only, with the right ring only.
func TestRevealRefuses(t *testing.T) {
	store := locationtest.NewStore()
	keys := seal.Ephemeral()
	s := service(t, store, keys)
	a, err := s.Create(t.Context(), named("a", "10.20.0.0/16"))
	require.NoError(t, err)
	b, err := s.Create(t.Context(), named("b", "10.21.0.0/16"))
	require.NoError(t, err)
	secret, err := s.Reveal(a)
	require.NoError(t, err)

	moved := b
	moved.Key = a.Key
	swapped := a
	swapped.PublicKey = b.PublicKey
	short := a
	short.Key = keys.Seal([]byte("short"), a.KeyBound())
	for name, l := range map[string]location.Location{"moved": moved, "swapped": swapped, "short": short, "zero": {}} {
		_, err = s.Reveal(l)
		require.ErrorIs(t, err, seal.ErrUnreadable, name)
		require.NotContains(t, err.Error(), secret.RevealText())
	}
	_, err = a.Reveal(seal.Ephemeral())
	require.ErrorIs(t, err, seal.ErrUnreadable)
	require.ErrorContains(t, err, `location: open the key of "a"`)
}

// late is a store whose list is old: what races with a Create is not in it.
type late struct{ location.Store }

func (late) List(context.Context) ([]location.Location, error) { return nil, nil }

// proves P10: what the service cannot see in time, the store's claims refuse.
func TestClaimsGuardAgainstRaces(t *testing.T) {
	store := locationtest.NewStore()
	_, err := service(t, store, seal.Ephemeral()).Create(t.Context(), office("10.20.0.0/16"))
	require.NoError(t, err)
	s := service(t, late{store}, seal.Ephemeral())
	_, err = s.Create(t.Context(), named("b", "10.20.7.0/24"))
	require.ErrorIs(t, err, location.ErrOverlap)
	_, err = s.Create(t.Context(), named("office", "10.21.0.0/16"))
	require.ErrorIs(t, err, location.ErrExists)
}

// proves P10: of many that want a network at once, one gets it.
func TestParallelCreatesHaveOneWinner(t *testing.T) {
	store := locationtest.NewStore()
	for round := range 10 {
		var wg sync.WaitGroup
		var mu sync.Mutex
		won := 0
		for i := range 16 {
			s := service(t, store, seal.Ephemeral())
			wg.Go(func() {
				_, err := s.Create(t.Context(), named(fmt.Sprint(round, "-", i), fmt.Sprintf("10.%d.0.0/%d", round, 16+i%8)))
				mu.Lock()
				defer mu.Unlock()
				if err == nil {
					won++
				} else if !errors.Is(err, location.ErrOverlap) || !strings.Contains(err.Error(), "of location") {
					t.Errorf("the loser is told whom it met: %v", err)
				}
			})
		}
		wg.Wait()
		require.Equal(t, 1, won)
	}
}

func TestErrorsOfTheStoreComeThrough(t *testing.T) {
	s := service(t, locationtest.NewStore(), seal.Ephemeral())
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	_, err := s.Create(ctx, office("10.20.0.0/16"))
	require.ErrorIs(t, err, context.Canceled)
	_, err = s.Get(ctx, "a")
	require.ErrorIs(t, err, context.Canceled)
	require.ErrorContains(t, err, `location: get "a": `)
	_, err = s.List(ctx)
	require.ErrorIs(t, err, context.Canceled)
	_, err = s.Update(ctx, "a", func(*location.Location) error { return nil })
	require.ErrorIs(t, err, context.Canceled)
	require.ErrorIs(t, s.Delete(ctx, "a"), context.Canceled)
}

// A ring is rotated in three steps, and what cannot be opened is named and left.
func TestReseal(t *testing.T) {
	store := locationtest.NewStore()
	old, fresh := seal.NewKey(), seal.NewKey()
	keys, err := seal.New(old)
	require.NoError(t, err)
	s := service(t, store, keys)
	secrets := map[location.ID]wgkey.Private{}
	for i, name := range []string{"a", "b", "c"} {
		l, err := s.Create(t.Context(), named(name, fmt.Sprintf("10.%d.0.0/16", 20+i)))
		require.NoError(t, err)
		secrets[l.ID], err = s.Reveal(l)
		require.NoError(t, err)
	}
	n, err := s.Reseal(t.Context())
	require.NoError(t, err)
	require.Zero(t, n)

	require.NoError(t, keys.Replace(fresh, old))
	all, err := s.List(t.Context())
	require.NoError(t, err)
	for _, l := range all {
		if l.Name == "b" {
			_, err = store.Update(t.Context(), l.ID, func(l *location.Location) error { l.Key = "hf1.damaged"; return nil })
			require.NoError(t, err)
		}
	}
	n, err = s.Reseal(t.Context())
	require.Equal(t, 2, n)
	require.ErrorIs(t, err, seal.ErrUnreadable)
	require.ErrorContains(t, err, `"b"`)

	require.NoError(t, keys.Replace(fresh))
	for _, l := range all {
		now, err := s.Get(t.Context(), l.ID)
		require.NoError(t, err)
		key, err := s.Reveal(now)
		if l.Name == "b" {
			require.ErrorIs(t, err, seal.ErrUnreadable)
			continue
		}
		require.NoError(t, err)
		require.Equal(t, secrets[l.ID], key)
	}
}
