package gateway_test

import (
	"net/netip"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/holdfastvpn/holdfast/gateway"
	"github.com/holdfastvpn/holdfast/gateway/memdevice"
	"github.com/holdfastvpn/holdfast/vpn/wgkey"
)

// bytes makes a Config of any bytes, nonsense included.
type bytes []byte

func (b *bytes) next() byte {
	if len(*b) == 0 {
		return 0
	}
	n := (*b)[0]
	*b = (*b)[1:]
	return n
}

func (b *bytes) key() (k [wgkey.Size]byte) {
	k[0], k[31] = b.next()%8, b.next()%2
	return k
}

func (b *bytes) prefix() netip.Prefix {
	switch kind := b.next(); kind % 4 {
	case 0:
		return netip.PrefixFrom(netip.AddrFrom4([4]byte{10, b.next() % 4, b.next(), b.next()}), int(kind>>2)%33)
	case 1:
		a := [16]byte{0: 0xfd, 1: b.next() % 4, 15: b.next()}
		return netip.PrefixFrom(netip.AddrFrom16(a), int(b.next())%129)
	case 2:
		return netip.PrefixFrom(netip.AddrFrom16([16]byte{10: 0xff, 11: 0xff, 12: b.next()}), int(b.next()))
	default:
		return netip.PrefixFrom(netip.AddrFrom4([4]byte{b.next(), 0, 0, b.next()}), int(b.next())-100)
	}
}

func (b *bytes) prefixes() []netip.Prefix {
	var out []netip.Prefix
	for range b.next() % 5 {
		out = append(out, b.prefix())
	}
	return out
}

func (b *bytes) config() gateway.Config {
	c := gateway.Config{Interface: gateway.Interface{
		Key: wgkey.PrivateFrom(b.key()), Port: uint16(b.next()) << 8, MTU: 1000 + 50*int(b.next()),
		Mark: uint32(b.next()), Addrs: b.prefixes(), Masquerade: b.prefixes(),
		Destinations: b.prefixes(), Isolated: b.next()%2 == 1,
	}}
	for range b.next() % 6 {
		p := gateway.Peer{
			Key: b.key(), Preshared: wgkey.PresharedFrom(b.key()), AllowedIPs: b.prefixes(),
			Keepalive: time.Duration(int8(b.next())) * time.Second / time.Duration(1+b.next()%2),
		}
		if b.next()%3 == 0 {
			p.Endpoint = netip.AddrPortFrom(b.prefix().Addr(), uint16(b.next()))
		}
		c.Peers = append(c.Peers, p)
	}
	return c
}

// Whatever a configuration is made of: nothing panics, its error names a field,
// and if it is valid then one round leads from any other valid one to it.
func FuzzConfig(f *testing.F) {
	valid := []byte{
		1, 1, 200, 10, 0, // key, port, MTU, mark
		1, 0x40, 0, 0, 1, // one address
		0,    // nothing masqueraded
		0, 0, // no destinations, not isolated
		2,                                     // two peers:
		2, 1, 0, 0, 1, 0x80, 1, 2, 0, 0, 0, 1, // key, preshared, one prefix, keepalive, no endpoint
		3, 1, 1, 0, 0, 25, 0, 1, // key, preshared, no prefix, keepalive, no endpoint
	}
	seed := bytes(valid)
	c := seed.config()
	require.NoError(f, c.Canonical().Validate())
	require.Len(f, c.Peers, 2)
	f.Add(valid, valid[:13])
	f.Add([]byte{}, []byte("nonsense"))
	f.Fuzz(func(t *testing.T, one, other []byte) {
		d := memdevice.New()
		for _, raw := range []bytes{one, other} {
			c := raw.config()
			before := c.Clone()
			canonical := c.Canonical()
			require.Equal(t, before, c)
			require.True(t, canonical.Equal(canonical.Canonical()))
			if err := c.Validate(); err == nil {
				require.NoError(t, canonical.Validate(), "the canonical form of what is valid is not")
				require.True(t, c.Equal(canonical), "two forms of one configuration are valid")
			}
			if err := canonical.Validate(); err != nil {
				var wrong *gateway.FieldError
				require.ErrorAs(t, err, &wrong)
				require.NotEmpty(t, wrong.Field)
				continue
			}
			p := gateway.Diff(canonical, observe(t, d))
			require.NoError(t, d.Apply(t.Context(), p))
			require.Empty(t, gateway.Diff(canonical, observe(t, d)), "one round is not enough:\n%s", p)
			require.Len(t, observe(t, d).Peers, len(canonical.Peers))
		}
	})
}
