package wgdevice

// Internal: the text protocol is nobody else's business.

import (
	"bytes"
	"fmt"
	"io"
	"net/netip"
	"slices"
	"strings"
	"testing"
	"testing/iotest"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"

	"github.com/holdfastvpn/holdfast/gateway"
	"github.com/holdfastvpn/holdfast/vpn/wgkey"
)

func TestSettingsText(t *testing.T) {
	key, port, mark, zero := wgkey.PrivateFrom([32]byte{0: 8, 31: 0x41}), uint16(51820), uint32(0xffffffff), uint32(0)
	require.Empty(t, appendSettings(nil, settings{}), "what is nil stays as it is")
	require.Equal(t, "private_key=08"+strings.Repeat("00", 30)+"41\nlisten_port=51820\nfwmark=4294967295\n",
		string(appendSettings(nil, settings{key: &key, port: &port, mark: &mark})))
	require.Equal(t, "fwmark=0\n", string(appendSettings(nil, settings{mark: &zero})))
}

func TestChangesText(t *testing.T) {
	k1, k2, k3 := wgkey.Public{1}, wgkey.Public{2}, wgkey.Public{3}
	zeros := strings.Repeat("00", 31) + "\n"
	got := appendChanges(nil, []change{
		{peer: gateway.Peer{Key: k1, AllowedIPs: []netip.Prefix{netip.MustParsePrefix("10.0.0.0/8")}}, remove: true},
		{peer: gateway.Peer{Key: k2}},
		{peer: gateway.Peer{
			Key: k3, Preshared: wgkey.PresharedFrom([32]byte{9}), Keepalive: 25 * time.Second,
			Endpoint:   netip.MustParseAddrPort("[2001:db8::1]:1000"),
			AllowedIPs: []netip.Prefix{netip.MustParsePrefix("10.0.0.1/32"), netip.MustParsePrefix("::/0")},
		}},
	})
	require.Equal(t, "public_key=01"+zeros+"remove=true\n"+
		"public_key=02"+zeros+"preshared_key=00"+zeros+"persistent_keepalive_interval=0\nreplace_allowed_ips=true\n"+
		"public_key=03"+zeros+"preshared_key=09"+zeros+"endpoint=[2001:db8::1]:1000\npersistent_keepalive_interval=25\n"+
		"replace_allowed_ips=true\nallowed_ip=10.0.0.1/32\nallowed_ip=::/0\n", string(got))
}

// answer is what WireGuard says of the state.
func answer(s gateway.State) []byte {
	var b []byte
	if !s.Interface.Key.IsZero() {
		b = appendKey(b, "private_key", s.Interface.Key.Reveal())
	}
	if s.Interface.Port != 0 {
		b = appendNumber(b, "listen_port", uint64(s.Interface.Port))
	}
	if s.Interface.Mark != 0 {
		b = appendNumber(b, "fwmark", uint64(s.Interface.Mark))
	}
	for _, p := range s.Peers {
		b = appendKey(b, "public_key", p.Key)
		b = appendKey(b, "preshared_key", p.Preshared.Reveal())
		b = append(b, "protocol_version=1\n"...)
		if p.Endpoint.IsValid() {
			b = fmt.Appendf(b, "endpoint=%s\n", p.Endpoint)
		}
		at := int64(0)
		if !p.Handshake.IsZero() {
			at = p.Handshake.UnixNano()
		}
		b = fmt.Appendf(b, "last_handshake_time_sec=%d\nlast_handshake_time_nsec=%d\n", at/1e9, at%1e9)
		b = fmt.Appendf(b, "tx_bytes=%d\nrx_bytes=%d\npersistent_keepalive_interval=%d\n", p.Tx, p.Rx, p.Keepalive/time.Second)
		for _, a := range p.AllowedIPs {
			b = fmt.Appendf(b, "allowed_ip=%s\n", a)
		}
	}
	return b
}

func anyKey(t *rapid.T, name string) (k [32]byte) {
	copy(k[:], rapid.SliceOfN(rapid.Byte(), 32, 32).Draw(t, name))
	return k
}

func anyPrefix(t *rapid.T) netip.Prefix {
	if rapid.Bool().Draw(t, "v4") {
		a := netip.AddrFrom4([4]byte(rapid.SliceOfN(rapid.Byte(), 4, 4).Draw(t, "addr")))
		return netip.PrefixFrom(a, rapid.IntRange(0, 32).Draw(t, "bits")).Masked()
	}
	a := netip.AddrFrom16([16]byte(rapid.SliceOfN(rapid.Byte(), 16, 16).Draw(t, "addr")))
	if a.Is4In6() {
		a = netip.IPv6LinkLocalAllNodes()
	}
	return netip.PrefixFrom(a, rapid.IntRange(0, 128).Draw(t, "bits")).Masked()
}

func anyState(t *rapid.T) gateway.State {
	var s gateway.State
	s.Interface.Key = wgkey.PrivateFrom(anyKey(t, "private"))
	s.Interface.Port = rapid.Uint16().Draw(t, "port")
	s.Interface.Mark = rapid.Uint32().Draw(t, "mark")
	for range rapid.IntRange(0, 5).Draw(t, "peers") {
		p := gateway.PeerState{
			Key:       anyKey(t, "public"),
			Preshared: wgkey.PresharedFrom(anyKey(t, "preshared")),
			Keepalive: time.Duration(rapid.Uint16().Draw(t, "keepalive")) * time.Second,
			Rx:        rapid.Uint64().Draw(t, "rx"), Tx: rapid.Uint64().Draw(t, "tx"),
		}
		if at := rapid.Int64Range(0, 1<<62).Draw(t, "handshake"); at != 0 {
			p.Handshake = time.Unix(0, at)
		}
		if rapid.Bool().Draw(t, "endpoint") {
			p.Endpoint = netip.AddrPortFrom(anyPrefix(t).Addr(), rapid.Uint16().Draw(t, "port"))
		}
		for range rapid.IntRange(0, 4).Draw(t, "prefixes") {
			p.AllowedIPs = append(p.AllowedIPs, anyPrefix(t))
		}
		s.Peers = append(s.Peers, p)
	}
	return s
}

// same compares states; empty lists are no lists.
func same(a, b gateway.State) string {
	return cmp.Diff(a, b, cmpopts.EquateEmpty(), cmp.Comparer(func(a, b netip.Addr) bool { return a == b }),
		cmp.Comparer(func(a, b netip.Prefix) bool { return a == b }), cmp.Comparer(func(a, b netip.AddrPort) bool { return a == b }),
		cmp.Comparer(func(a, b wgkey.Private) bool { return a == b }), cmp.Comparer(func(a, b wgkey.Preshared) bool { return a == b }))
}

// Whatever state is told, in whatever pieces, into whatever memory, is read.
func TestAnswerIsRead(t *testing.T) {
	var used gateway.State
	rapid.Check(t, func(t *rapid.T) {
		want := anyState(t)
		text := answer(want)
		r := readState(&used)
		for rest := text; len(rest) > 0; {
			n := rapid.IntRange(1, len(rest)).Draw(t, "piece")
			written, err := r.Write(rest[:n])
			if written != n || err != nil {
				t.Fatalf("Write returned %d, %v", written, err)
			}
			rest = rest[n:]
		}
		if err := r.end(); err != nil {
			t.Fatal(err)
		}
		if d := same(want, used); d != "" {
			t.Fatal(d)
		}
	})
}

func TestAnswerOfAnotherVersion(t *testing.T) {
	var s gateway.State
	text := "colour=green\nlisten_port=7\npublic_key=" + strings.Repeat("01", 32) + "\nshape=round\nrx_bytes=3\n\nerrno=0\n\n"
	require.NoError(t, askUAPI(said(text), &s))
	require.Equal(t, uint16(7), s.Interface.Port)
	require.Equal(t, uint64(3), s.Peers[0].Rx)
}

// said is WireGuard that gives one answer.
type said string

func (s said) IpcGetOperation(w io.Writer) error {
	_, err := io.Copy(w, iotest.OneByteReader(strings.NewReader(string(s))))
	return err
}

func (s said) IpcSetOperation(io.Reader) error { return nil }

// What is wrong is refused, and the error quotes nothing that may be a secret.
func TestBrokenAnswer(t *testing.T) {
	secret := strings.Repeat("7e", 31)
	for _, text := range []string{
		"private_key=" + secret + "\n",
		"private_key=" + secret + "zz\n",
		"public_key=" + strings.Repeat("01", 32) + "\npreshared_key=" + secret + "7\n",
		secret + "\n",
		"listen_port=65536\n",
		"listen_port=-1\n",
		"fwmark=4294967296\n",
		"listen_port=7",
		"errno=1\n",
		"public_key=" + strings.Repeat("01", 32) + "\nallowed_ip=10.0.0.1\n",
		"public_key=" + strings.Repeat("01", 32) + "\nendpoint=here\n",
		"public_key=" + strings.Repeat("01", 32) + "\nrx_bytes=many\n",
		"public_key=" + strings.Repeat("01", 32) + "\npersistent_keepalive_interval=65536\n",
		"public_key=" + strings.Repeat("01", 32) + "\nlast_handshake_time_nsec=9999999999\n",
	} {
		var s gateway.State
		err := askUAPI(said(text), &s)
		require.Error(t, err, text)
		require.NotContains(t, err.Error(), secret)
	}
}

// Two peers of one State never share memory, however often it is used.
func TestMemoryIsReused(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		var s gateway.State
		for range rapid.IntRange(1, 4).Draw(t, "rounds") {
			want := anyState(t)
			for i := range want.Peers { // the same key comes again, as the kernel cuts it
				if i > 0 && rapid.Bool().Draw(t, "cut") {
					want.Peers[i].Key = want.Peers[i-1].Key
				}
			}
			r := readState(&s)
			_, _ = r.Write(answer(want))
			s.Peers = tidy(s.Peers)
			if len(s.Peers) == 0 {
				continue
			}
			kept := rapid.IntRange(0, len(s.Peers)-1).Draw(t, "kept")
			clean := append([]netip.Prefix{}, s.Peers[kept].AllowedIPs...)
			for i := range s.Peers {
				if i != kept {
					clear(s.Peers[i].AllowedIPs[:cap(s.Peers[i].AllowedIPs)])
				}
			}
			if !slices.Equal(clean, s.Peers[kept].AllowedIPs) {
				t.Fatal("peers share memory")
			}
		}
	})
}

func TestMemoryOfACutPeerIsNotShared(t *testing.T) {
	text := func(keys ...byte) string {
		var b []byte
		for _, k := range keys {
			b = appendKey(b, "public_key", [32]byte{k})
			b = fmt.Appendf(b, "allowed_ip=10.0.%d.0/24\n", k)
		}
		return string(b)
	}
	var s gateway.State
	for _, keys := range [][]byte{{1, 1, 2, 3}, {1, 2, 3, 4, 5}, {2, 2, 2, 3}, {1, 2, 3, 4, 5}} {
		require.NoError(t, askUAPI(said(text(keys...)), &s))
		for i, k := range keys {
			require.Equal(t, fmt.Sprintf("[10.0.%d.0/24]", k), fmt.Sprint(s.Peers[i].AllowedIPs))
		}
		s.Peers = tidy(s.Peers)
	}
}

// FuzzUAPI reads anything, whole and in pieces, without falling over, and what
// it accepts it reads alike.
func FuzzUAPI(f *testing.F) {
	f.Add([]byte("private_key=" + strings.Repeat("aa", 32) + "\nlisten_port=51820\nfwmark=1\n"))
	f.Add([]byte("public_key=" + strings.Repeat("01", 32) + "\nallowed_ip=10.0.0.1/32\nendpoint=192.0.2.1:5\nrx_bytes=1\n\nerrno=0\n\n"))
	f.Add([]byte("last_handshake_time_sec=8589934591\nlast_handshake_time_nsec=999999999\n=\n\n==\n"))
	f.Fuzz(func(t *testing.T, text []byte) {
		var whole, pieces gateway.State
		r := readState(&whole)
		_, err := r.Write(text)
		if err == nil {
			err = r.end()
		}
		_, other := io.Copy(readState(&pieces), iotest.HalfReader(bytes.NewReader(text)))
		if err == nil {
			require.NoError(t, other)
			require.Empty(t, same(whole, pieces))
		}
	})
}
