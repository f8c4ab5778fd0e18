package vpntest

import (
	"fmt"
	"maps"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/holdfastvpn/holdfast/location"
	"github.com/holdfastvpn/holdfast/peer"
	"github.com/holdfastvpn/holdfast/vpn"
)

// state is a location as of one moment, as far as views tell of it.
type state struct {
	location string // its name, "" if it is not there
	devices  map[peer.DeviceID]uint64
}

func (s state) clone() state {
	s.devices = maps.Clone(s.devices)
	return s
}

// fold takes in a view, as a reader does.
func (s *state) fold(v vpn.View) {
	if v.Since.IsZero() {
		*s = state{devices: map[peer.DeviceID]uint64{}}
	}
	if v.Location != nil {
		s.location = v.Location.Name
	}
	for _, d := range v.Devices {
		if p, here := d.At(v.ID); here {
			s.devices[d.ID] = p.Rev
		} else {
			delete(s.devices, d.ID)
		}
	}
}

// write is what a writer knows of one of its writes. Removals do not tell their
// number: only one writer removes, so that its removals fill, in order, the
// numbers that nobody else has.
type write struct {
	number   uint64
	location string        // what the location's name is then
	device   peer.DeviceID // or the device that was written
}

// oneMoment has writers write while readers look, and compares each look with
// what the writes before its number add up to.
func oneMoment(tb testing.TB, s vpn.Stores) {
	tb.Helper()
	const each = 60
	var mu sync.Mutex
	var writes []write
	var removed []write // in order
	looked := make(chan struct{})
	saw := func(w write) {
		mu.Lock()
		writes = append(writes, w)
		mu.Unlock()
		select { // not so fast that nobody sees anything
		case <-looked:
		case <-time.After(time.Millisecond):
		}
	}
	var writers sync.WaitGroup
	for n := range 3 {
		writers.Go(func() {
			for i := range each {
				id := peer.DeviceID(fmt.Sprintf("w%d-%d", n, i%7))
				d, err := s.Devices().Update(tb.Context(), id, func(row *peer.Device) error {
					*row = device(id, byte(n*10+i%7), "l")
					return nil
				})
				if err != nil {
					tb.Errorf("write a device: %v", err)
					return
				}
				saw(write{number: d.Peers[0].Rev, device: id})
			}
		})
	}
	writers.Go(func() {
		for i := range each / 2 {
			name := fmt.Sprintf("name %d", i)
			l, err := s.Locations().Update(tb.Context(), "l", func(row *location.Location) error {
				*row = location.Location{ID: "l", Name: name}
				return nil
			})
			if err != nil {
				tb.Errorf("write the location: %v", err)
				return
			}
			saw(write{number: l.Rev, location: name})
		}
	})
	writers.Go(func() {
		for i := range each / 2 {
			id := peer.DeviceID(fmt.Sprintf("r%d", i%3))
			d, err := s.Devices().Update(tb.Context(), id, func(row *peer.Device) error {
				*row = device(id, byte(100+i%3), "l")
				return nil
			})
			if err == nil {
				saw(write{number: d.Peers[0].Rev, device: id})
				removed = append(removed, write{device: id})
				_, err = s.Devices().Update(tb.Context(), id, func(row *peer.Device) error {
					if *row = (peer.Device{}); i%2 == 0 {
						*row = device(id, byte(100+i%3), "elsewhere")
					}
					return nil
				})
			}
			if err != nil {
				tb.Errorf("remove a device: %v", err)
				return
			}
		}
	})
	type look struct {
		rev   vpn.Revision
		whole bool
		state state
	}
	var looks []look
	done := make(chan struct{})
	var readers sync.WaitGroup
	for range 2 {
		readers.Go(func() {
			var follow state
			var last vpn.Revision
			for end := false; !end; {
				select {
				case <-done:
					end = true
				default:
				}
				whole, err := s.Feed().View(tb.Context(), "l", vpn.Revision{})
				later, err2 := s.Feed().View(tb.Context(), "l", last)
				if err != nil || err2 != nil {
					tb.Errorf("View: %v, %v", err, err2)
					return
				}
				if later.Rev.Number < last.Number {
					tb.Errorf("the revision went back from %v to %v", last, later.Rev)
				}
				follow.fold(later)
				last = later.Rev
				all := state{}
				all.fold(whole)
				mu.Lock()
				looks = append(looks, look{whole.Rev, true, all}, look{later.Rev, false, follow.clone()})
				mu.Unlock()
				select {
				case looked <- struct{}{}:
				default:
				}
			}
		})
	}
	writers.Wait()
	close(done)
	readers.Wait()
	if tb.Failed() {
		return
	}

	byNumber := map[uint64]write{}
	for _, w := range writes {
		_, twice := byNumber[w.number]
		require.False(tb, twice, "two writes have number %d", w.number)
		byNumber[w.number] = w
	}
	head := number(tb, s, "l")
	require.Equal(tb, uint64(len(writes)+len(removed)), head, "each write raises by one")
	states := map[uint64]state{0: {devices: map[peer.DeviceID]uint64{}}}
	for n := uint64(1); n <= head; n++ {
		now := states[n-1].clone()
		w, told := byNumber[n]
		switch {
		case !told:
			require.NotEmpty(tb, removed, "nobody wrote number %d", n)
			delete(now.devices, removed[0].device)
			removed = removed[1:]
		case w.location != "":
			now.location = w.location
		default:
			now.devices[w.device] = n
		}
		states[n] = now
	}
	slices.SortFunc(looks, func(a, b look) int { return int(a.rev.Number) - int(b.rev.Number) })
	for _, l := range looks {
		require.Equal(tb, states[l.rev.Number], l.state, "what was seen at number %d, whole: %v", l.rev.Number, l.whole)
	}
	require.Equal(tb, head, looks[len(looks)-1].rev.Number, "the last look sees the last write")
}
