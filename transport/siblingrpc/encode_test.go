package siblingrpc_test

import (
	"bytes"
	"math/rand/v2"
	"net/netip"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"

	"github.com/holdfastvpn/holdfast/gateway"
	"github.com/holdfastvpn/holdfast/gateway/gatewaytest"
	"github.com/holdfastvpn/holdfast/transport/siblingrpc"
)

func alike(t require.TestingT, want, got gateway.Note) {
	require.Empty(t, cmp.Diff(want, got, cmpopts.EquateComparable(netip.Addr{}, netip.AddrPort{}),
		cmpopts.EquateApproxTime(2*time.Microsecond), cmpopts.EquateEmpty()))
}

// note is a full one of n peers.
func note(n int, now time.Time) gateway.Note {
	now = now.Round(0)
	out := gateway.Note{
		Full: true, Ready: true, Applied: gateway.Revision{Epoch: 1 << 63, Number: 77},
		Owns:  []netip.Addr{netip.MustParseAddr("198.51.100.7"), netip.MustParseAddr("2001:db8::7")},
		Seen:  make([]gateway.Sighting, n),
		Clock: gateway.Reading{Wall: now.Add(-time.Hour), At: now.Add(-time.Millisecond), Synced: true},
	}
	for i := range out.Seen {
		p := gatewaytest.Peer(i + 1)
		out.Seen[i] = gateway.Sighting{
			Key: p.Key, By: "gw", Heard: now.Add(-time.Duration(i) * time.Millisecond), Handshake: now.Add(-time.Duration(i) * 2 * time.Millisecond),
			Endpoint: netip.AddrPortFrom(p.AllowedIPs[0].Addr(), 51820), Rx: uint64(i) << 20, Tx: uint64(i) << 18,
		}
	}
	return out
}

func TestNotesComeBackAsTheyWere(t *testing.T) {
	sent := time.Now().Round(0)
	received := sent.Add(-500 * 24 * time.Hour) // by the clock of the reader
	rapid.Check(t, func(t *rapid.T) {
		random := rand.New(rand.NewPCG(rapid.Uint64().Draw(t, "seed"), 0))
		half := func() bool { return random.IntN(2) == 0 }
		instant := func() time.Time {
			if random.IntN(4) == 0 {
				return time.Time{}
			}
			return sent.Add(-time.Duration(random.Int64N(int64(100 * 24 * time.Hour))))
		}
		n := gateway.Note{Full: half(), Ready: half(), Isolated: half(), Stalled: half(), Missing: []gateway.ID{"gw3", "gw4"}[:random.IntN(3)]}
		n.Applied = gateway.Revision{Epoch: random.Uint64(), Number: random.Uint64()}
		if half() {
			n.Clock = gateway.Reading{Wall: sent.Add(time.Duration(random.Int64N(int64(100 * 365 * 24 * time.Hour)))), At: instant(), Synced: half()}
		}
		ends := []netip.AddrPort{
			{}, netip.MustParseAddrPort("192.0.2.1:0"), netip.MustParseAddrPort("[fe80::1%eth0]:51820"),
			netip.MustParseAddrPort("[::ffff:192.0.2.1]:7"), netip.AddrPortFrom(netip.Addr{}, 7),
		}
		for i := range random.IntN(9) {
			n.Owns = append(n.Owns, ends[random.IntN(len(ends))].Addr())
			s := gateway.Sighting{Key: gatewaytest.Peer(i + 1).Key, By: "gw", Endpoint: ends[random.IntN(len(ends))]}
			if half() {
				s.Heard, s.Handshake, s.Rx, s.Tx = instant(), instant(), random.Uint64(), random.Uint64()
			}
			n.Seen = append(n.Seen, s)
		}
		n.Flows.Full = half()
		n.Flows.Here = []netip.Addr{netip.MustParseAddr("10.60.0.10"), netip.MustParseAddr("fd60::10")}[:random.IntN(3)]
		for _, list := range []*[]gateway.Flow{&n.Flows.Began, &n.Flows.Ended} {
			for range random.IntN(3) * random.IntN(3000) {
				end := func() netip.AddrPort {
					a := netip.AddrFrom4([4]byte{10, 20, byte(random.Uint32()), byte(random.Uint32())})
					if half() {
						a = netip.AddrFrom16([16]byte{0: 0xfd, 15: byte(random.Uint32())})
					}
					return netip.AddrPortFrom(a, uint16(random.Uint32()))
				}
				*list = append(*list, gateway.Flow{UDP: half(), From: end(), To: end(), Inner: end()})
			}
		}
		b, err := siblingrpc.AppendNote([]byte("before"), n, sent)
		require.NoError(t, err)
		got, err := siblingrpc.ParseNote(bytes.TrimPrefix(b, []byte("before")), "gw", received)
		require.NoError(t, err)
		instants := []*time.Time{&n.Clock.At}
		for i := range n.Seen {
			instants = append(instants, &n.Seen[i].Heard, &n.Seen[i].Handshake)
		}
		for _, at := range instants {
			if !at.IsZero() {
				*at = at.Add(received.Sub(sent))
			}
		}
		alike(t, n, got)
		for i := range n.Seen {
			require.False(t, got.Seen[i].Heard.After(n.Seen[i].Heard), "it looks younger")
		}
	})
}

// Who saw it is who sends it, whatever the note says.
func TestWhoSawItDoesNotCross(t *testing.T) {
	now := time.Now()
	n := note(1, now)
	n.Seen[0].By = "somebody else"
	b, err := siblingrpc.AppendNote(nil, n, now)
	require.NoError(t, err)
	require.NotContains(t, string(b), "somebody")
	got, err := siblingrpc.ParseNote(b, "gw2", now)
	require.NoError(t, err)
	require.Equal(t, gateway.ID("gw2"), got.Seen[0].By)
}

func TestInstantsThatMakeNoSense(t *testing.T) {
	now := time.Now().Round(0)
	n := gateway.Note{Seen: []gateway.Sighting{{Heard: now.Add(time.Hour), Handshake: time.Date(1, 1, 1, 0, 0, 1, 0, time.UTC)}}}
	b, err := siblingrpc.AppendNote(nil, n, now)
	require.NoError(t, err)
	got, err := siblingrpc.ParseNote(b, "gw", now)
	require.NoError(t, err)
	require.Equal(t, now, got.Seen[0].Heard, "what is yet to be counts as now")
	require.True(t, got.Seen[0].Handshake.Before(now.Add(-250*365*24*time.Hour)))
}

// What is written of a crowd cannot be read without its end, or with more after it.
func TestHalfOfItIsNothing(t *testing.T) {
	now := time.Now()
	b, err := siblingrpc.AppendNote(nil, note(20_000, now), now)
	require.NoError(t, err)
	for _, part := range [][]byte{nil, b[:1], b[:len(b)/3], b[:len(b)/2], b[:len(b)-1], append(bytes.Clone(b), 0), append(bytes.Clone(b), b...)} {
		got, err := siblingrpc.ParseNote(part, "gw", now)
		require.ErrorIs(t, err, siblingrpc.ErrInvalid)
		require.Zero(t, got)
	}
	for _, n := range []gateway.Note{
		{Seen: make([]gateway.Sighting, 1<<19+1)},
		{Flows: gateway.FlowNote{Began: make([]gateway.Flow, 1<<16), Ended: make([]gateway.Flow, 1<<16+1)}},
	} {
		_, err = siblingrpc.AppendNote(nil, n, now)
		require.ErrorIs(t, err, siblingrpc.ErrTooLarge)
	}
}

// Whatever comes, it is refused or understood, and what was understood is said again in
// the same way.
func FuzzParseNote(f *testing.F) {
	now := time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)
	zoned := note(3, now)
	zoned.Seen[1].Endpoint = netip.MustParseAddrPort("[fe80::1%eth0]:51820")
	zoned.Seen[2] = gateway.Sighting{Key: zoned.Seen[2].Key, By: "gw"}
	flow := gateway.Flow{
		UDP: true, From: netip.MustParseAddrPort("10.20.0.2:1"), To: netip.MustParseAddrPort("10.60.0.2:2"), Inner: netip.MustParseAddrPort("10.60.0.10:3"),
	}
	talks := gateway.Note{Flows: gateway.FlowNote{Full: true, Here: []netip.Addr{flow.Inner.Addr()}, Began: []gateway.Flow{flow, {}}, Ended: []gateway.Flow{flow}}}
	for _, n := range []gateway.Note{zoned, {}, talks, {Full: true, Seen: zoned.Seen[2:]}, {Owns: []netip.Addr{{}}}} {
		b, err := siblingrpc.AppendNote(nil, n, now)
		require.NoError(f, err)
		f.Add(b)
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		n, err := siblingrpc.ParseNote(b, "gw", now)
		if err != nil {
			require.Zero(t, n)
			return
		}
		again, err := siblingrpc.AppendNote(nil, n, now)
		require.NoError(t, err)
		got, err := siblingrpc.ParseNote(again, "gw", now)
		require.NoError(t, err)
		alike(t, n, got)
	})
}
