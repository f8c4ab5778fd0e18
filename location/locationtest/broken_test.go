package locationtest_test

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
	"github.com/holdfastvpn/holdfast/location/locationtest"
)

// broken is a store with one fault, or none.
type broken struct {
	fault string

	mu     sync.Mutex
	rows   map[location.ID]location.Location
	claims map[location.ID][]location.Claim
}

func (s *broken) has(fault string) bool { return s.fault == fault }

func (s *broken) clone(l location.Location) location.Location {
	if s.has("hands out its own memory") {
		return l
	}
	c := l.Clone()
	if s.has("hands out one list of its own") {
		c.InnerFloating = l.InnerFloating
	}
	return c
}

func (s *broken) Get(ctx context.Context, id location.ID) (location.Location, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	l, ok := s.rows[id]
	if ctx.Err() != nil && !s.has("reads without asking ctx") {
		return l, ctx.Err()
	}
	if !ok && !s.has("takes absent for zero") {
		return l, location.ErrNotFound
	}
	return s.clone(l), nil
}

func (s *broken) List(ctx context.Context) ([]location.Location, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	var out []location.Location
	for _, l := range s.rows {
		out = append(out, l.Clone())
	}
	slices.SortFunc(out, func(a, b location.Location) int {
		if s.has("sorts backwards") {
			a, b = b, a
		}
		return strings.Compare(string(a.ID), string(b.ID))
	})
	return out, ctx.Err()
}

func (s *broken) Update(ctx context.Context, id location.ID, edit func(*location.Location) error) (location.Location, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if ctx.Err() != nil && !s.has("writes without asking ctx") {
		return location.Location{}, ctx.Err()
	}
	row := s.rows[id].Clone()
	if s.has("shows edit the row as first written") && row.ID != "" {
		row.MTU = location.DefaultMTU
	}
	s.pause("lets others in between reading and writing")
	if err := edit(&row); err != nil {
		if s.has("saves what edit refused") {
			s.rows[id] = row
		}
		if s.has("has its own words for edit's error") {
			err = errors.New("store: aborted")
		}
		return location.Location{}, err
	}
	if !s.has("keeps what edit put in") {
		row = row.Clone()
	}
	if s.has("saves before it checks") && row.ID != "" {
		s.rows[id] = row
	}
	if err := s.check(id, row); err != nil {
		return location.Location{}, err
	}
	s.pause("lets others in between checking and writing")
	return s.save(id, row), nil
}

// pause is where others get in.
func (s *broken) pause(fault string) {
	if s.has(fault) {
		s.mu.Unlock()
		runtime.Gosched()
		s.mu.Lock()
	}
}

func (s *broken) check(id location.ID, row location.Location) error {
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
	if p.IsValid() != q.IsValid() {
		return nil
	}
	if !p.IsValid() {
		same := ours.Name == theirs.Name || s.has("takes upper for lower case") && strings.EqualFold(ours.Name, theirs.Name)
		if same && !s.has("lets names be shared") {
			return location.ErrExists
		}
		return nil
	}
	met := p.Overlaps(q)
	switch s.fault {
	case "sees only equal networks":
		met = p == q
	case "sees only what is inside":
		met = location.Contains(q, p)
	case "sees only what is around":
		met = location.Contains(p, q)
	case "sees only IPv4":
		met = met && p.Addr().Is4()
	case "compares bits of both families":
		a, b := p.Addr().AsSlice(), q.Addr().AsSlice()
		met = met || p.Addr().Is6() && q.Addr().Is4() && p.Bits() == 16 && a[0] == b[0] && a[1]&^7 == b[1]
	}
	if met {
		return location.ErrOverlap
	}
	return nil
}

func (s *broken) save(id location.ID, row location.Location) location.Location {
	if row.ID == "" {
		if !s.has("keeps the rows of the deleted") {
			delete(s.rows, id)
		}
		if !s.has("keeps the claims of the deleted") {
			delete(s.claims, id)
		}
		return location.Location{}
	}
	claims := row.Claims()
	if s.has("keeps claims that a change gave up") {
		claims = append(claims, s.claims[id]...)
	}
	if s.has("claims for who asked to overlap") && row.AllowOverlap {
		for _, n := range row.Networks {
			claims = append(claims, location.Claim{Scope: "location", Prefix: n})
		}
	}
	switch s.fault {
	case "forgets a field":
		row.Mark &= 0xffff
	case "cuts off long texts":
		row.Name = row.Name[:min(len(row.Name), 255)]
	case "keeps one family":
		row.Gateway = slices.DeleteFunc(row.Gateway, netip.Addr.Is6)
	}
	s.rows[id] = row
	s.claims[id] = claims
	if s.has("hands out its own memory") {
		return row
	}
	return row.Clone()
}

func cases(fault string) func(func(string, func(testing.TB)) bool) {
	return locationtest.Cases(func(testing.TB) location.Store {
		return &broken{fault: fault, rows: map[location.ID]location.Location{}, claims: map[location.ID][]location.Claim{}}
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
		"hands out one list of its own":               {"returned values are copies"},
		"keeps what edit put in":                      {"what edit puts in is copied"},
		"has its own words for edit's error":          {"update keeps the error of edit"},
		"saves what edit refused":                     {"update keeps the error of edit", "returned values are copies"},
		"sorts backwards":                             {"list is sorted"},
		"reads without asking ctx":                    {"cancelled context"},
		"writes without asking ctx":                   {"cancelled context"},
		"takes absent for zero":                       {"absent is ErrNotFound", "a row left zero is deleted", "update keeps the error of edit", "networks do not overlap"},
		"shows edit the row as first written":         {"update gets the row as last written"},
		"lets others in between reading and writing":  {"parallel updates lose nothing"},
		"lets others in between checking and writing": {"parallel claims have one winner", "parallel updates lose nothing"},
		"saves before it checks":                      {"a refused claim changes nothing", "networks do not overlap"},
		"meets its own claims":                        {"a row may shift its own claims"},
		"lets names be shared":                        {"a name has one row", "parallel claims have one winner"},
		"takes upper for lower case":                  {"a name has one row"},
		"sees only equal networks":                    {"networks do not overlap", "overlapping can be asked for", "claims are freed by a change and by delete", "a refused claim changes nothing", "parallel claims have one winner"},
		"sees only what is inside":                    {"networks do not overlap", "overlapping can be asked for", "parallel claims have one winner"},
		"sees only what is around":                    {"networks do not overlap", "claims are freed by a change and by delete", "a refused claim changes nothing", "parallel claims have one winner"},
		"sees only IPv4":                              {"networks do not overlap"},
		"compares bits of both families":              {"networks do not overlap"},
		"keeps the rows of the deleted":               {"a row left zero is deleted"},
		"keeps the claims of the deleted":             {"claims are freed by a change and by delete", "networks do not overlap"},
		"keeps claims that a change gave up":          {"claims are freed by a change and by delete"},
		"claims for who asked to overlap":             {"overlapping can be asked for"},
		"forgets a field":                             {"every field comes back"},
		"cuts off long texts":                         {"odd texts"},
		"keeps one family":                            {"every field comes back"},
	} {
		t.Run(fault, func(t *testing.T) { planted.Exactly(t, cases(fault), noticed...) })
	}
}
