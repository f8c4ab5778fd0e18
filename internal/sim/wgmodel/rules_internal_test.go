package wgmodel

import (
	"net/netip"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/holdfastvpn/holdfast/vpn/wgkey"
)

// Timers are never early, and late by less than a slot of their level.
func TestWheel(t *testing.T) {
	ms := func(n int) time.Duration { return time.Duration(n) * time.Millisecond }
	for _, c := range []struct{ at, after, want time.Duration }{
		{0, ms(100), ms(104)},
		{0, time.Second, ms(1024)},       // slots of 32 ms
		{ms(4), time.Second, ms(1024)},   // which it can share with others
		{0, 10 * time.Second, ms(10240)}, // of 256 ms
		{0, 25 * time.Second, ms(26624)}, // of 2.048 s
		{ms(26624), 25 * time.Second, ms(53248)},
		{0, 540 * time.Second, ms(540672)}, // of 16.384 s
	} {
		require.Equal(t, c.want, wheel(c.at, c.after), "%v at %v", c.after, c.at)
	}
}

func TestKeypairs(t *testing.T) {
	pair := func(id uint64, initiator bool) *keypair { return &keypair{id: id, initiator: initiator} }
	has := func(ks keypairs, current, previous, next uint64) {
		t.Helper()
		id := func(k *keypair) uint64 {
			if k == nil {
				return 0
			}
			return k.id
		}
		require.Equal(t, [3]uint64{current, previous, next}, [3]uint64{id(ks.current), id(ks.previous), id(ks.next)})
	}
	var ks keypairs
	ks.begin(pair(1, true))
	has(ks, 1, 0, 0)
	ks.begin(pair(2, true))
	has(ks, 2, 1, 0)
	ks.begin(pair(3, false))
	has(ks, 2, 0, 3)
	ks.begin(pair(4, false))
	has(ks, 2, 0, 4)
	require.False(t, ks.confirm(ks.current))
	require.True(t, ks.confirm(ks.next))
	has(ks, 4, 2, 0)
	ks.begin(pair(5, false))
	ks.begin(pair(6, true))
	has(ks, 6, 5, 0)
	require.Nil(t, ks.find(4))
	require.Equal(t, ks.previous, ks.find(5))
}

// bare is an interface with one peer, that somebody else plays.
func bare(t *testing.T, play func(p *peer, in packet)) {
	t.Helper()
	synctest.Test(t, func(*testing.T) {
		n := NewNetwork(1)
		f := newIface(n.Host(netip.MustParseAddr("192.0.2.1")))
		f.up, f.key = true, wgkey.Public{1}
		p, _ := f.add(wgkey.Public{2})
		play(p, packet{from: netip.MustParseAddrPort("192.0.2.2:2"), to: netip.MustParseAddrPort("192.0.2.1:1")})
		n.Close()
	})
}

// of reads something of a network that lives.
func of[T any](p *peer, read func() T) T {
	n := p.f.host.net
	n.mu.Lock()
	defer n.mu.Unlock()
	return read()
}

func received(p *peer) uint64 { return of(p, func() uint64 { return p.rx }) }

func receive(p *peer, in packet) { of(p, func() any { p.f.receive(in); return nil }) }

func begin(p *peer, k *keypair) { of(p, func() any { p.begin(k); return nil }) }

func TestInitiationsComeOneInTwentyMilliseconds(t *testing.T) {
	bare(t, func(p *peer, in packet) {
		accepts := func(stamp int64) bool {
			before := received(p)
			in.body = &initiation{from: p.key, to: p.f.key, stamp: stamp}
			receive(p, in)
			return received(p) == before+sizeInitiation
		}
		require.True(t, accepts(1))
		time.Sleep(flood - 1)
		require.False(t, accepts(2))
		time.Sleep(time.Nanosecond)
		require.True(t, accepts(2))
		time.Sleep(time.Minute)
		require.False(t, accepts(2))
		require.False(t, accepts(1))
	})
}

// What comes is taken for 180 s, and no longer, whatever is sent.
func TestASessionIsHeardFor180Seconds(t *testing.T) {
	bare(t, func(p *peer, in packet) {
		begin(p, &keypair{id: 9, initiator: true, born: time.Now(), sends: true, receives: true})
		in.body = &data{session: 9}
		time.Sleep(rejectAfter - 1)
		receive(p, in)
		require.Equal(t, uint64(sizeData), received(p))
		time.Sleep(time.Nanosecond)
		receive(p, in)
		require.Equal(t, uint64(sizeData), received(p))
		require.False(t, of(p, func() bool { return p.keys.current.receives }))
	})
}

// Data that nobody answers is answered by a keepalive after 10 s, and by another one
// if more came meanwhile.
func TestPassiveKeepalives(t *testing.T) {
	for more, want := range []uint64{1, 2} {
		bare(t, func(p *peer, in packet) {
			begin(p, &keypair{id: 9, born: time.Now(), sends: true, receives: true})
			p.f.host.net.Host(in.from.Addr())
			in.body = &data{session: 9, inner: &inner{size: 20}}
			receive(p, in) // which confirms it
			if more > 0 {
				time.Sleep(time.Second)
				receive(p, in)
			}
			time.Sleep(30 * time.Second)
			synctest.Wait()
			require.Equal(t, want*sizeData, of(p, func() uint64 { return p.tx }))
		})
	}
}
