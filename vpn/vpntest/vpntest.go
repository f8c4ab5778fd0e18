// Package vpntest says whether a backend is fit for a Core: [RunStores] is the
// contract of vpn.Stores, and of the stores that it is made of, as running code.
//
//	func TestStores(t *testing.T) {
//		vpntest.RunStores(t, func(tb testing.TB) vpn.Stores { return open(tb, tb.TempDir()) })
//	}
package vpntest

import (
	"iter"
	"testing"

	"github.com/holdfastvpn/holdfast/location"
	"github.com/holdfastvpn/holdfast/location/locationtest"
	"github.com/holdfastvpn/holdfast/peer"
	"github.com/holdfastvpn/holdfast/peer/peertest"
	"github.com/holdfastvpn/holdfast/vpn"
)

// RunStores checks a backend against its whole contract: locationtest.RunStore,
// peertest.RunStore, and what only a backend as a whole can promise. open
// returns an empty backend; what has to be closed, it gives to Cleanup. Each
// case opens its own.
func RunStores(t *testing.T, open func(testing.TB) vpn.Stores) {
	t.Helper()
	t.Run("locations", func(t *testing.T) {
		locationtest.RunStore(t, func(tb testing.TB) location.Store {
			tb.Helper()
			return open(tb).Locations()
		})
	})
	t.Run("devices", func(t *testing.T) {
		peertest.RunStore(t, func(tb testing.TB) peer.Store {
			tb.Helper()
			return open(tb).Devices()
		})
	})
	for name, test := range Cases(open) {
		t.Run(name, func(t *testing.T) { test(t) })
	}
}

// Cases yields what RunStores runs beside the suites of the domain, by name: for
// suites that try broken backends.
func Cases(open func(testing.TB) vpn.Stores) iter.Seq2[string, func(testing.TB)] {
	return func(yield func(string, func(testing.TB)) bool) {
		for _, c := range []struct {
			name string
			test func(testing.TB, vpn.Stores)
		}{
			{"a record comes back", recordComesBack},
			{"records are listed in pages", recordPages},
			{"a record's edit decides", recordEdit},
			{"records are copies", recordCopies},
			{"parallel record updates lose nothing", recordsInParallel},
			{"a write raises by one and stamps", raises},
			{"a write of several locations raises each", raisesEach},
			{"what is not written raises nothing", raisesNothing},
			{"the number outlives the location", outlives},
			{"a location that never was", neverWas},
			{"a whole view has what is there", wholeView},
			{"what cannot be continued is told whole", toldWhole},
			{"a later view has what changed", laterView},
			{"removals are told", removals},
			{"heads agree with views", headsAgree},
			{"a view is one moment", oneMoment},
			{"updates of others are seen at once", seenAtOnce},
			{"hints come", hintsCome},
			{"a slow reader of hints holds up nobody", slowReader},
			{"hints end with their context", hintsEnd},
			{"cancelled context", cancelled},
		} {
			if !yield(c.name, func(tb testing.TB) {
				tb.Helper()
				c.test(tb, open(tb))
			}) {
				return
			}
		}
		yield("two backends are two histories", func(tb testing.TB) {
			tb.Helper()
			twoHistories(tb, open(tb), open(tb))
		})
	}
}
