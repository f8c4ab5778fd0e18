package gateway

import (
	"reflect"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/holdfastvpn/holdfast/vpn/wgkey"
)

// Every field of what is known of a peer is remembered: one that is new fails here
// until it is, or is named here with the reason why not.
func TestEveryFieldIsRemembered(t *testing.T) {
	at := time.Date(2026, 3, 1, 12, 0, 0, 7, time.UTC)
	one := track{
		seen:      Sighting{Key: wgkey.Public{1}, By: "gw", Heard: at, Handshake: at.Add(-time.Hour), Rx: 1, Tx: 2},
		handshake: at.Add(time.Hour), rx: 3, tx: 4, changed: 1, gone: at.Add(-time.Minute),
	}
	for _, v := range []reflect.Value{reflect.ValueOf(one), reflect.ValueOf(one.seen)} {
		for f := range v.Type().Fields() {
			if v.Type() == reflect.TypeFor[Sighting]() && f.Name == "Endpoint" {
				continue // stays in the memory of processes; the device tells it again
			}
			require.False(t, v.FieldByIndex(f.Index).IsZero(), "set %s.%s here, and remember it", v.Type(), f.Name)
		}
	}
	a := NewActivity("gw")
	a.tracks, a.last, a.clock = []track{one}, at.Add(time.Second), 1
	b := NewActivity("gw")
	m := a.Remember(at.Add(-2 * time.Hour))
	for _, p := range m.Peers {
		for f := range reflect.TypeFor[RememberedPeer]().Fields() {
			require.False(t, reflect.ValueOf(p).FieldByIndex(f.Index).IsZero(), f.Name)
		}
	}
	const year = 365 * 24 * time.Hour
	b.Recall(m, at.Add(-2*time.Hour+year)) // the wall clock was set
	one.seen.Heard, one.seen.Handshake, one.gone = one.seen.Heard.Add(year), one.seen.Handshake.Add(year), one.gone.Add(year)
	require.Equal(t, []track{one}, b.tracks)
	require.Equal(t, a.last.Add(year), b.last)

	a.Shift(year)
	require.Equal(t, a.tracks, b.tracks)
	require.Equal(t, a.last, b.last)

	c := NewActivity("gw")
	c.Observe(&State{}, at)
	c.Recall(m, at)
	require.Empty(t, c.tracks, "what was seen since is overwritten")
}
