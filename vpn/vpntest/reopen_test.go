package vpntest_test

import (
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/holdfastvpn/holdfast/internal/planted"
	"github.com/holdfastvpn/holdfast/vpn"
	"github.com/holdfastvpn/holdfast/vpn/kvstore"
	"github.com/holdfastvpn/holdfast/vpn/memstore"
	"github.com/holdfastvpn/holdfast/vpn/vpntest"
)

// shelf keeps databases by place; what is done to one between two uses is the
// planted fault.
type shelf struct {
	tamper func(now, before pairs)
	all    map[string]*memstore.DB
	before map[string]pairs // as they were when their last use began
}

// pairs is what is in a database; nil deletes.
type pairs map[string][]byte

func (p pairs) under(prefix string, do func(key string)) {
	for key := range p {
		if strings.HasPrefix(key, prefix) {
			do(key)
		}
	}
}

func dump(tb testing.TB, db *memstore.DB) pairs {
	tb.Helper()
	all := pairs{}
	require.NoError(tb, db.View(tb.Context(), func(tx kvstore.Tx) error {
		for p, err := range tx.Scan("", "\xff") {
			if err != nil {
				return err
			}
			all[p.Key] = p.Value
		}
		return nil
	}))
	return all
}

func (s *shelf) open(tb testing.TB, place string) (vpn.Stores, func()) {
	tb.Helper()
	db := s.all[place]
	if db == nil {
		db = memstore.NewDB()
		s.all[place] = db
	} else if s.tamper != nil {
		now := dump(tb, db)
		s.tamper(now, s.before[place])
		require.NoError(tb, db.Update(tb.Context(), func(tx kvstore.Tx) error {
			for key, value := range now {
				if err := tx.Put(key, value); err != nil {
					return err
				}
			}
			return nil
		}))
	}
	s.before[place] = dump(tb, db)
	return kvstore.New(db), func() {}
}

func shelved(tamper func(now, before pairs)) vpntest.Reopener {
	s := &shelf{tamper: tamper, all: map[string]*memstore.DB{}, before: map[string]pairs{}}
	return s.open
}

func TestARightBackendReopens(t *testing.T) { vpntest.RunReopen(t, shelved(nil)) }

func TestFaultsOfReopeningAreNoticed(t *testing.T) {
	const (
		stay   = "rows and records stay"
		last   = "the last write stays"
		away   = "what was deleted stays away"
		failed = "what failed has left nothing"
		goOn   = "numbers go on in the same epoch"
		reader = "a reader goes on where it was"
		claims = "claims still hold"
	)
	lose := func(prefix string) func(now, before pairs) {
		return func(now, _ pairs) { now.under(prefix, func(key string) { now[key] = nil }) }
	}
	for fault, c := range map[string]struct {
		tamper func(now, before pairs)
		want   []string
	}{
		"begins a new epoch": {func(now, _ pairs) { now["head"] = nil }, []string{stay, failed, goOn}},
		"forgets numbers":    {lose("head/"), []string{stay, failed, goOn, reader}},
		"forgets claims":     {lose("claim/"), []string{claims}},
		"forgets records":    {lose("record/"), []string{stay, last}},
		"forgets who left, and when": {func(now, _ pairs) {
			now.under("grave/", func(key string) {
				now[strings.Replace(key, "grave/", "new/", 1)] = nil
				now[key] = nil
			})
		}, []string{reader}},
		"loses the last use": {func(now, before pairs) {
			for key := range now {
				now[key] = before[key]
			}
		}, []string{stay, last, away, failed, goOn, reader, claims}},
		"brings back what was deleted": {func(now, before pairs) {
			before.under("row/", func(key string) {
				if now[key] == nil {
					now[key] = before[key]
				}
			})
		}, []string{away, reader}},
		"keeps what failed": {func(now, _ pairs) { now["record/r"] = []byte("1") }, []string{stay, last, failed}},
	} {
		t.Run(fault, func(t *testing.T) { planted.Exactly(t, vpntest.ReopenCases(shelved(c.tamper)), c.want...) })
	}
}

func TestPlacesThatAreOne(t *testing.T) {
	open := shelved(nil)
	planted.Exactly(t, vpntest.ReopenCases(func(tb testing.TB, place string) (vpn.Stores, func()) {
		tb.Helper()
		return open(tb, strings.TrimSuffix(place, "/other"))
	}), "two places are two backends")
}
