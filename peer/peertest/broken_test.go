package peertest_test

import (
	"context"
	"errors"
	"net/netip"
	"runtime"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/holdfastvpn/holdfast/internal/planted"
	"github.com/holdfastvpn/holdfast/location"
	"github.com/holdfastvpn/holdfast/peer"
	"github.com/holdfastvpn/holdfast/peer/peertest"
	"github.com/holdfastvpn/holdfast/vpn/wgkey"
)

// broken is a store with one fault, or none.
type broken struct {
	fault string

	mu     sync.Mutex
	rows   map[peer.DeviceID]peer.Device
	claims map[peer.DeviceID][]location.Claim
	keys   map[wgkey.Public]peer.DeviceID
}

func (s *broken) has(fault string) bool { return s.fault == fault }

func (s *broken) Get(ctx context.Context, id peer.DeviceID) (peer.Device, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	d, ok := s.rows[id]
	if ctx.Err() != nil && !s.has("gets without asking ctx") {
		return d, ctx.Err()
	}
	if !ok && !s.has("takes absent for zero") {
		return d, peer.ErrNotFound
	}
	if s.has("hands out its own memory") {
		return d, nil
	}
	return d.Clone(), nil
}

func (s *broken) Find(ctx context.Context, key wgkey.Public) (peer.Device, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if ctx.Err() != nil && !s.has("finds without asking ctx") {
		return peer.Device{}, ctx.Err()
	}
	if d, ok := s.rows[s.keys[key]]; ok {
		if s.has("finds its own memory") {
			return d, nil
		}
		return d.Clone(), nil
	}
	return peer.Device{}, peer.ErrNotFound
}

func (s *broken) List(ctx context.Context, f peer.Filter) ([]peer.Device, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	var out []peer.Device
	limit := f.Limit
	switch s.fault {
	case "does not filter by owner":
		f.Owner = ""
	case "does not filter by location":
		f.Location = ""
	case "begins each page at the start":
		f.After = ""
	}
	for _, d := range s.rows {
		if f.Match(d) || s.has("has After on the page again") && d.ID == f.After {
			out = append(out, d.Clone())
		}
	}
	slices.SortFunc(out, func(a, b peer.Device) int {
		if s.has("sorts by length first") && len(a.ID) != len(b.ID) {
			return len(a.ID) - len(b.ID)
		}
		return strings.Compare(string(a.ID), string(b.ID))
	})
	if s.has("has a page of its own size") && limit == 0 {
		limit = 500
	}
	if limit > 0 && len(out) > limit && !s.has("does not limit") {
		out = out[:limit]
	}
	return out, ctx.Err()
}

func (s *broken) Update(ctx context.Context, id peer.DeviceID, edit func(*peer.Device) error) (peer.Device, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if ctx.Err() != nil && !s.has("writes without asking ctx") {
		return peer.Device{}, ctx.Err()
	}
	old := s.rows[id]
	row := old.Clone()
	if s.has("shows edit no places") {
		row.Peers = nil
	}
	s.pause("lets others in between reading and writing")
	if err := edit(&row); err != nil {
		if s.has("saves what edit refused") {
			s.rows[id] = row
		}
		if s.has("has its own words for edit's error") {
			err = errors.New("store: aborted")
		}
		return peer.Device{}, err
	}
	if !s.has("keeps what edit put in") {
		row = row.Clone()
	}
	if s.has("saves before it checks") && row.ID != "" {
		s.rows[id] = row
	}
	if err := s.check(id, row); err != nil {
		return peer.Device{}, err
	}
	s.pause("lets others in between checking and writing")
	return s.save(id, row, old.Key), nil
}

// pause is where others get in.
func (s *broken) pause(fault string) {
	if s.has(fault) {
		s.mu.Unlock()
		runtime.Gosched()
		s.mu.Lock()
	}
}

func (s *broken) check(id peer.DeviceID, row peer.Device) error {
	mine := row.Claims()
	for other, claims := range s.claims {
		if other == id && !s.has("meets its own claims") {
			continue
		}
		for _, theirs := range claims {
			for _, ours := range mine {
				if err := s.clash(ours, theirs); err != nil && (other != id || ours != theirs) {
					return err
				}
			}
		}
	}
	return nil
}

func (s *broken) clash(ours, theirs location.Claim) error {
	p, q := ours.Prefix, theirs.Prefix
	if p.IsValid() != q.IsValid() || ours.Scope != theirs.Scope && !s.has("mixes up locations") {
		return nil
	}
	if !p.IsValid() {
		if ours.Name == theirs.Name && !s.has("lets keys be shared") {
			return peer.ErrKeyTaken
		}
		return nil
	}
	met := p.Overlaps(q)
	switch s.fault {
	case "sees only equal prefixes":
		met = p == q
	case "sees only what is inside":
		met = location.Contains(q, p)
	case "sees only what is around":
		met = location.Contains(p, q)
	case "sees only addresses":
		met = met && p.IsSingleIP() && q.IsSingleIP()
	case "sees only IPv4":
		met = met && p.Addr().Is4()
	}
	if met && s.has("calls an address a key") {
		return peer.ErrKeyTaken
	}
	if met {
		return peer.ErrAddressTaken
	}
	return nil
}

func (s *broken) save(id peer.DeviceID, row peer.Device, old wgkey.Public) peer.Device {
	if !s.has("finds by old keys") {
		delete(s.keys, old)
	}
	if row.ID == "" {
		if !s.has("keeps the rows of the deleted") {
			delete(s.rows, id)
		}
		if !s.has("keeps the claims of the deleted") {
			delete(s.claims, id)
		}
		return peer.Device{}
	}
	claims := row.Claims()
	if s.has("keeps claims that a change gave up") {
		claims = append(claims, s.claims[id]...)
	}
	switch s.fault {
	case "forgets standing":
		row.Standing.Disabled = false
	case "forgets that places are disabled":
		for i := range row.Peers {
			row.Peers[i].Disabled = false
		}
	case "cuts off long texts":
		row.Name = row.Name[:min(len(row.Name), 255)]
	case "keeps one family":
		for i := range row.Peers {
			row.Peers[i].Routes = slices.DeleteFunc(row.Peers[i].Routes, func(p netip.Prefix) bool { return p.Addr().Is6() })
		}
	}
	s.rows[id], s.claims[id], s.keys[row.Key] = row, claims, id
	return row.Clone()
}

func cases(fault string) func(func(string, func(testing.TB)) bool) {
	return peertest.Cases(func(testing.TB) peer.Store {
		return &broken{
			fault: fault, rows: map[peer.DeviceID]peer.Device{},
			claims: map[peer.DeviceID][]location.Claim{}, keys: map[wgkey.Public]peer.DeviceID{},
		}
	})
}

func TestTheTwinWithoutFaultPasses(t *testing.T) {
	for name, test := range cases("") {
		t.Run(name, func(t *testing.T) { test(t) })
	}
}

func TestEachFaultIsNoticed(t *testing.T) {
	for fault, noticed := range map[string][]string{
		"hands out its own memory":                    {"returned values are copies"},
		"finds its own memory":                        {"returned values are copies"},
		"keeps what edit put in":                      {"what edit puts in is copied"},
		"has its own words for edit's error":          {"update keeps the error of edit"},
		"saves what edit refused":                     {"update keeps the error of edit", "returned values are copies"},
		"sorts by length first":                       {"list is sorted"},
		"does not filter by owner":                    {"filters select", "odd texts", "a refused claim changes nothing"},
		"does not filter by location":                 {"filters select", "pages follow one another", "a refused claim changes nothing"},
		"begins each page at the start":               {"pages follow one another", "many rows"},
		"has After on the page again":                 {"pages follow one another", "many rows"},
		"does not limit":                              {"pages follow one another"},
		"gets without asking ctx":                     {"cancelled context"},
		"finds without asking ctx":                    {"cancelled context"},
		"writes without asking ctx":                   {"cancelled context"},
		"takes absent for zero":                       {"absent is ErrNotFound", "a row left zero is deleted", "update keeps the error of edit", "routes do not overlap"},
		"shows edit no places":                        {"update gets the row as last written"},
		"lets others in between reading and writing":  {"parallel updates lose nothing"},
		"lets others in between checking and writing": {"parallel claims have one winner", "parallel updates lose nothing"},
		"saves before it checks":                      {"a refused claim changes nothing", "routes do not overlap"},
		"meets its own claims":                        {"a row may shift its own claims"},
		"mixes up locations":                          {"an address has one peer of its location"},
		"lets keys be shared":                         {"a key has one device", "parallel claims have one winner"},
		"sees only equal prefixes":                    {"routes do not overlap", "claims are freed by a change and by delete", "parallel claims have one winner"},
		"sees only what is inside":                    {"routes do not overlap", "parallel claims have one winner"},
		"sees only what is around":                    {"routes do not overlap", "claims are freed by a change and by delete", "parallel claims have one winner"},
		"sees only addresses":                         {"routes do not overlap", "a row may shift its own claims", "claims are freed by a change and by delete", "parallel claims have one winner"},
		"sees only IPv4":                              {"routes do not overlap", "an address has one peer of its location"},
		"calls an address a key":                      {"an address has one peer of its location", "routes do not overlap", "claims are freed by a change and by delete", "a row may shift its own claims", "a refused claim changes nothing", "parallel claims have one winner"},
		"finds by old keys":                           {"find goes by key"},
		"keeps the rows of the deleted":               {"a row left zero is deleted", "filters select"},
		"keeps the claims of the deleted":             {"claims are freed by a change and by delete", "routes do not overlap"},
		"keeps claims that a change gave up":          {"claims are freed by a change and by delete"},
		"forgets standing":                            {"every field comes back"},
		"forgets that places are disabled":            {"every field comes back"},
		"has a page of its own size":                  {"many rows"},
		"cuts off long texts":                         {"odd texts"},
		"keeps one family":                            {"every field comes back"},
	} {
		t.Run(fault, func(t *testing.T) { planted.Exactly(t, cases(fault), noticed...) })
	}
}
