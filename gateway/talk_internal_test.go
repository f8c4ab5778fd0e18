package gateway

import (
	"context"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/holdfastvpn/holdfast/vpn/wgkey"
)

// A conversation whose link broke is over a moment after the next one has begun; that
// next one can be ended all the same.
func TestALateEndLeavesTheNextConversation(t *testing.T) {
	s := newSiblings("gw1")
	broken, cut := context.WithCancel(t.Context())
	_, endFirst := s.begin(broken, "gw2")
	cut()
	second, endSecond := s.begin(t.Context(), "gw2")
	defer endSecond()
	endFirst()
	require.NoError(t, second.Err())
	third, endThird := s.begin(t.Context(), "gw2")
	defer endThird()
	require.ErrorIs(t, context.Cause(second), ErrReplaced, "two talk at once")
	endSecond()
	s.only(nil, time.Now())
	require.ErrorIs(t, context.Cause(third), ErrUnknown, "who is no sibling any more talks on")
}

// What somebody said last before it was taken away is not taken in any more.
func TestWhoIsNoSiblingIsNotHeard(t *testing.T) {
	s, now := newSiblings("gw1"), time.Now()
	_, end := s.begin(t.Context(), "gw2")
	defer end()
	note := Note{Seen: []Sighting{{Key: wgkey.Public{1}, Heard: now, Handshake: now}}}
	s.hear("gw2", note, now, 0)
	_, carried := s.carry.Carrier(wgkey.Public{1})
	require.True(t, carried)
	s.only(nil, now)
	s.hear("gw2", note, now, 0)
	_, carried = s.carry.Carrier(wgkey.Public{1})
	require.False(t, carried)
}
