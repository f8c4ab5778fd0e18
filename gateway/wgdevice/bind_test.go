//go:build linux

package wgdevice_test

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"runtime"
	"slices"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/holdfastvpn/holdfast/gateway"
	"github.com/holdfastvpn/holdfast/gateway/wgdevice"
	"github.com/holdfastvpn/holdfast/internal/testnet"
	"github.com/holdfastvpn/holdfast/vpn/wgkey"
)

// Clients that come by IPv4 and clients that come by IPv6 share a gateway, and
// none of them loses a packet.
func TestBothFamilies(t *testing.T) { each(t, testBothFamilies) }

func testBothFamilies(t *testing.T, back wgdevice.Backend) {
	defer runtime.GOMAXPROCS(runtime.GOMAXPROCS(1)) // what goes wrong for turns of the processors goes wrong at once
	n := testnet.ForTest(t)
	gw, lan := n.Host("gw"), n.Switch("lan")
	require.NoError(t, lan.Attach(gw, "eth0", list("192.0.2.1/24", "2001:db8::1/64")...))
	by := []string{"192.0.2.1:51820", "[2001:db8::1]:51820", "192.0.2.1:51820", "[2001:db8::1]:51820", "[2001:db8::1]:51820"}
	var wants []gateway.Config
	var peers []gateway.Peer
	for i := range by {
		key, inner := wgkey.NewPrivate(), list(fmt.Sprintf("10.20.0.%d/32", i+2))
		peers = append(peers, gateway.Peer{Key: key.Public(), AllowedIPs: inner})
		wants = append(wants, gateway.Config{Interface: gateway.Interface{Key: key, Port: 51821, MTU: 1420, Addrs: inner}})
	}
	want := gate(peers...)
	reconcile(t, open(t, inside(gw, back)), want)
	echo, err := gw.Echo(at("10.20.0.1:7"))
	require.NoError(t, err)

	var probes []*testnet.Probe
	for i := range by {
		h := n.Host(fmt.Sprintf("client%d", i))
		require.NoError(t, lan.Attach(h, "eth0", list(fmt.Sprintf("192.0.2.%d/24", i+2), fmt.Sprintf("2001:db8::%d/64", i+2))...))
		wants[i].Peers = []gateway.Peer{{
			Key: want.Interface.Key.Public(), AllowedIPs: list("10.20.0.0/16"), Endpoint: at(by[i]),
		}}
		reconcile(t, open(t, inside(h, back)), wants[i])
		p, err := h.Probe(testnet.ProbeConfig{To: at("10.20.0.1:7"), Every: 2 * time.Millisecond})
		require.NoError(t, err)
		probes = append(probes, p)
	}
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	var all time.Time
	for i, p := range probes {
		r, err := p.WaitReply(ctx, time.Time{})
		require.NoError(t, err, "client %d", i)
		if r.Sent.After(all) {
			all = r.Sent
		}
	}
	for i, p := range probes { // half a second with all of them at once
		_, err := p.WaitReply(ctx, all.Add(500*time.Millisecond))
		require.NoError(t, err, "client %d", i)
	}
	for i, p := range probes {
		require.NoError(t, p.Close())
		replies := slices.DeleteFunc(p.Replies(), func(r testnet.Reply) bool { return r.Sent.Before(all) })
		first, last := replies[0].Number, replies[len(replies)-1].Number
		require.Equal(t, last-first+1, uint64(len(replies)), "client %d lost some", i)
	}
	require.NoError(t, echo.Close())
}

// reply sends from the gateway to the client through the tunnel, until an answer
// comes, and returns where the client thinks that the gateway is.
func (p *pair) reply(t *testing.T) netip.AddrPort {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	echo, err := p.client.Echo(at("10.20.0.2:7"))
	require.NoError(t, err)
	probe, err := p.gw.Probe(testnet.ProbeConfig{To: at("10.20.0.2:7")})
	require.NoError(t, err)
	_, err = probe.WaitReply(ctx, time.Time{})
	require.NoError(t, err)
	require.NoError(t, errors.Join(probe.Close(), echo.Close()))
	return observe(t, p.end).Peers[0].Endpoint
}

// isAt says whether the client thinks that the gateway is there.
func (p *pair) isAt(t *testing.T, there string) error {
	t.Helper()
	if is := observe(t, p.end).Peers[0].Endpoint; is != at(there) {
		return fmt.Errorf("the gateway answers from %v, not %s", is, there)
	}
	return nil
}

// leaves waits until the gateway sends from elsewhere.
func (p *pair) leaves(t *testing.T, from string) {
	t.Helper()
	testnet.Eventually(t, patience, func() error {
		if p.reply(t) == at(from) {
			return errors.New("it is sent from " + from)
		}
		return nil
	})
}

// two are the addresses of a gateway in either family, of which its machine
// prefers one.
var two = []string{"192.0.2.1/24", "192.0.2.3/24", "2001:db8::1/64", "2001:db8::3/64"}

// A gateway answers from the address at which a client came, as long as it has
// it. What happens to other addresses and routes changes nothing.
func TestSourceSticks(t *testing.T) { each(t, testSourceSticks) }

func testSourceSticks(t *testing.T, back wgdevice.Backend) {
	for _, addr := range two {
		t.Run(addr, func(t *testing.T) {
			where := netip.AddrPortFrom(prefix(addr).Addr(), 51820).String()
			p := newPairAt(t, back, where, two...)
			p.talk(t)
			require.NoError(t, p.isAt(t, where))
			require.Equal(t, at(where), p.reply(t))
			run(t, p.gw, "sh", "-ec", `
				ip address add 192.0.2.9/24 dev eth0; ip address add 2001:db8::9/64 dev eth0 nodad
				ip route add 198.51.100.0/24 dev eth0; ip route add 2001:db8:7::/64 dev eth0
				ip address delete 192.0.2.9/24 dev eth0; ip address delete 2001:db8::9/64 dev eth0
				ip route delete 198.51.100.0/24 dev eth0; ip route delete 2001:db8:7::/64 dev eth0`)
			require.Equal(t, at(where), p.reply(t), "it was forgotten without need")
		})
	}
}

// An address that goes is not sent from, even where the kernel would let anybody
// send from anywhere.
func TestSourceGoes(t *testing.T) { each(t, testSourceGoes) }

func testSourceGoes(t *testing.T, back wgdevice.Backend) {
	for _, addr := range two {
		for _, anywhere := range []string{"0", "1"} {
			t.Run(addr+" "+anywhere, func(t *testing.T) {
				where := netip.AddrPortFrom(prefix(addr).Addr(), 51820).String()
				p := newPairAt(t, back, where, two...)
				require.NoError(t, errors.Join(
					p.gw.Sysctl("net.ipv4.ip_nonlocal_bind", anywhere), p.gw.Sysctl("net.ipv6.ip_nonlocal_bind", anywhere),
					p.gw.Sysctl("net.ipv4.conf.all.promote_secondaries", "1"),
				))
				p.talk(t)
				require.NoError(t, p.isAt(t, where))
				run(t, p.gw, "ip", "address", "delete", addr, "dev", "eth0")
				p.leaves(t, where)
			})
		}
	}
}

// When the way to a client leads over another link, the gateway answers from
// there, without a restart. By IPv6 the kernel's WireGuard keeps the address,
// and so do we.
func TestRouteMoves(t *testing.T) { each(t, testRouteMoves) }

func testRouteMoves(t *testing.T, back wgdevice.Backend) {
	for _, f := range []struct{ before, after string }{
		{"192.0.2.1:51820", "198.51.100.1:51820"},
		{"[2001:db8::1]:51820", "[2001:db8::1]:51820"},
	} {
		t.Run(f.before, func(t *testing.T) {
			p := newPairAt(t, back, f.before)
			p.talk(t)
			require.NoError(t, errors.Join(
				p.net.Link(p.gw, "eth1", p.client, "eth1"),
				p.gw.Addr("eth1", list("198.51.100.1/24", "2001:db8:1::1/64")...),
				p.client.Addr("eth1", list("198.51.100.2/24", "2001:db8:1::2/64")...),
			))
			require.Equal(t, at(f.before), p.reply(t))
			require.NoError(t, errors.Join(
				p.gw.Route(testnet.Route{To: prefix("192.0.2.2/32"), Via: netip.MustParseAddr("198.51.100.2")}),
				p.gw.Route(testnet.Route{To: prefix("2001:db8::2/128"), Via: netip.MustParseAddr("2001:db8:1::2")}),
			))
			testnet.Eventually(t, patience, func() error {
				p.reply(t)
				return p.isAt(t, f.after)
			})
		})
	}
}
