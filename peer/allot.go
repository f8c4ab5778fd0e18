package peer

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"net/netip"
	"slices"

	"github.com/holdfastvpn/holdfast/location"
)

// attempts is how many addresses in a row may turn out to be taken before one
// gives up. It is beyond what any number of writers does to one another, and ends
// a loop with a store that refuses everything.
const attempts = 10_000

// spot is a place that somebody asked for, checked against its location.
type spot struct {
	field string // where it stands in the input, such as "Places[1]."
	in    location.Location
	want  Peer // its Addrs are what was asked for
	auto  bool // it needs addresses
}

// spot checks a place as far as that can be seen without the device.
func (s *Service) spot(ctx context.Context, field string, p Place) (spot, error) {
	if p.Location == "" {
		return spot{}, fieldf(field+"Location", "is missing: give the location's ID")
	}
	l, err := s.locations.Get(ctx, p.Location)
	if errors.Is(err, location.ErrNotFound) {
		s.forget(p.Location)
		return spot{}, fmt.Errorf("%w: %w", fieldf(field+"Location", "%q is not there", string(p.Location)), err)
	}
	if err != nil {
		return spot{}, err
	}
	want := Peer{Location: p.Location, Disabled: p.Disabled, Addrs: slices.Clone(p.Addrs), Routes: slices.Clone(p.Routes)}
	wrong := cmp.Or(checkAddrs(want.Addrs), checkRoutes(want.Routes), want.fits(l))
	if wrong != nil {
		return spot{}, &FieldError{Field: field + wrong.Field, Reason: wrong.Reason}
	}
	slices.SortFunc(want.Addrs, netip.Addr.Compare)
	slices.SortFunc(want.Routes, netip.Prefix.Compare)
	return spot{field: field, in: l, want: want}, nil
}

// allot writes a row with its places. What a place asks for is filled in with
// free addresses, and again with others when somebody was quicker. edit gets
// places of its own each time it runs.
func (s *Service) allot(ctx context.Context, id DeviceID, spots []spot, edit func(*Device, []Peer) error) (Device, error) {
	var last Device
	for range attempts {
		peers, err := s.fill(ctx, spots)
		var saved Device
		if err == nil {
			saved, err = s.store.Update(ctx, id, func(row *Device) error {
				err := edit(row, Device{Peers: peers}.Clone().Peers)
				last = row.Clone()
				return err
			})
		}
		if err == nil {
			s.settle(spots, peers, saved, written)
			return saved, nil
		}
		again := errors.Is(err, ErrAddressTaken)
		if again {
			if held := s.holder(ctx, id, spots); held != nil {
				again, err = false, held
			}
		}
		if !again || !slices.ContainsFunc(spots, func(o spot) bool { return o.auto }) {
			s.settle(spots, peers, Device{}, failed)
			return Device{}, s.explainKey(ctx, last, err)
		}
		s.settle(spots, peers, Device{}, taken)
	}
	return Device{}, fmt.Errorf("%w: gave up after %d addresses that somebody else had", ErrAddressTaken, attempts)
}

// fill gives each spot its addresses. On an error it returns those that it gave.
func (s *Service) fill(ctx context.Context, spots []spot) ([]Peer, error) {
	peers := make([]Peer, 0, len(spots))
	for _, at := range spots {
		p := at.want
		if at.auto {
			var err error
			if p.Addrs, err = s.allocator(at.in.ID).take(ctx, at.in); err != nil {
				return peers, err
			}
		}
		peers = append(peers, p)
	}
	return peers, nil
}

// settle tells the allocators how the write of peers went.
func (s *Service) settle(spots []spot, peers []Peer, saved Device, how outcome) {
	for i, p := range peers {
		var given []netip.Addr
		if spots[i].auto {
			given = p.Addrs
		}
		kept, _ := saved.At(p.Location)
		s.allocator(p.Location).settle(given, kept.Addrs, how)
	}
}

// holder says which device has what was asked for by name: static addresses and
// routes. It returns nil when nobody has.
func (s *Service) holder(ctx context.Context, id DeviceID, spots []spot) error {
	for _, at := range spots {
		if len(at.want.Addrs)+len(at.want.Routes) == 0 {
			continue
		}
		devices, err := s.store.List(ctx, Filter{Location: at.in.ID})
		if err != nil {
			return err
		}
		for _, d := range devices {
			if d.ID == id {
				continue
			}
			p, _ := d.At(at.in.ID)
			if met := at.want.meets(p.AllowedIPs(), d); met != nil {
				return fmt.Errorf("%w: %w", ErrAddressTaken, &FieldError{Field: at.field + met.Field, Reason: met.Reason})
			}
		}
	}
	return nil
}

// meets says which of p's addresses or routes is in theirs, too.
func (p Peer) meets(theirs []netip.Prefix, d Device) *FieldError {
	for _, their := range theirs {
		for _, a := range p.Addrs {
			if their.Contains(a) {
				return fieldf("Addrs", "%s belongs to device %q (%s): choose another", a, d.Name, d.ID)
			}
		}
		for _, r := range p.Routes {
			if their.Overlaps(r) {
				return fieldf("Routes", "%s overlaps %s of device %q (%s): choose another", r, their, d.Name, d.ID)
			}
		}
	}
	return nil
}

// explainKey adds to a key's failure whose key it is, if that can still be seen.
func (s *Service) explainKey(ctx context.Context, d Device, err error) error {
	if !errors.Is(err, ErrKeyTaken) {
		return err
	}
	holder, ferr := s.store.Find(ctx, d.Key)
	if ferr != nil || holder.ID == d.ID {
		return err
	}
	return fmt.Errorf("%w: %w", err, fieldf("Key", "belongs to device %q (%s): each device needs a key of its own", holder.Name, holder.ID))
}

func (s *Service) allocator(at location.ID) *allocator {
	s.mu.Lock()
	defer s.mu.Unlock()
	a := s.allocators[at]
	if a == nil {
		a = newAllocator(s.store)
		s.allocators[at] = a
	}
	return a
}

// release gives addresses of a location back.
func (s *Service) release(at location.ID, addrs []netip.Addr) {
	s.mu.Lock()
	a := s.allocators[at]
	s.mu.Unlock()
	if a != nil {
		a.release(addrs)
	}
}

// forget drops what is known of a location that is gone.
func (s *Service) forget(at location.ID) {
	s.mu.Lock()
	defer s.mu.Unlock()
	delete(s.allocators, at)
}

// put adds or replaces a place, in order.
func (d *Device) put(p Peer) {
	i, there := slices.BinarySearchFunc(d.Peers, p.Location, func(p Peer, at location.ID) int {
		return cmp.Compare(p.Location, at)
	})
	if there {
		p.Rev = d.Peers[i].Rev
		d.Peers[i] = p
		return
	}
	d.Peers = slices.Insert(d.Peers, i, p)
}
