//go:build linux

package main

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/holdfastvpn/holdfast/gateway"
	"github.com/holdfastvpn/holdfast/gateway/wgdevice"
	"github.com/holdfastvpn/holdfast/internal/testnet"
	"github.com/holdfastvpn/holdfast/internal/testnet/scene"
	"github.com/holdfastvpn/holdfast/location"
	"github.com/holdfastvpn/holdfast/transport/adminrpc"
	"github.com/holdfastvpn/holdfast/vpn"
)

// control is the network between the core and the gateways, which nothing else uses.
const control = "ctl0"

// plant is what a scenario with real processes plays in: the scene, and on a
// network of their own a core and gateways as an operator runs them.
type plant struct {
	run     *Run
	scene   *scene.Scene
	control *testnet.Switch
	dir     string
	core    *process
	admin   *adminrpc.Client
	offices []location.Location
	sites   []*site
	tunnels []*scene.Tunnel
	front   *front // what moves the address; nil: the scenario does
}

// site is one gateway of a plant.
type site struct {
	plant   *plant
	host    *testnet.Host
	address netip.AddrPort // where cores dial it
	id      gateway.ID
	process *process
}

// plantConfig is how a plant differs from the usual one.
type plantConfig struct {
	gateways int      // 0 means 2
	joined   int      // of them at first; 0 means all
	offices  int      // 0 means 1
	core     []string // flags of the core
	gateway  []string // flags of the gateways, beside the usual ones
}

// within builds a plant, plays in it and takes it down. When the play fails, it
// writes what the hosts looked like, and what the processes said.
func within(ctx context.Context, r *Run, c plantConfig, play func(ctx context.Context, p *plant) error) (err error) {
	p := &plant{run: r}
	defer func() {
		if err != nil && p.scene != nil && ctx.Err() != context.Canceled {
			p.explain(err)
		}
		err = errors.Join(err, p.close())
	}()
	if err := p.build(ctx, c); err != nil {
		return err
	}
	return play(ctx, p)
}

func (p *plant) build(ctx context.Context, c plantConfig) (err error) {
	if c.gateways == 0 {
		c.gateways = 2
	}
	if c.joined == 0 {
		c.joined = c.gateways
	}
	if c.offices == 0 {
		c.offices = 1
	}
	p.scene, err = scene.Build(ctx, scene.Config{Gateways: c.gateways, Log: p.run.Log, Capture: true, Access: p.run.Line.eachWay()})
	if err != nil {
		return err
	}
	if p.dir, err = os.MkdirTemp("", "holdfast-lab-"); err != nil {
		return err
	}
	if err := p.wire(c); err != nil {
		return err
	}
	p.core.args = append(p.core.args, c.core...)
	if err := p.startCore(ctx); err != nil {
		return err
	}
	for i := range c.offices {
		l, err := p.admin.CreateLocation(ctx, office(i))
		if err != nil {
			return err
		}
		p.offices = append(p.offices, l)
	}
	for _, s := range p.sites[:c.joined] {
		if err := s.join(ctx); err != nil {
			return err
		}
	}
	return p.scene.Public.Move(p.scene.Gateways[0], scene.WAN)
}

// office is the nth location: its own networks and port.
func office(n int) location.Location {
	l := location.Location{
		Name:       "office",
		Networks:   []netip.Prefix{netip.MustParsePrefix("10.20.0.0/16"), netip.MustParsePrefix("fd20::/64")},
		Host:       scene.Public4.String(),
		AllowedIPs: []netip.Prefix{scene.Office4, scene.Office6},
	}
	if n > 0 {
		l.Name = fmt.Sprintf("office-%d", n+1)
		l.Port = location.DefaultPort + uint16(n)
		l.Networks = []netip.Prefix{netip.PrefixFrom(netip.AddrFrom4([4]byte{10, byte(20 + n), 0, 0}), 16)}
		l.AllowedIPs = l.AllowedIPs[:1]
	}
	return l
}

// wire makes the control network and what runs on it.
func (p *plant) wire(c plantConfig) error {
	const port = 7946
	host := p.scene.Net.Host("core")
	p.control = p.scene.Net.Switch("control")
	p.core = &process{name: "core", host: host, args: []string{
		"--state-dir", filepath.Join(p.dir, "core"), "--socket", p.socket(), "--http", "", "--log-level", "debug",
	}}
	errs := []error{p.control.Attach(host, control, netip.MustParsePrefix("10.88.0.1/24"))}
	for i, h := range p.scene.Gateways {
		at := netip.AddrFrom4([4]byte{10, 88, 0, byte(11 + i)})
		errs = append(errs, p.control.Attach(h, control, netip.PrefixFrom(at, 24)))
		s := &site{plant: p, host: h, address: netip.AddrPortFrom(at, port)}
		s.process = &process{name: "gateway", host: h, args: append(s.args(), c.gateway...)}
		p.sites = append(p.sites, s)
	}
	var err error
	p.admin, err = adminrpc.Dial(adminrpc.DialConfig{Core: "unix://" + p.socket()})
	return errors.Join(append(errs, err)...)
}

// socket is where the core listens for operators: a file, which every host sees.
func (p *plant) socket() string { return filepath.Join(p.dir, "core.sock") }

// startCore starts the core, and waits until it answers.
func (p *plant) startCore(ctx context.Context) error {
	if err := p.core.start(); err != nil {
		return err
	}
	return eventually(ctx, 20*time.Second, func() error {
		_, err := p.admin.Locations(ctx)
		return err
	})
}

func (s *site) args() []string {
	backend := "userspace"
	if s.plant.run.Backend == wgdevice.Kernel {
		backend = "kernel"
	}
	return []string{
		"--state-dir", filepath.Join(s.plant.dir, s.host.Name()), "--http", "", "--backend", backend, "--prefix", "wg-", "--log-level", "debug",
		"--sockets", s.sockets(), "--runtime-dir", filepath.Join(s.plant.dir, s.host.Name()+"-run"),
	}
}

// join makes the machine a gateway with one token and one command, which then serves.
func (s *site) join(ctx context.Context) error {
	var at []location.ID
	for _, l := range s.plant.offices {
		at = append(at, l.ID)
	}
	g, token, err := s.plant.admin.JoinToken(ctx, adminrpc.JoinRequest{Name: s.host.Name(), Locations: at, At: s.address.String()})
	if err != nil {
		return err
	}
	s.id = g.ID
	serve := s.process.args
	s.process.args = append(append([]string{}, serve...), "join", "--listen", s.address.String(), token.Reveal())
	err = s.process.start()
	s.process.args = serve // the next start is one of a gateway that has joined
	return err
}

// device opens a handle of the gateway's interface for f: an onlooker, or somebody
// who meddles.
func (s *site) device(office int, f func(gateway.Device) error) error {
	name := "wg-" + string(s.plant.offices[office].ID)
	dir, err := programs()
	if err != nil {
		return err
	}
	dev, err := wgdevice.Open(wgdevice.Config{
		Name: name[:15], NetNS: scene.Path(s.host), Backend: s.plant.run.Backend,
		Process: []string{filepath.Join(dir, "gateway"), "device"}, Sockets: s.sockets(),
		Log: s.plant.run.Log.With("at", s.host.Name()),
	})
	if err != nil {
		return err
	}
	return errors.Join(f(dev), dev.Close())
}

// sockets is where WireGuard in user space of the gateway is spoken to.
func (s *site) sockets() string { return filepath.Join(s.plant.dir, s.host.Name()+"-device") }

// state observes the gateway's interface past its process.
func (s *site) state(ctx context.Context, office int) (st gateway.State, err error) {
	err = s.device(office, func(dev gateway.Device) error { return dev.Observe(ctx, &st) })
	return st, err
}

// overview is what the core says of an office.
func (p *plant) overview(ctx context.Context, office int) (vpn.LocationOverview, error) {
	o, err := p.admin.Overview(ctx)
	if err != nil {
		return vpn.LocationOverview{}, err
	}
	for _, l := range o.Locations {
		if l.ID == p.offices[office].ID {
			return l, nil
		}
	}
	return vpn.LocationOverview{}, errors.New("the overview lacks the location")
}

// settled waits until every gateway whose process runs has applied what the core
// asks for now, in every office.
func (p *plant) settled(ctx context.Context) error {
	running := map[gateway.ID]string{}
	for _, s := range p.sites {
		if s.id != "" && s.process.running() {
			running[s.id] = s.host.Name()
		}
	}
	return eventually(ctx, 30*time.Second, func() error {
		for n := range p.offices {
			o, err := p.overview(ctx, n)
			if err != nil {
				return err
			}
			there := map[gateway.ID]bool{}
			for _, g := range o.Gateways {
				there[g.ID] = g.Connected && g.Applied == o.Revision && len(g.Failed) == 0
			}
			for id, name := range running {
				if !there[id] {
					return fmt.Errorf("%s has not applied revision %v of %s: %+v", name, o.Revision, o.Name, o.Gateways)
				}
			}
		}
		return nil
	})
}

// identical compares the devices of all gateways that run in the first office, peer by
// peer.
func (p *plant) identical(ctx context.Context) error {
	var first gateway.State
	seen := ""
	for _, s := range p.sites {
		if s.id == "" || !s.process.running() {
			continue
		}
		now, err := s.state(ctx, 0)
		if err != nil {
			return err
		}
		if seen == "" {
			first, seen = now, s.host.Name()
			continue
		}
		want := gateway.Config{Interface: first.Interface}
		for _, q := range first.Peers {
			want.Peers = append(want.Peers, gateway.Peer{Key: q.Key, Preshared: q.Preshared, AllowedIPs: q.AllowedIPs, Keepalive: q.Keepalive})
		}
		if err := same(want, now); err != nil {
			return fmt.Errorf("%s differs from %s: %w", s.host.Name(), seen, err)
		}
	}
	return nil
}

// close takes everything down, and is fine with a plant half built.
func (p *plant) close() error {
	// Not the play's context: that may have ended, and this has to be done still.
	ctx, cancel := context.WithTimeout(context.Background(), 30*time.Second)
	defer cancel()
	errs := []error{p.front.close()}
	for _, s := range p.sites {
		errs = append(errs, s.process.stop(ctx))
	}
	if p.core != nil {
		errs = append(errs, p.core.stop(ctx))
	}
	for _, t := range p.tunnels {
		errs = append(errs, t.Down(ctx))
	}
	for _, s := range p.sites { // in user space, processes of their own go on otherwise
		for n := range p.offices {
			errs = append(errs, s.device(n, func(dev gateway.Device) error {
				return dev.Apply(ctx, gateway.Plan{{Verb: gateway.Destroy}})
			}))
		}
	}
	if p.scene != nil {
		errs = append(errs, p.scene.Net.Close())
	}
	if p.dir != "" {
		errs = append(errs, os.RemoveAll(p.dir))
	}
	return errors.Join(errs...)
}

// explain writes what is known about a failure.
func (p *plant) explain(err error) {
	fmt.Fprintf(os.Stderr, "lab: failed with seed %d: %v\n\n%s\n", p.run.Seed, err, p.scene.Net.Dump())
	if p.core != nil {
		fmt.Fprintf(os.Stderr, "core said:\n%s\n", indent(p.core.text()))
	}
	for _, s := range p.sites {
		fmt.Fprintf(os.Stderr, "%s said:\n%s\n", s.host.Name(), indent(s.process.text()))
	}
	p.front.explain()
}

func indent(text string) string {
	return "  " + strings.ReplaceAll(strings.TrimSpace(text), "\n", "\n  ")
}

// anyAddr is the port on every address.
func anyAddr(port uint16) netip.AddrPort { return netip.AddrPortFrom(netip.IPv4Unspecified(), port) }
