//go:build linux

package testnet_test

import (
	"context"
	"errors"
	"net/netip"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/holdfastvpn/holdfast/internal/testnet"
)

// patience bounds waits for what normally takes a few milliseconds.
const patience = 10 * time.Second

func prefix(s string) netip.Prefix { return netip.MustParsePrefix(s) }
func addr(s string) netip.Addr     { return netip.MustParseAddr(s) }
func at(s string) netip.AddrPort   { return netip.MustParseAddrPort(s) }

// hears fails the test unless to answers from.
func hears(t *testing.T, from *testnet.Host, to string) {
	t.Helper()
	p, err := from.Probe(testnet.ProbeConfig{To: at(to), Every: 2 * time.Millisecond})
	require.NoError(t, err)
	defer func() { require.NoError(t, p.Close()) }()
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	_, err = p.WaitReply(ctx, time.Time{})
	require.NoError(t, err)
}

func echo(t *testing.T, h *testnet.Host, where string) *testnet.Echo {
	t.Helper()
	e, err := h.Echo(at(where))
	require.NoError(t, err)
	return e
}

func TestHostsOnASwitchTalk(t *testing.T) {
	n := testnet.ForTest(t)
	a, b, lan := n.Host("a"), n.Host("b"), n.Switch("lan")
	require.NoError(t, errors.Join(
		lan.Attach(a, "eth0", prefix("192.0.2.1/24"), prefix("2001:db8::1/64")),
		lan.Attach(b, "eth0", prefix("192.0.2.2/24"), prefix("2001:db8::2/64")),
	))
	for _, family := range []string{"192.0.2.2:7", "[2001:db8::2]:7"} {
		echo(t, b, family)
		hears(t, a, family)
	}

	t.Run("a cut host is silent until it is healed", func(t *testing.T) {
		p, err := a.Probe(testnet.ProbeConfig{To: at("192.0.2.2:7"), Every: time.Millisecond})
		require.NoError(t, err)
		require.NoError(t, lan.Cut(b))
		cut := time.Now()
		ctx, cancel := context.WithTimeout(t.Context(), 100*time.Millisecond)
		defer cancel()
		_, err = p.WaitReply(ctx, cut)
		require.ErrorIs(t, err, context.DeadlineExceeded)

		require.NoError(t, lan.Heal(b))
		ctx, cancel = context.WithTimeout(t.Context(), patience)
		defer cancel()
		_, err = p.WaitReply(ctx, cut)
		require.NoError(t, err)
		require.GreaterOrEqual(t, p.Outage(cut), 100*time.Millisecond)
		require.Positive(t, p.Lost())
	})
}

// home is a client behind a NAT, and a server on the far side of it.
func home(t *testing.T) (client, nat, server *testnet.Host) {
	t.Helper()
	testnet.Need(t, testnet.Nftables)
	n := testnet.ForTest(t)
	client, nat, server = n.Host("client"), n.Host("nat"), n.Host("server")
	internet := n.Switch("internet")
	require.NoError(t, errors.Join(
		n.Link(client, "eth0", nat, "lan0"),
		client.Addr("eth0", prefix("192.168.1.2/24"), prefix("fd00::2/64")),
		nat.Addr("lan0", prefix("192.168.1.1/24"), prefix("fd00::1/64")),
		client.Route(testnet.Route{Via: addr("192.168.1.1")}),
		client.Route(testnet.Route{Via: addr("fd00::1")}),
		internet.Attach(nat, "wan0", prefix("203.0.113.40/24"), prefix("2001:db8::40/64")),
		internet.Attach(server, "eth0", prefix("203.0.113.1/24"), prefix("2001:db8::1/64")),
		nat.Masquerade("wan0"),
		// The server knows the way, so only the NAT can keep it out.
		server.Route(testnet.Route{To: prefix("192.168.1.0/24"), Via: addr("203.0.113.40")}),
		server.Route(testnet.Route{To: prefix("fd00::/64"), Via: addr("2001:db8::40")}),
	))
	return client, nat, server
}

func TestMasquerade(t *testing.T) {
	client, _, server := home(t)
	for _, c := range []struct{ name, server, nat, client string }{
		{"IPv4", "203.0.113.1:7", "203.0.113.40", "192.168.1.2:7"},
		{"IPv6", "[2001:db8::1]:7", "2001:db8::40", "[fd00::2]:7"},
	} {
		t.Run(c.name+": replies come in, from the address of the NAT", func(t *testing.T) {
			conn, err := server.ListenUDP(at(c.server))
			require.NoError(t, err)
			out, err := client.ListenUDP(netip.AddrPort{})
			require.NoError(t, err)
			_, err = out.WriteToUDPAddrPort([]byte("hello"), at(c.server))
			require.NoError(t, err)
			b := make([]byte, 16)
			require.NoError(t, conn.SetReadDeadline(time.Now().Add(patience)))
			n, from, err := conn.ReadFromUDPAddrPort(b)
			require.NoError(t, err)
			require.Equal(t, addr(c.nat), from.Addr().Unmap())
			require.NotEqual(t, at(out.LocalAddr().String()).Port(), from.Port(), "the port is to be random")
			_, err = conn.WriteToUDPAddrPort(b[:n], from)
			require.NoError(t, err)
			require.NoError(t, out.SetReadDeadline(time.Now().Add(patience)))
			_, err = out.Read(b)
			require.NoError(t, err)
		})
		t.Run(c.name+": what nobody asked for does not", func(t *testing.T) {
			e := echo(t, client, c.client)
			p, err := server.Probe(testnet.ProbeConfig{To: at(c.client), Every: time.Millisecond})
			require.NoError(t, err)
			testnet.Eventually(t, patience, func() error {
				if p.Sent() < 50 {
					return errors.New("not enough sent")
				}
				return nil
			})
			require.NoError(t, p.Close())
			require.Zero(t, e.Count())
			require.Equal(t, p.Sent(), p.Lost())
		})
	}
}
