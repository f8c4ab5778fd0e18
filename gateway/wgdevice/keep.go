//go:build linux

package wgdevice

import (
	"context"
	"fmt"
	"net/netip"

	"golang.zx2c4.com/wireguard/wgctrl"
	"golang.zx2c4.com/wireguard/wgctrl/wgtypes"
)

// keep has the tables of a mark follow the machine, where a rule of ours leads
// there, and returns what the machine has, if that could be seen. The clients of a
// lost gateway wait for it.
func (s *sources) keep(ctx context.Context, mark uint32, floating []netip.Addr) (m machine, seen bool, err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if m, err = s.look(ctx); err != nil {
		return machine{}, false, err
	}
	if checkMark(mark) != nil {
		return m, true, nil
	}
	var errs []error
	changed := false
	for _, family := range families {
		fresh, err := s.keepFamily(ctx, family, mark, m, ofFamily(family, floating))
		changed = changed || fresh
		errs = append(errs, err)
	}
	if !m.kernel || mark != s.last {
		return m, true, join(errs...)
	}
	if changed && len(m.owned(floating)) > 0 {
		errs = append(errs, s.refresh(mark))
	} else {
		_ = s.plug() // while nobody waits
	}
	return m, true, join(errs...)
}

// keepFamily is keep for one family. That the rule of a mark is there which was made or
// seen before is believed: a table to which none leads is nobody's way.
func (s *sources) keepFamily(ctx context.Context, family int, mark uint32, m machine, floating []netip.Addr) (changed bool, err error) {
	if len(floating) == 0 {
		return false, nil
	}
	if mark != s.last {
		rules, err := s.rules(ctx, family, mark)
		if err != nil || len(rules) == 0 {
			return false, err
		}
	}
	t, err := s.table(ctx, family, mark)
	if err != nil || t.shared(m) {
		return false, err
	}
	return s.fill(ctx, family, mark, t, m, floating)
}

// refresh has the kernel's WireGuard forget which address and which route it took
// for each peer: it does so when it is told its mark, also the one that it has. It
// would notice by itself that an address has gone, but not always that one has come.
// A connection that is kept may be one to a module that has gone: then there is a
// second try, with another one.
func (s *sources) refresh(mark uint32) error {
	kept := s.wg != nil
	err := s.tellMark(mark)
	if err != nil {
		err = join(err, s.unplug())
	}
	if err != nil && kept {
		err = s.tellMark(mark)
	}
	return err
}

// tellMark tells WireGuard a mark.
func (s *sources) tellMark(mark uint32) error {
	if err := s.plug(); err != nil {
		return err
	}
	number := int(mark)
	if err := s.wg.ConfigureDevice(s.name, wgtypes.Config{FirewallMark: &number}); err != nil {
		return fmt.Errorf("have WireGuard look for its routes again: %w", explain(absent(err)))
	}
	return nil
}

// plug connects to the kernel's WireGuard, unless that is done.
func (s *sources) plug() error {
	if s.wg != nil {
		return nil
	}
	err := s.ns.do(func() (err error) {
		s.wg, err = wgctrl.New()
		return err
	})
	if err != nil {
		return fmt.Errorf("connect to the kernel's WireGuard: %w", err)
	}
	return nil
}

// unplug ends the connection to WireGuard, if there is one.
func (s *sources) unplug() error {
	if s.wg == nil {
		return nil
	}
	c := s.wg
	s.wg = nil
	return c.Close()
}
