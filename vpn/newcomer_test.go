package vpn_test

import (
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/holdfastvpn/holdfast/gateway"
)

// A core that lags behind its store has seen what came and what went only
// together, or not at all: see the two tests.

// A gateway that another core told of a peer is told by this one that it is gone,
// although this one never saw the peer.
//
// proves P9 and P14.
func TestWhatCameAndWentBetweenTwoLooksIsTakenAway(t *testing.T) {
	bubble(t, func(r *rig) {
		gw := r.gateway("gw1")
		r.has(r.watch(r.core, gw, gateway.Config{}))
		r.stores.set(func(f *flaky) { f.badViews = true })
		r.add(1)
		elsewhere := r.want() // what another core says meanwhile
		require.Len(t, elsewhere.Peers, 1)
		r.drop(1)
		r.stores.set(func(f *flaky) { f.badViews = false })
		r.add(2)
		r.has(r.watch(r.core, gw, elsewhere))
	})
}

// A gateway that comes without a revision may have a device that is further than
// this core: it is told what is, or nothing.
//
// proves P9.
func TestANewcomerIsNotToldWhatWas(t *testing.T) {
	bubble(t, func(r *rig) {
		gw := r.gateway("gw1")
		r.add(1)
		r.has(r.watch(r.core, gw, gateway.Config{}))
		r.stores.set(func(f *flaky) { f.badViews = true })
		r.drop(1)
		w := r.watch(r.core, gw, gateway.Config{})
		updates, _, err := w.take()
		require.NoError(t, err)
		require.Empty(t, updates, "a peer that is deleted comes back")
		r.stores.set(func(f *flaky) { f.badViews = false })
		r.add(2)
		r.has(w)
	})
}
