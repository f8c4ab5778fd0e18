package location_test

import (
	"encoding/binary"
	"net/netip"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/holdfastvpn/holdfast/location"
	"github.com/holdfastvpn/holdfast/location/locationtest"
)

// source gives values out of bytes until they end, then zeros.
type source []byte

func (s *source) take(n int) []byte {
	out := make([]byte, n)
	*s = (*s)[copy(out, *s):]
	return out
}

func (s *source) byte() byte { return s.take(1)[0] }

func (s *source) text() string { return string(s.take(int(s.byte()) % 80)) }

func (s *source) addr() netip.Addr {
	switch s.byte() % 8 {
	case 0:
		return netip.AddrFrom16([16]byte(s.take(16)))
	case 1:
		return netip.AddrFrom16([16]byte(s.take(16))).WithZone(s.text())
	case 2:
		return netip.Addr{}
	case 3, 4:
		return netip.AddrFrom16([16]byte{0xfd, 15: s.byte()})
	}
	return netip.AddrFrom4([4]byte(s.take(4)))
}

func (s *source) prefix() netip.Prefix {
	p := netip.PrefixFrom(s.addr(), int(s.byte())%140)
	if s.byte()%4 > 0 {
		return p.Masked()
	}
	return p
}

func list[T any](s *source, one func() T) []T {
	var out []T
	for range s.byte() % 4 {
		out = append(out, one())
	}
	return out
}

func (s *source) location() location.Location {
	l := locationtest.Full("a")
	l.Name, l.Host = s.text(), s.text()
	if s.byte()%4 > 0 { // or else little gets past them
		l.Name, l.Host = "office", "vpn.example.org"
	}
	l.Networks, l.Gateway, l.Reserved = list(s, s.prefix), list(s, s.addr), list(s, s.prefix)
	l.Port, l.MTU = binary.BigEndian.Uint16(s.take(2)), int(int16(binary.BigEndian.Uint16(s.take(2))))
	l.DNS, l.Search, l.AllowedIPs = list(s, s.addr), list(s, s.text), list(s, s.prefix)
	l.Destinations, l.Isolated = list(s, s.prefix), s.byte()%2 == 1
	l.ClientKeepalive = time.Duration(int64(binary.BigEndian.Uint64(s.take(8))))
	l.Floating = list(s, s.addr)
	l.InnerFloating = list(s, s.addr)
	return l.WithDefaults()
}

// Whatever is in a row: Validate does not panic, and what it lets through has
// gateway addresses and a pool that can be worked with.
func FuzzValidate(f *testing.F) {
	f.Add([]byte{})
	f.Add([]byte{0, 0, 1, 1, 5, 10, 20, 0, 0, 16, 1})
	f.Add([]byte{0, 0, 1, 2, 5, 10, 20, 0, 0, 16, 1, 3, 0, 64, 1, 1, 5, 10, 20, 0, 9})
	f.Fuzz(func(t *testing.T, b []byte) {
		s := source(b)
		l := s.location()
		gateways := l.GatewayAddrs()
		pool := location.NewPool(l)
		if err := l.Validate(); err != nil {
			var field *location.FieldError
			require.ErrorAs(t, err, &field)
			return
		}
		require.Len(t, gateways, len(l.Networks))
		for i, g := range gateways {
			require.Equal(t, l.Networks[i], g.Masked())
			require.True(t, location.Usable(l.Networks[i], g.Addr()))
			require.False(t, pool.Take(g.Addr()))
		}
		seen := map[netip.Addr]bool{}
		for range 5 {
			got, ok := pool.NextAddrs()
			if !ok {
				break
			}
			for _, a := range got {
				require.False(t, seen[a])
				seen[a] = true
				require.False(t, pool.Take(a))
				for _, r := range l.Reserved {
					require.False(t, r.Contains(a))
				}
			}
		}
	})
}
