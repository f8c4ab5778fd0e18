package kvstore

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"iter"
	"slices"
	"strings"

	"github.com/holdfastvpn/holdfast/location"
	"github.com/holdfastvpn/holdfast/peer"
	"github.com/holdfastvpn/holdfast/vpn"
)

type feed struct{ s *Stores }

// errNew says that the store has no epoch yet.
var errNew = errors.New("no epoch yet")

// look runs do on one snapshot; errNew from it gives a new store its epoch, and
// do runs again.
func (f feed) look(ctx context.Context, do func(tx Tx) error) error {
	for {
		err := f.s.db.View(ctx, do)
		if !errors.Is(err, errNew) {
			return err
		}
		if err := f.s.begin(ctx); err != nil {
			return err
		}
	}
}

// Heads is one scan: cores ask for it all the time.
func (f feed) Heads(ctx context.Context) (heads map[location.ID]vpn.Revision, err error) {
	err = f.look(ctx, func(tx Tx) error {
		heads = map[location.ID]vpn.Revision{}
		epoch := uint64(0)
		for p, err := range tx.Scan(epochKey, after(headsKey)) {
			switch {
			case err != nil:
				return err
			case p.Key == epochKey:
				if epoch, err = parseEpoch(p.Value); err != nil {
					return err
				}
				continue
			case epoch == 0:
				return errNew
			}
			h, err := parseHead(p.Key, p.Value)
			if err != nil {
				return err
			}
			heads[location.ID(p.Key[len(headsKey):])] = vpn.Revision{Epoch: epoch, Number: h.number}
		}
		if epoch == 0 {
			return errNew
		}
		return nil
	})
	if err != nil {
		return nil, fmt.Errorf("kvstore: look at the heads: %w", err)
	}
	return heads, nil
}

func (f feed) View(ctx context.Context, at location.ID, since vpn.Revision) (v vpn.View, err error) {
	err = f.look(ctx, func(tx Tx) error {
		epoch, err := loadEpoch(tx)
		switch {
		case err != nil:
			return err
		case epoch == 0:
			return errNew
		}
		h, err := loadHead(tx, at)
		if err != nil {
			return err
		}
		v = vpn.View{ID: at, Since: since, Rev: vpn.Revision{Epoch: epoch, Number: h.number}}
		if since.Epoch != epoch || since.Number > h.number || since.Number < h.floor {
			v.Since = vpn.Revision{}
		}
		return f.fill(tx, &v)
	})
	if err != nil {
		return vpn.View{}, fmt.Errorf("kvstore: view location %q: %w", at, err)
	}
	slices.SortFunc(v.Devices, func(a, b peer.Device) int { return cmp.Compare(a.ID, b.ID) })
	return v, nil
}

// fill adds the rows that were stamped later than v.Since.
func (f feed) fill(tx Tx, v *vpn.View) error {
	news := newKey(v.ID)
	for p, err := range tx.Scan(news+digits(v.Since.Number+1), after(news)) {
		if err != nil {
			return err
		}
		kind, id, _ := strings.Cut(string(p.Value), "/")
		switch kind {
		case locationKind:
			l, found, err := locationTable(f.s).load(tx, id)
			if err != nil {
				return err
			}
			if found || !v.Since.IsZero() {
				v.Location = &l
			}
		case deviceKind:
			d, _, err := deviceTable(f.s).load(tx, id)
			if err != nil {
				return err
			}
			d.ID = peer.DeviceID(id)
			if _, here := d.At(v.ID); here || !v.Since.IsZero() {
				v.Devices = append(v.Devices, d)
			}
		default:
			return fmt.Errorf("%s is damaged, or of a newer version: row %q", p.Key, p.Value)
		}
	}
	return nil
}

func (f feed) Hints(ctx context.Context) iter.Seq[vpn.Hint] { return f.s.hints.take(ctx) }
