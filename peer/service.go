package peer

import (
	"cmp"
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"sync"

	"github.com/holdfastvpn/holdfast/location"
	"github.com/holdfastvpn/holdfast/vpn/wgkey"
)

// ServiceConfig holds what NewService needs.
type ServiceConfig struct {
	Store     Store          // required
	Locations location.Store // required: where the places are; it is only read
	// Standing says what an owner's row says; the zero Standing for an owner
	// without one. With it, devices get their Standing from there when they are
	// added and when their owner changes, and what callers give is not used. nil:
	// as callers say.
	Standing func(ctx context.Context, owner string) (Standing, error)
}

// Service has the rules of devices on top of a Store. It is safe for concurrent
// use, and any number of them may stand on one store: what has to be unique is
// kept so by the store's claims, and a Service that meets one gives another
// address.
//
// Its errors begin with what was being done and to what. They are a *FieldError
// where a field is wrong, and ErrNotFound, ErrKeyTaken, ErrAddressTaken,
// ErrExhausted or location.ErrNotFound where a caller may want to branch.
type Service struct {
	store     Store
	locations location.Store
	standing  func(context.Context, string) (Standing, error) // nil: none

	mu         sync.Mutex
	allocators map[location.ID]*allocator // built when first used
}

// NewService checks c and makes a Service.
func NewService(c ServiceConfig) (*Service, error) {
	if c.Store == nil {
		return nil, errors.New("peer: new service: Store is missing")
	}
	if c.Locations == nil {
		return nil, errors.New("peer: new service: Locations is missing")
	}
	return &Service{
		store: c.Store, locations: c.Locations, standing: c.Standing,
		allocators: map[location.ID]*allocator{},
	}, nil
}

// NewDevice is what Add needs.
type NewDevice struct {
	Name     string // for people; 1 to 63 characters
	Owner    string // "" for network devices
	Key      wgkey.Public
	Disabled bool
	Standing Standing // as the owner's row says now; not used with ServiceConfig.Standing
	Places   []Place  // none is fine: see Service.Place
}

// Place is a device's place in a location, as it is asked for.
type Place struct {
	Location location.ID
	// Addrs are static addresses. None: the next free one of each family that
	// the location has or, when a place is changed, those that it has.
	Addrs    []netip.Addr
	Routes   []netip.Prefix // networks behind the peer
	Disabled bool
}

// Add adds a device with a new ID and returns it as saved.
func (s *Service) Add(ctx context.Context, n NewDevice) (Device, error) {
	saved, err := s.add(ctx, n)
	if err == nil {
		saved, err = s.heed(ctx, saved)
	}
	return saved, wrap("add", n.Name, err)
}

func (s *Service) add(ctx context.Context, n NewDevice) (Device, error) {
	d := Device{ID: newID(), Name: n.Name, Owner: n.Owner, Key: n.Key, Disabled: n.Disabled, Standing: n.Standing}.Clone()
	if err := d.Validate(); err != nil {
		return Device{}, err
	}
	if s.standing != nil {
		var err error
		if d.Standing, err = s.standingOf(ctx, d.Owner); err != nil {
			return Device{}, err
		}
	}
	spots := make([]spot, 0, len(n.Places))
	for i, p := range n.Places {
		field := fmt.Sprintf("Places[%d].", i)
		if slices.ContainsFunc(n.Places[:i], func(o Place) bool { return o.Location == p.Location }) {
			return Device{}, fieldf(field+"Location", "%s is there already: a device has one place in a location", p.Location)
		}
		at, err := s.spot(ctx, field, p)
		if err != nil {
			return Device{}, err
		}
		at.auto = len(p.Addrs) == 0
		spots = append(spots, at)
	}
	return s.allot(ctx, d.ID, spots, func(row *Device, peers []Peer) error {
		if row.ID != "" {
			return fmt.Errorf("the new id %s is taken", d.ID)
		}
		*row = d.Clone()
		for _, p := range peers {
			row.put(p)
		}
		return row.Validate()
	})
}

// Place gives a device a place in a location, or changes the one it has: Routes
// and Disabled become as in p, and so do Addrs unless p has none. It returns the
// device as saved.
func (s *Service) Place(ctx context.Context, id DeviceID, p Place) (Device, error) {
	saved, err := s.place(ctx, id, p)
	return saved, wrap("place", string(id), err)
}

func (s *Service) place(ctx context.Context, id DeviceID, p Place) (Device, error) {
	at, err := s.spot(ctx, "", p)
	if err != nil {
		return Device{}, err
	}
	for range attempts {
		d, err := s.store.Get(ctx, id)
		if err != nil {
			return Device{}, err
		}
		_, there := d.At(p.Location)
		at.auto = len(p.Addrs) == 0 && !there
		var old Peer
		saved, err := s.allot(ctx, id, []spot{at}, func(row *Device, peers []Peer) error {
			if row.ID == "" {
				return ErrNotFound
			}
			old, there = row.At(p.Location)
			old.Addrs = slices.Clone(old.Addrs)
			if len(p.Addrs) == 0 && there {
				peers[0].Addrs = slices.Clone(old.Addrs)
			}
			if len(peers[0].Addrs) == 0 {
				return errLeft
			}
			if err := peers[0].Fits(at.in); err != nil {
				return err
			}
			row.put(peers[0])
			return row.Validate()
		})
		if err == nil {
			now, _ := saved.At(p.Location)
			s.release(p.Location, slices.DeleteFunc(old.Addrs, func(a netip.Addr) bool { return slices.Contains(now.Addrs, a) }))
		}
		if !errors.Is(err, errLeft) {
			return saved, err
		}
	}
	return Device{}, errLeft
}

// errLeft says that a place was there when one looked, and is not any more: look
// again.
var errLeft = errors.New("peer: left the location meanwhile")

// Leave takes a device's place in a location away and returns the device as
// saved. It is no error if it has none.
func (s *Service) Leave(ctx context.Context, id DeviceID, at location.ID) (Device, error) {
	var old Peer
	saved, err := s.store.Update(ctx, id, func(row *Device) error {
		if row.ID == "" {
			return ErrNotFound
		}
		old, _ = row.Clone().At(at)
		row.Peers = slices.DeleteFunc(row.Peers, func(p Peer) bool { return p.Location == at })
		return nil
	})
	if err != nil {
		return Device{}, wrap("leave", string(id), err)
	}
	s.release(at, old.Addrs)
	return saved, nil
}

// Update changes a device and returns it as saved. edit may run more than once
// and depends on its argument alone; its error stops the update. It may change
// Name, Owner, Key, Disabled, Standing and the places' Disabled; all else about
// places is for Place and Leave. With ServiceConfig.Standing, Standing follows
// the owner.
func (s *Service) Update(ctx context.Context, id DeviceID, edit func(*Device) error) (Device, error) {
	var last Device
	var owner string // whose standing is known
	var standing Standing
	for {
		moved := false
		saved, err := s.store.Update(ctx, id, func(row *Device) error {
			if row.ID == "" {
				return ErrNotFound
			}
			old := row.Clone()
			if err := edit(row); err != nil {
				return err
			}
			last = row.Clone()
			if s.standing != nil {
				row.Standing = old.Standing
				if moved = row.Owner != old.Owner; moved {
					if row.Owner != owner {
						return errOwner
					}
					row.Standing = Device{Standing: standing}.Clone().Standing
				}
			}
			return admit(row, old)
		})
		switch {
		case errors.Is(err, errOwner):
			if owner = last.Owner; checkOwner(owner) == "" {
				standing, err = s.standingOf(ctx, owner)
			} else {
				err = nil // admit says what is wrong with it
			}
			if err == nil {
				continue
			}
		case err == nil && moved:
			saved, err = s.heed(ctx, saved)
		}
		if err != nil {
			return Device{}, wrap("update", cmp.Or(last.Name, string(id)), s.explainKey(ctx, last, err))
		}
		return saved, nil
	}
}

// admit checks what an edit made of old.
func admit(row *Device, old Device) error {
	if row.ID != old.ID {
		return fieldf("ID", "cannot change; Delete removes a device")
	}
	same := slices.EqualFunc(row.Peers, old.Peers, func(a, b Peer) bool {
		return a.Location == b.Location && slices.Equal(a.Addrs, b.Addrs) && slices.Equal(a.Routes, b.Routes)
	})
	if !same {
		return fieldf("Peers", "change with Place and Leave; here only their Disabled does")
	}
	for i := range row.Peers {
		row.Peers[i].Rev = old.Peers[i].Rev
	}
	return row.Validate()
}

// Disable takes a device off all gateways, and leaves its places as they are. It
// succeeds whatever else is in the row.
func (s *Service) Disable(ctx context.Context, id DeviceID) (Device, error) {
	saved, err := s.disabled(ctx, id, true)
	return saved, wrap("disable", string(id), err)
}

// Enable ends what Disable did. The device's places and its owner may be
// disabled all the same.
func (s *Service) Enable(ctx context.Context, id DeviceID) (Device, error) {
	saved, err := s.disabled(ctx, id, false)
	return saved, wrap("enable", string(id), err)
}

func (s *Service) disabled(ctx context.Context, id DeviceID, now bool) (Device, error) {
	return s.store.Update(ctx, id, func(row *Device) error {
		if row.ID == "" {
			return ErrNotFound
		}
		row.Disabled = now
		return nil
	})
}

// SetStanding copies what the owner's row says now into each of the owner's
// devices, and returns how many there are. Those that have it already are not
// written. A device that could not be written holds up no other; the error names
// them all.
func (s *Service) SetStanding(ctx context.Context, owner string, standing Standing) (int, error) {
	if owner == "" {
		return 0, wrap("set standing of", owner, fieldf("Owner", "is empty: devices without an owner have no standing"))
	}
	if err := standing.validate(); err != nil {
		return 0, wrap("set standing of", owner, err)
	}
	devices, err := s.store.List(ctx, Filter{Owner: owner})
	if err != nil {
		return 0, wrap("set standing of", owner, err)
	}
	var errs []error
	for _, d := range devices {
		if d.Standing.same(standing) {
			continue
		}
		if _, err := s.stand(ctx, d.ID, owner, standing); err != nil {
			errs = append(errs, fmt.Errorf("device %q: %w", d.Name, err))
		}
	}
	return len(devices), wrap("set standing of", owner, errors.Join(errs...))
}

// Delete removes a device with all its places. It is no error if it is not
// there.
func (s *Service) Delete(ctx context.Context, id DeviceID) error {
	var old Device
	_, err := s.store.Update(ctx, id, func(row *Device) error {
		old = row.Clone()
		*row = Device{}
		return nil
	})
	if err != nil {
		return wrap("delete", string(id), err)
	}
	for _, p := range old.Peers {
		s.release(p.Location, p.Addrs)
	}
	return nil
}

// Get returns a device, or ErrNotFound.
func (s *Service) Get(ctx context.Context, id DeviceID) (Device, error) {
	d, err := s.store.Get(ctx, id)
	return d, wrap("get", string(id), err)
}

// Find returns the device with that key, or ErrNotFound.
func (s *Service) Find(ctx context.Context, key wgkey.Public) (Device, error) {
	d, err := s.store.Find(ctx, key)
	return d, wrap("find", key.String(), err)
}

// List returns the devices that f selects, in ID order.
func (s *Service) List(ctx context.Context, f Filter) ([]Device, error) {
	all, err := s.store.List(ctx, f)
	if err != nil {
		return nil, fmt.Errorf("peer: list: %w", err)
	}
	return all, nil
}

func wrap(what, whom string, err error) error {
	if err == nil {
		return nil
	}
	return fmt.Errorf("peer: %s %q: %w", what, whom, err)
}

// newID makes an ID: 26 characters of lower-case base32 with at least 128
// random bits, the first one a letter.
func newID() DeviceID {
	for {
		if id := strings.ToLower(rand.Text()); id[0] >= 'a' {
			return DeviceID(id)
		}
	}
}
