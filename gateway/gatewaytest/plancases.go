package gatewaytest

import (
	"context"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/holdfastvpn/holdfast/gateway"
	"github.com/holdfastvpn/holdfast/vpn/wgkey"
)

func planCases() []deviceCase {
	return []deviceCase{
		{"doing what is done is no error", doneIsDone},
		{"a step that fails lets the others through", failsAlone},
		{"there are no peers without an interface", needsInterface},
		{"random configurations are reached in one round", convergesAtRandom},
	}
}

func contextWithCancel(tb testing.TB) (context.Context, context.CancelFunc) {
	tb.Helper()
	return context.WithCancel(tb.Context())
}

func doneIsDone(tb testing.TB, h Harness) {
	d := h.Open(tb)
	do(tb, d,
		remove(PrivateKey(1).Public()),
		gateway.Step{Verb: gateway.Unroute, Route: Prefixes("192.0.2.0/24")[0]},
		gateway.Step{Verb: gateway.Destroy},
	)
	c := rich()
	p := gateway.Diff(c, look(tb, d))
	do(tb, d, p...)
	is(tb, d, c)
	do(tb, d, p...)
	is(tb, d, c)
	do(tb, d, remove(PrivateKey(99).Public()))
	is(tb, d, c)
}

func failsAlone(tb testing.TB, h Harness) {
	d := h.Open(tb)
	c := rich()
	reach(tb, d, c)
	unknown := gateway.Step{Verb: 200}
	route := gateway.Step{Verb: gateway.Route, Route: Prefixes("198.51.100.0/24")[0]}
	fresh := Peers(5)
	err := d.Apply(tb.Context(), gateway.Plan{
		remove(c.Peers[0].Key), unknown, set(missing(c.Peers, fresh)), unknown, route,
	})
	var failed *gateway.ApplyError
	require.ErrorAs(tb, err, &failed, "the error does not name what failed")
	require.Len(tb, failed.Failed, 2)
	require.Error(tb, failed.Failed[1])
	require.Error(tb, failed.Failed[3])
	s := look(tb, d)
	require.NotContains(tb, keysOf(s.Peers), c.Peers[0].Key, "a step before the failing one was not done")
	require.Contains(tb, keysOf(s.Peers), missing(c.Peers, fresh).Key, "a step after the failing one was not done")
	require.Contains(tb, s.Routes, route.Route, "the last step was not done")
}

// missing returns a peer of all that is not in some.
func missing(some, all []gateway.Peer) gateway.Peer {
	in := map[wgkey.Public]bool{}
	for _, p := range some {
		in[p.Key] = true
	}
	for _, p := range all {
		if !in[p.Key] {
			return p
		}
	}
	return gateway.Peer{}
}

func needsInterface(tb testing.TB, h Harness) {
	d := h.Open(tb)
	for _, s := range []gateway.Step{
		set(Peers(1)[0]),
		{Verb: gateway.Route, Route: Prefixes("192.0.2.0/24")[0]},
		{Verb: gateway.Configure, Fields: gateway.FieldMTU, Interface: Interface()},
	} {
		require.Error(tb, d.Apply(tb.Context(), gateway.Plan{s}), "%v without an interface", s)
		require.False(tb, look(tb, d).Exists)
	}
}

func convergesAtRandom(tb testing.TB, h Harness) {
	const rounds = 60
	d, stranger := h.Open(tb), h.Open(tb)
	wants, strange := RandomConfig(), RandomPlan()
	for seed := range rounds {
		c := wants.Example(seed)
		if seed%10 == 9 {
			c = gateway.Config{}
		}
		_ = stranger.Apply(tb.Context(), strange.Example(seed)) // some of it may fail
		have := look(tb, d)
		p := gateway.Diff(c, have)
		require.NoError(tb, d.Apply(tb.Context(), p), "round %d:\n%s", seed, p)
		require.Empty(tb, gateway.Diff(c, look(tb, d)).String(), "round %d is not enough:\n%s", seed, p)
		is(tb, d, c)
	}
}
