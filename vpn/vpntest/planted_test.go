package vpntest_test

import (
	"bytes"
	"context"
	"iter"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/holdfastvpn/holdfast/internal/planted"
	"github.com/holdfastvpn/holdfast/location"
	"github.com/holdfastvpn/holdfast/peer"
	"github.com/holdfastvpn/holdfast/vpn"
	"github.com/holdfastvpn/holdfast/vpn/kvstore"
	"github.com/holdfastvpn/holdfast/vpn/memstore"
	"github.com/holdfastvpn/holdfast/vpn/vpntest"
)

// pause lets others come in between.
func pause() {
	<-time.After(time.Millisecond) // time itself: the fault is that this is slow
}

// broken is a right backend with one planted fault.
type broken struct {
	vpn.Stores

	fault string

	mu   sync.Mutex
	last vpn.View
}

func (b *broken) Devices() peer.Store  { return brokenDevices{b.Stores.Devices(), b} }
func (b *broken) Feed() vpn.Feed       { return brokenFeed{b.Stores.Feed(), b} }
func (b *broken) Records() vpn.Records { return brokenRecords{b.Stores.Records(), b} }

type brokenDevices struct {
	peer.Store

	b *broken
}

func (s brokenDevices) Update(ctx context.Context, id peer.DeviceID, edit func(*peer.Device) error) (peer.Device, error) {
	d, err := s.Store.Update(ctx, id, edit)
	if s.b.fault == "raises twice" && err == nil && d.ID != "" {
		d, err = s.Store.Update(ctx, id, edit)
	}
	if s.b.fault == "forgets to stamp" {
		for i := range d.Peers {
			d.Peers[i].Rev = 0
		}
	}
	return d, err
}

type brokenFeed struct {
	vpn.Feed

	b *broken
}

func (f brokenFeed) View(ctx context.Context, at location.ID, after vpn.Revision) (vpn.View, error) {
	if f.b.fault == "forgets its epoch" {
		if now, err := f.Feed.View(ctx, at, vpn.Revision{}); err == nil && !after.IsZero() {
			after.Epoch = now.Rev.Epoch
		}
	}
	var before map[location.ID]vpn.Revision
	if f.b.fault == "looks at the number first" {
		before, _ = f.Feed.Heads(ctx)
		pause()
	}
	v, err := f.Feed.View(ctx, at, after)
	if err != nil {
		return v, err
	}
	switch f.b.fault {
	case "looks at the number first":
		if r, ever := before[at]; ever && r.Number >= after.Number {
			v.Rev = r
		}
	case "looks at the number last":
		pause()
		if heads, err := f.Feed.Heads(ctx); err == nil && heads[at].Epoch == v.Rev.Epoch {
			v.Rev = heads[at]
		}
	case "forgets removals":
		if !v.Since.IsZero() {
			v.Devices = slices.DeleteFunc(v.Devices, func(d peer.Device) bool { _, here := d.At(at); return !here })
		}
	case "forgets that a location went":
		if v.Location != nil && v.Location.ID == "" {
			v.Location = nil
		}
	case "believes in the future":
		if v.Rev.Epoch == after.Epoch && after.Number > v.Rev.Number && v.Rev.Number > 0 {
			v.Since, v.Location, v.Devices = after, nil, nil
		}
	case "tells who left":
		if v.Since.IsZero() {
			v.Devices = append(v.Devices, peer.Device{ID: "who left"})
		}
	case "is in no order":
		slices.Reverse(v.Devices)
	case "shares its memory":
		f.b.mu.Lock()
		defer f.b.mu.Unlock()
		if old := f.b.last; old.ID == v.ID && old.Rev == v.Rev && old.Since == v.Since {
			return old, nil
		}
		f.b.last = v
	}
	return v, nil
}

func (f brokenFeed) Heads(ctx context.Context) (map[location.ID]vpn.Revision, error) {
	heads, err := f.Feed.Heads(ctx)
	switch f.b.fault {
	case "heads run ahead":
		for id, r := range heads {
			heads[id] = vpn.Revision{Epoch: r.Epoch, Number: r.Number + 1}
		}
	case "heads ignore the context":
		return f.Feed.Heads(context.WithoutCancel(ctx))
	}
	return heads, err
}

func (f brokenFeed) Hints(ctx context.Context) iter.Seq[vpn.Hint] {
	switch f.b.fault {
	case "gives no hints":
		ctx, cancel := context.WithCancel(ctx)
		cancel()
		return f.Feed.Hints(ctx)
	case "hints go on":
		return f.Feed.Hints(context.WithoutCancel(ctx))
	case "hints begin when read":
		return func(yield func(vpn.Hint) bool) {
			for h := range f.Feed.Hints(ctx) {
				if !yield(h) {
					return
				}
			}
		}
	}
	return f.Feed.Hints(ctx)
}

type brokenRecords struct {
	vpn.Records

	b *broken
}

func (r brokenRecords) Update(ctx context.Context, key string, edit func([]byte) ([]byte, error)) error {
	if r.b.fault == "records race" {
		old, _ := r.Get(ctx, key)
		value, err := edit(old)
		if err != nil {
			return err
		}
		pause()
		return r.Records.Update(ctx, key, func([]byte) ([]byte, error) { return value, nil })
	}
	return r.Records.Update(ctx, key, func(old []byte) ([]byte, error) {
		value, err := edit(old)
		if r.b.fault == "deletes empty records" && len(value) == 0 {
			return nil, err
		}
		return value, err
	})
}

func (r brokenRecords) List(ctx context.Context, prefix, after string, limit int) ([]vpn.Record, error) {
	if r.b.fault == "pages overlap" && after != "" {
		list, err := r.Records.List(ctx, prefix, after[:len(after)-1], limit)
		return slices.DeleteFunc(list, func(r vpn.Record) bool { return r.Key < after }), err
	}
	return r.Records.List(ctx, prefix, after, limit)
}

// brokenDB is a right database under a backend that forgets the number of a
// location with its row, or commits in two steps.
type brokenDB struct {
	kvstore.DB

	fault string
	mu    sync.Mutex
}

type brokenTx struct {
	kvstore.Tx

	fault string
	late  map[string][]byte
}

func (db *brokenDB) Update(ctx context.Context, do func(kvstore.Tx) error) error {
	db.mu.Lock()
	defer db.mu.Unlock()
	late := map[string][]byte{}
	err := db.DB.Update(ctx, func(tx kvstore.Tx) error { return do(brokenTx{tx, db.fault, late}) })
	if err != nil || len(late) == 0 {
		return err
	}
	pause()
	return db.DB.Update(ctx, func(tx kvstore.Tx) error {
		for k, v := range late {
			if err := tx.Put(k, v); err != nil {
				return err
			}
		}
		return nil
	})
}

func (t brokenTx) Put(key string, value []byte) error {
	switch {
	case t.fault == "forgets numbers" && strings.HasPrefix(key, "row/location/") && value == nil:
		if err := t.Tx.Put("head/"+strings.TrimPrefix(key, "row/location/"), nil); err != nil {
			return err
		}
	case t.fault == "raises before it commits" && !strings.HasPrefix(key, "head/"):
		t.late[key] = bytes.Clone(value)
		return nil
	}
	return t.Tx.Put(key, value)
}

func (t brokenTx) Get(key string) ([]byte, error) {
	if v, late := t.late[key]; late {
		return v, nil
	}
	return t.Tx.Get(key)
}

func TestFaultsAreNoticed(t *testing.T) {
	vpntest.Hurry()
	const (
		stamps    = "a write raises by one and stamps"
		each      = "a write of several locations raises each"
		whole     = "a whole view has what is there"
		told      = "what cannot be continued is told whole"
		later     = "a later view has what changed"
		removals  = "removals are told"
		moment    = "a view is one moment"
		heads     = "heads agree with views"
		hints     = "hints come"
		slow      = "a slow reader of hints holds up nobody"
		hintsEnd  = "hints end with their context"
		seen      = "updates of others are seen at once"
		comesBack = "a record comes back"
	)
	for fault, want := range map[string][]string{
		"forgets to stamp":             {stamps, each, later, removals, whole, seen, moment},
		"raises twice":                 {stamps, each, later, whole, moment},
		"looks at the number first":    {moment},
		"looks at the number last":     {moment},
		"forgets removals":             {removals, moment},
		"forgets that a location went": {removals},
		"forgets its epoch":            {told},
		"believes in the future":       {told},
		"tells who left":               {whole, seen, removals, "a location that never was"},
		"is in no order":               {whole, later, removals},
		"shares its memory":            {whole},
		"heads run ahead":              {heads, seen, "the number outlives the location"},
		"heads ignore the context":     {"cancelled context"},
		"gives no hints":               {hints, slow, hintsEnd},
		"hints go on":                  {hintsEnd},
		"hints begin when read":        {hints},
		"records race":                 {"parallel record updates lose nothing"},
		"deletes empty records":        {comesBack},
		"pages overlap":                {"records are listed in pages"},
	} {
		t.Run(fault, func(t *testing.T) {
			planted.Exactly(t, vpntest.Cases(func(testing.TB) vpn.Stores { return &broken{Stores: memstore.New(), fault: fault} }), want...)
		})
	}
	for fault, want := range map[string][]string{
		"forgets numbers":          {stamps, "the number outlives the location", heads},
		"raises before it commits": {moment},
	} {
		t.Run(fault, func(t *testing.T) {
			planted.Exactly(t, vpntest.Cases(func(testing.TB) vpn.Stores {
				return kvstore.New(&brokenDB{DB: memstore.NewDB(), fault: fault})
			}), want...)
		})
	}
}

func TestARightBackendPasses(t *testing.T) {
	vpntest.RunStores(t, func(testing.TB) vpn.Stores { return &broken{Stores: memstore.New()} })
}
