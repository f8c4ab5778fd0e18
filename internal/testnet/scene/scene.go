//go:build linux

// Package scene builds the network in which the quickstart and the lab play:
// gateways between an internet and an office, a server in the office, and a
// client at home behind a NAT.
//
//	client ── home (NAT) ──┐                ┌── gw1 ──┐
//	192.168.1.50           internet ────────┤         office ── server
//	                       203.0.113.0/24   └── gw2 ──┘         10.99.0.80
//
// Both families are there everywhere but at home, which is IPv4 only, as homes
// are, unless Config.Open gives the client public addresses of its own behind a plain
// router. The public address of the location floats between the gateways. It knows
// namespaces and addresses; the VPN on top is built by the caller.
package scene

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/netip"

	"github.com/holdfastvpn/holdfast/internal/testnet"
)

// The addresses of the scene: those for documentation (RFC 5737, RFC 3849) on
// its internet, private ones elsewhere. They are constants, of which Go has none
// of these types.
//
//nolint:gochecknoglobals // see above
var (
	Public4 = netip.MustParseAddr("203.0.113.10")
	Public6 = netip.MustParseAddr("2001:db8::10")
	Server4 = netip.MustParseAddr("10.99.0.80")
	Server6 = netip.MustParseAddr("fd99::80")
	Office4 = netip.MustParsePrefix("10.99.0.0/24")
	Office6 = netip.MustParsePrefix("fd99::/64")
)

// The names of links.
const (
	WAN = "wan0" // of gateways and the home router, on the internet
	LAN = "lan0" // of gateways, the server, the home router and the client
)

// EchoPort is where the server sends back what it gets, by UDP.
const EchoPort = 7

// Config holds what Build needs. The zero value gives two gateways.
type Config struct {
	Gateways int          // 1 to 9; 0 means 2
	Capture  bool         // keep the last packets for Net.Timeline
	Open     bool         // the client has addresses of its own, of both families, and no NAT
	Log      *slog.Logger // nil discards

	// Access is what the client's link is like, in each direction. Zero is
	// perfect, and asks nothing of the machine; all else needs testnet.Netem.
	Access testnet.Impairment
}

// Scene is the network. Close it with Net.Close.
type Scene struct {
	Net      *testnet.Net
	Internet *testnet.Switch
	Office   *testnet.Switch
	Gateways []*testnet.Host // gw1, gw2 …
	Home     *testnet.Host   // the NAT
	Client   *testnet.Host
	Server   *testnet.Host
	// Public is the location's address; it is at no gateway yet.
	Public *testnet.Floating
}

// Build makes the scene and starts the server's echo. On error nothing is left.
func Build(ctx context.Context, c Config) (*Scene, error) {
	if c.Gateways == 0 {
		c.Gateways = 2
	}
	if c.Gateways < 1 || c.Gateways > 9 {
		return nil, fmt.Errorf("scene: %d gateways: want 1 to 9", c.Gateways)
	}
	net, err := testnet.New(ctx, testnet.Config{Log: c.Log, Capture: c.Capture})
	if err != nil {
		return nil, err
	}
	s := &Scene{
		Net:      net,
		Internet: net.Switch("internet"),
		Office:   net.Switch("office"),
		Home:     net.Host("home"),
		Client:   net.Host("client"),
		Server:   net.Host("server"),
		Public:   net.Floating(Public4, Public6),
	}
	for i := range c.Gateways {
		s.Gateways = append(s.Gateways, net.Host(fmt.Sprintf("gw%d", i+1)))
	}
	if err := errors.Join(net.Err(), s.wire(c)); err != nil {
		return nil, errors.Join(fmt.Errorf("scene: build: %w", err), net.Close())
	}
	return s, nil
}

func (s *Scene) wire(c Config) error {
	errs := []error{
		s.Internet.Attach(s.Home, WAN, prefix("203.0.113.40/24")),
		s.Net.Link(s.Client, LAN, s.Home, LAN),
		// Here and not at the WAN side of home, where a real home has its provider's
		// router: what gateways announce to their neighbours is not to be lost.
		s.Client.Impair(LAN, c.Access),
		s.Home.Impair(LAN, c.Access),
		s.Office.Attach(s.Server, LAN, netip.PrefixFrom(Server4, Office4.Bits()), netip.PrefixFrom(Server6, Office6.Bits())),
	}
	for i, g := range s.Gateways {
		errs = append(errs,
			s.Internet.Attach(g, WAN, prefix(fmt.Sprintf("203.0.113.%d/24", 11+i)), prefix(fmt.Sprintf("2001:db8::%d/64", 11+i))),
			s.Office.Attach(g, LAN, prefix(fmt.Sprintf("10.99.0.%d/24", 11+i)), prefix(fmt.Sprintf("fd99::%d/64", 11+i))),
			// A gateway answers only for addresses of the link that is asked.
			g.Sysctl("net.ipv4.conf.all.arp_ignore", "1"),
		)
	}
	if c.Open {
		errs = append(errs, s.open())
	} else {
		errs = append(errs, s.home())
	}
	for _, a := range []netip.Addr{Server4, Server6} {
		_, err := s.Server.Echo(netip.AddrPortFrom(a, EchoPort))
		errs = append(errs, err)
	}
	return errors.Join(errs...)
}

// home puts the client behind a NAT.
func (s *Scene) home() error {
	return errors.Join(
		s.Client.Addr(LAN, prefix("192.168.1.50/24")),
		s.Home.Addr(LAN, prefix("192.168.1.1/24")),
		s.Client.Route(testnet.Route{Via: netip.MustParseAddr("192.168.1.1")}),
		s.Home.Masquerade(WAN),
	)
}

// open puts the client into networks of its own, to which home is the router.
func (s *Scene) open() error {
	errs := []error{s.Home.Forward(), s.Home.Addr(WAN, prefix("2001:db8::40/64"))}
	for _, n := range []struct{ net, client, home, router string }{
		{"198.51.100.0/24", "198.51.100.50/24", "198.51.100.1/24", "203.0.113.40"},
		{"2001:db8:1::/64", "2001:db8:1::50/64", "2001:db8:1::1/64", "2001:db8::40"},
	} {
		errs = append(errs,
			s.Client.Addr(LAN, prefix(n.client)),
			s.Home.Addr(LAN, prefix(n.home)),
			s.Client.Route(testnet.Route{Via: prefix(n.home).Addr()}),
		)
		for _, g := range s.Gateways {
			errs = append(errs, g.Route(testnet.Route{To: prefix(n.net), Via: netip.MustParseAddr(n.router)}))
		}
	}
	return errors.Join(errs...)
}

// prefix reads a constant.
func prefix(s string) netip.Prefix { return netip.MustParsePrefix(s) }
