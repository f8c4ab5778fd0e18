//go:build linux

package main

import (
	"context"
	"errors"
	"slices"
	"sync"
	"time"

	"github.com/holdfastvpn/holdfast/gateway"
	"github.com/holdfastvpn/holdfast/gateway/wgdevice"
	"github.com/holdfastvpn/holdfast/internal/testnet"
	"github.com/holdfastvpn/holdfast/internal/testnet/scene"
	"github.com/holdfastvpn/holdfast/transport/memtransport"
)

// gw is one gateway of the world.
type gw struct {
	world   *world
	host    *testnet.Host
	id      gateway.ID
	process *gateway.Process
	stop    func() error // nil: its process is not running
	talks   []func() error
}

// start runs the gateway as a process would, on whatever its host has already.
func (g *gw) start() error {
	c := gateway.ProcessConfig{
		ID:    g.id,
		Plane: g.world.core,
		Open:  func(context.Context, gateway.LocationID) (gateway.Device, error) { return g.open() },
		Log:   g.world.run.Log.With("at", g.host.Name()),
	}
	if g.world.tune != nil {
		g.world.tune(slices.Index(g.world.gateways, g), &c)
	}
	p, err := gateway.NewProcess(c)
	if err != nil {
		return err
	}
	g.process, g.stop = p, background(p.Run)
	for _, other := range g.world.gateways {
		if other != g && other.stop != nil {
			g.talk(other)
		}
	}
	if g.world.front != nil {
		return g.health()
	}
	return nil
}

// talk lets two gateways talk while both run.
func (g *gw) talk(other *gw) {
	p := memtransport.NewPair(memtransport.End{ID: g.id, Talker: g.process}, memtransport.End{ID: other.id, Talker: other.process})
	stop := background(func(ctx context.Context) error {
		for ctx.Err() == nil {
			if err := p.Talk(ctx, gateway.LocationID(g.world.office.ID)); err != nil {
				g.world.run.Log.Debug("a conversation ended", "err", err)
			}
			_ = sleep(ctx, 100*time.Millisecond) // one that is not there yet, or not told of the other
		}
		return nil
	})
	stop = sync.OnceValue(stop)
	g.talks, other.talks = append(g.talks, stop), append(other.talks, stop)
}

// halt stops the gateway's process and leaves its interface.
func (g *gw) halt() error {
	if g.stop == nil {
		return nil
	}
	errs := []error{g.hush()}
	stop := g.stop
	g.stop = nil
	return errors.Join(append(errs, stop())...)
}

// hush ends what the gateway tells its siblings.
func (g *gw) hush() error {
	var errs []error
	for _, stop := range g.talks {
		errs = append(errs, stop())
	}
	g.talks = nil
	return errors.Join(errs...)
}

// end takes the gateway's interface away.
func (g *gw) end(ctx context.Context) error {
	return g.by(func(dev gateway.Device) error { return scene.End(ctx, dev) })
}

// open returns a further handle of the gateway's interface.
func (g *gw) open() (*wgdevice.Device, error) {
	return wgdevice.Open(wgdevice.Config{
		Name: ifname, NetNS: scene.Path(g.host), Backend: g.world.run.Backend, Log: g.world.run.Log.With("at", g.host.Name()),
	})
}

// by opens a handle of the gateway's interface for f: an onlooker, or somebody
// who meddles.
func (g *gw) by(f func(gateway.Device) error) error {
	dev, err := g.open()
	if err != nil {
		return err
	}
	return errors.Join(f(dev), dev.Close())
}

// state observes the gateway's interface past its process.
func (g *gw) state(ctx context.Context) (s gateway.State, err error) {
	err = g.by(func(dev gateway.Device) error { return dev.Observe(ctx, &s) })
	return s, err
}
