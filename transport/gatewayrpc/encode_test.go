package gatewayrpc_test

import (
	"bytes"
	"math/rand/v2"
	"net/netip"
	"slices"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"

	"github.com/holdfastvpn/holdfast/gateway"
	"github.com/holdfastvpn/holdfast/gateway/gatewaytest"
	"github.com/holdfastvpn/holdfast/transport/gatewayrpc"
	"github.com/holdfastvpn/holdfast/vpn/wgkey"
)

func alike(t require.TestingT, want, got any) {
	require.Empty(t, cmp.Diff(want, got,
		cmpopts.EquateComparable(wgkey.Private{}, wgkey.Preshared{}, netip.Addr{}, netip.Prefix{}, netip.AddrPort{}),
		cmpopts.EquateApproxTime(2*time.Microsecond), cmpopts.EquateEmpty()))
}

func TestUpdatesComeBackAsTheyWere(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		old, now := gatewaytest.RandomConfig().Draw(t, "old"), gatewaytest.RandomConfig().Draw(t, "now")
		old.Revision = gateway.Revision{Epoch: rapid.Uint64().Draw(t, "epoch"), Number: rapid.Uint64().Draw(t, "number")}
		now.Interface.Carried = rapid.Bool().Draw(t, "carried")
		now.Interface.Inner = addrs("10.60.0.9", "fd60::9")[rapid.IntRange(0, 2).Draw(t, "inner"):]
		now.Interface.Floating = addrs("192.0.2.9", "192.0.2.10", "2001:db8::9")[rapid.IntRange(0, 3).Draw(t, "floating"):]
		now.Revision = gateway.Revision{Epoch: old.Revision.Epoch, Number: old.Revision.Number + 1}
		for _, u := range []gateway.Update{now.Since(old), now.Since(gateway.Config{}), {}, {Interface: &gateway.Interface{}}} {
			b, err := gatewayrpc.AppendUpdate([]byte("before"), u)
			require.NoError(t, err)
			got, err := gatewayrpc.ParseUpdate(bytes.TrimPrefix(b, []byte("before")))
			require.NoError(t, err)
			alike(t, u, got)
		}
	})
}

// Rows that no device would take cross as they are: the gateway leaves them out, and
// applies the others.
func TestBadRowsCross(t *testing.T) {
	u := gateway.Update{
		To: gateway.Revision{Epoch: 1, Number: 1},
		Interface: &gateway.Interface{
			MTU: -1, Addrs: []netip.Prefix{{}, netip.MustParsePrefix("::ffff:10.0.0.1/100")},
			Inner:    addrs("fd60::9", "::ffff:10.60.0.9", "::"),
			Floating: addrs("::ffff:192.0.2.9", "10.20.0.1", "::", "10.20.0.1"),
		},
		Set: []gateway.Peer{
			{Keepalive: -time.Hour, AllowedIPs: []netip.Prefix{netip.MustParsePrefix("10.0.0.1/8"), {}}},
			{Endpoint: netip.AddrPortFrom(netip.Addr{}, 7)},
			{Endpoint: netip.MustParseAddrPort("[fe80::1%eth0]:0")},
		},
	}
	b, err := gatewayrpc.AppendUpdate(nil, u)
	require.NoError(t, err)
	got, err := gatewayrpc.ParseUpdate(b)
	require.NoError(t, err)
	alike(t, u, got)
}

func addrs(list ...string) []netip.Addr {
	out := make([]netip.Addr, len(list))
	for i, s := range list {
		out[i] = netip.MustParseAddr(s)
	}
	return out
}

// An address that bytes cannot say would arrive as another one.
func TestFloatingAddressesThatCannotBeSaid(t *testing.T) {
	for name, c := range map[string]struct {
		list []netip.Addr
		want error
		text string
	}{
		"none":          {append(addrs("192.0.2.9"), netip.Addr{}), gatewayrpc.ErrInvalid, "Floating[1]"},
		"one of a zone": {addrs("2001:db8::9%eth0"), gatewayrpc.ErrInvalid, "Floating[0] is 2001:db8::9%eth0"},
		"too many":      {slices.Repeat(addrs("192.0.2.9"), 17), gatewayrpc.ErrTooLarge, "17 floating addresses and 0 inner ones, more than 16"},
		"all that fit":  {slices.Repeat(addrs("2001:db8::9"), 16), nil, ""},
	} {
		t.Run(name, func(t *testing.T) {
			u := gateway.Update{To: gateway.Revision{Epoch: 1, Number: 1}, Interface: &gateway.Interface{Inner: c.list}}
			_, err := gatewayrpc.AppendUpdate(nil, u)
			require.ErrorIs(t, err, c.want)
			u.Interface = &gateway.Interface{Floating: c.list}
			b, err := gatewayrpc.AppendUpdate(nil, u)
			if c.want != nil {
				require.ErrorIs(t, err, c.want)
				require.ErrorContains(t, err, c.text)
				return
			}
			require.NoError(t, err)
			got, err := gatewayrpc.ParseUpdate(b)
			require.NoError(t, err)
			alike(t, u, got)
		})
	}
}

func TestStatusesComeBackAsTheyWere(t *testing.T) {
	sent := time.Now().Round(0)
	received := sent.Add(500 * 24 * time.Hour) // by the clock of the reader
	moved := func(t time.Time) time.Time {
		if t.IsZero() {
			return t
		}
		return t.Add(received.Sub(sent))
	}
	rapid.Check(t, func(t *rapid.T) {
		var s gateway.Status
		random := rand.New(rand.NewPCG(rapid.Uint64().Draw(t, "seed"), 0))
		instant := func() time.Time {
			if random.IntN(4) == 0 {
				return time.Time{}
			}
			return sent.Add(-time.Duration(random.Int64N(int64(100 * 24 * time.Hour))))
		}
		s.Epoch, s.Full, s.Ready, s.Restored = random.Uint64(), random.IntN(2) == 0, random.IntN(2) == 0, random.IntN(2) == 0
		s.Isolated, s.Stalled = random.IntN(2) == 0, random.IntN(2) == 0
		s.Applied = gateway.Revision{Epoch: random.Uint64(), Number: random.Uint64()}
		s.Drifts, s.Backend, s.Version = random.Uint64(), "kernel", "1.2.3"
		for i := range random.IntN(9) {
			p := gatewaytest.Peer(i + 1)
			by := gateway.ID([]string{"", "gw", "other"}[random.IntN(3)])
			s.Seen = append(s.Seen, gateway.Sighting{
				Key: p.Key, By: by, Heard: instant(), Handshake: instant(), Rx: random.Uint64(), Tx: random.Uint64(),
				Endpoint: netip.AddrPortFrom(p.AllowedIPs[random.IntN(2)].Addr(), uint16(random.Uint32())),
			})
			s.Failed = append(s.Failed, gateway.Problem{Key: p.Key, What: "ä", At: instant()})
			s.Drift = append(s.Drift, gateway.Problem{What: "x", At: instant()})
		}
		b, err := gatewayrpc.AppendStatus(nil, s, sent)
		require.NoError(t, err)
		got, err := gatewayrpc.ParseStatus(b, received)
		require.NoError(t, err)
		for i := range s.Seen {
			s.Seen[i].Heard, s.Seen[i].Handshake = moved(s.Seen[i].Heard), moved(s.Seen[i].Handshake)
			s.Failed[i].At, s.Drift[i].At = moved(s.Failed[i].At), moved(s.Drift[i].At)
		}
		alike(t, s, got)
		for i := range s.Seen {
			require.False(t, got.Seen[i].Heard.After(s.Seen[i].Heard), "it looks younger")
		}
	})
}

// What is written of a crowd cannot be read without its end, or with more after it.
func TestHalfOfItIsNothing(t *testing.T) {
	now := time.Now()
	update, err := gatewayrpc.AppendUpdate(nil, gatewaytest.Config(20_000).Since(gateway.Config{}))
	require.NoError(t, err)
	status, err := gatewayrpc.AppendStatus(nil, seen(20_000, now), now)
	require.NoError(t, err)
	for _, b := range [][]byte{update, status} {
		for _, part := range [][]byte{nil, b[:1], b[:len(b)/3], b[:len(b)/2], b[:len(b)-1], append(bytes.Clone(b), 0), append(bytes.Clone(b), b...)} {
			_, err := gatewayrpc.ParseUpdate(part)
			require.ErrorIs(t, err, gatewayrpc.ErrInvalid)
			_, err = gatewayrpc.ParseStatus(part, now)
			require.ErrorIs(t, err, gatewayrpc.ErrInvalid)
		}
	}
}

// Whatever comes, it is refused or understood, and what was understood is said again in
// the same way.
func FuzzParseUpdate(f *testing.F) {
	u := gatewaytest.Config(3).Since(gateway.Config{})
	u.Remove, u.Set[0].Preshared, u.Set[1].Keepalive = gatewaytest.Keys(2), gatewaytest.PresharedKey(1), time.Minute
	u.Set[2].Endpoint = netip.MustParseAddrPort("[fe80::1%eth0]:51820")
	floats := gatewaytest.Interface()
	floats.Floating, floats.Mark = addrs("192.0.2.9", "2001:db8::9"), 0x6866ca6c
	for _, u := range []gateway.Update{u, {}, {Interface: &gateway.Interface{}}, {Interface: &floats}, {From: u.To, To: u.To, Remove: u.Remove}} {
		b, err := gatewayrpc.AppendUpdate(nil, u)
		require.NoError(f, err)
		f.Add(b)
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		u, err := gatewayrpc.ParseUpdate(b)
		if err != nil {
			require.Zero(t, u)
			return
		}
		again, err := gatewayrpc.AppendUpdate(nil, u)
		require.NoError(t, err)
		got, err := gatewayrpc.ParseUpdate(again)
		require.NoError(t, err)
		alike(t, u, got)
		_, _ = gateway.Config{}.Apply(got)
	})
}

func FuzzParseStatus(f *testing.F) {
	now := time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)
	s := seen(3, now)
	s.Failed = []gateway.Problem{{What: "x", At: now}}
	s.Seen[1].By = "other"
	for _, s := range []gateway.Status{s, {}} {
		b, err := gatewayrpc.AppendStatus(nil, s, now)
		require.NoError(f, err)
		f.Add(b)
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		s, err := gatewayrpc.ParseStatus(b, now)
		if err != nil {
			require.Zero(t, s)
			return
		}
		again, err := gatewayrpc.AppendStatus(nil, s, now)
		require.NoError(t, err)
		got, err := gatewayrpc.ParseStatus(again, now)
		require.NoError(t, err)
		alike(t, s, got)
		require.Error(t, gatewayrpc.ParseError(b))
	})
}
