package gateway

import (
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/holdfastvpn/holdfast/vpn/wgkey"
)

// Each part is a plan like the whole, those who come first are in the first, and nothing
// is left out.
func TestARoundIsDoneInParts(t *testing.T) {
	var o stages
	step := func(n byte, v Verb) Step { return Step{Verb: v, Peer: Peer{Key: wgkey.Public{n}}} }
	for n := range byte(40) {
		o.kicks = append(o.kicks, step(n, Kick))
	}
	require.Equal(t, []Plan{o.plan()}, inParts(o.plan()), "there is nothing to wait for")
	require.Empty(t, inParts(nil)[0])
	for n := range byte(40) {
		if n%3 != 0 {
			o.removes, o.sets = append(o.removes, step(n, Remove)), append(o.sets, step(n, Set))
		}
	}
	all := o.plan()
	parts := inParts(all)
	require.Len(t, parts, 3)
	var together stages
	for i, p := range parts {
		stage := Remove
		for _, s := range p {
			require.GreaterOrEqual(t, s.Verb, stage, "what takes away comes first")
			stage = s.Verb
			require.Equal(t, i, int(s.Peer.Key[0])/16)
			switch s.Verb {
			case Remove:
				together.removes = append(together.removes, s)
			case Set:
				together.sets = append(together.sets, s)
			default:
				together.kicks = append(together.kicks, s)
			}
		}
	}
	require.Equal(t, all, together.plan())
}
