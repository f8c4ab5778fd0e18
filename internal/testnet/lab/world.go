//go:build linux

package main

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"os"
	"strings"
	"sync"
	"time"

	"github.com/holdfastvpn/holdfast/gateway"
	"github.com/holdfastvpn/holdfast/internal/testnet/scene"
	"github.com/holdfastvpn/holdfast/location"
	"github.com/holdfastvpn/holdfast/peer"
	"github.com/holdfastvpn/holdfast/vpn"
	"github.com/holdfastvpn/holdfast/vpn/memstore"
	"github.com/holdfastvpn/holdfast/vpn/seal"
	"github.com/holdfastvpn/holdfast/vpn/wgkey"
)

// ifname is the interface of the location on each gateway.
const ifname = "wg-office"

// client is the name of the one device that has a machine.
const client = "laptop"

// world is what a scenario plays in: the scene, a core on a memory store, a
// location, and gateways that serve it.
type world struct {
	run      *Run
	scene    *scene.Scene
	stores   *memstore.Stores
	keys     *seal.Keyring
	core     *vpn.Core
	office   location.Location
	gateways []*gw
	tunnels  []*scene.Tunnel
	stopCore func() error
	deaf     bool      // hints of the store get lost
	open     bool      // the client has addresses of its own, and no NAT
	plain    bool      // the client is set up by the commands wg and ip
	front    *front    // what moves the address; nil: the scenario does
	lost     time.Time // when a gateway was, last; zero: none was

	// tune changes what the nth gateway is made of; nil: nothing.
	tune func(n int, c *gateway.ProcessConfig)
}

// with builds a world, plays in it and takes it down. When the play fails, it
// writes what the hosts looked like and what was on the wire to standard error.
func with(ctx context.Context, r *Run, play func(ctx context.Context, w *world) error) error {
	return (&world{run: r}).host(ctx, play)
}

// host builds the world, plays in it and takes it down, as with.
func (w *world) host(ctx context.Context, play func(ctx context.Context, w *world) error) (err error) {
	defer func() {
		if err != nil && w.scene != nil && ctx.Err() != context.Canceled {
			w.explain(err)
		}
		err = errors.Join(err, w.close())
	}()
	if err := w.build(ctx); err != nil {
		return err
	}
	return play(ctx, w)
}

func (w *world) build(ctx context.Context) (err error) {
	if w.scene, err = scene.Build(ctx, scene.Config{Log: w.run.Log, Capture: true, Open: w.open, Access: w.run.Line.eachWay()}); err != nil {
		return err
	}
	w.stores, w.keys = memstore.New(), seal.Ephemeral()
	if err := w.startCore(); err != nil {
		return err
	}
	w.office, err = w.core.Locations().Create(ctx, location.Location{
		Name:       "office",
		Networks:   []netip.Prefix{netip.MustParsePrefix("10.20.0.0/16"), netip.MustParsePrefix("fd20::/64")},
		Host:       scene.Public4.String(),
		AllowedIPs: []netip.Prefix{scene.Office4, scene.Office6},
	})
	if err != nil {
		return err
	}
	for _, h := range w.scene.Gateways {
		reg, err := w.core.Gateways().Add(ctx, vpn.Gateway{Name: h.Name(), Locations: []location.ID{w.office.ID}})
		if err != nil {
			return err
		}
		g := &gw{world: w, host: h, id: reg.ID}
		w.gateways = append(w.gateways, g)
		if err := g.start(); err != nil {
			return err
		}
	}
	return w.scene.Public.Move(w.gateways[0].host, scene.WAN)
}

// startCore starts a core on the world's store, as a process would.
func (w *world) startCore() error {
	var stores vpn.Stores = w.stores
	if w.deaf {
		stores = deafStores{stores}
	}
	core, err := vpn.New(vpn.Config{Stores: stores, Keys: w.keys, Log: w.run.Log.With("at", "core")})
	if err != nil {
		return err
	}
	w.core, w.stopCore = core, background(core.Run)
	return nil
}

// background runs f until the function that it returns is called, which waits
// for its end.
func background(f func(context.Context) error) (stop func() error) {
	ctx, cancel := context.WithCancel(context.Background())
	var wg sync.WaitGroup
	var err error
	wg.Go(func() { err = f(ctx) })
	return func() error {
		cancel()
		wg.Wait()
		return err
	}
}

// join adds the client's device to the location and sets the client up with its
// wg-quick text.
func (w *world) join(ctx context.Context) (peer.Device, error) {
	d, text, err := w.enrol(ctx)
	switch {
	case err != nil:
		return d, err
	case w.plain:
		return d, plainly(ctx, w.scene.Client, text)
	}
	return d, w.tunnel(ctx, text)
}

// tunnel sets the client up with a wg-quick text.
func (w *world) tunnel(ctx context.Context, text string) error {
	t, err := scene.Up(ctx, scene.TunnelConfig{
		Host: w.scene.Client, Text: text, Backend: w.run.Backend, Log: w.run.Log.With("at", "client"),
	})
	if err != nil {
		return err
	}
	w.tunnels = append(w.tunnels, t)
	return nil
}

// enrol adds the client's device to the location, and returns its wg-quick text once
// all gateways know it.
func (w *world) enrol(ctx context.Context) (peer.Device, string, error) {
	key := wgkey.NewPrivate()
	d, err := w.add(ctx, client, key.Public())
	if err != nil {
		return d, "", err
	}
	profile, err := peer.NewProfile(w.office, d)
	if err != nil {
		return d, "", err
	}
	return d, profile.WGQuick(key), w.settled(ctx)
}

// add adds a device with the next free addresses.
func (w *world) add(ctx context.Context, name string, key wgkey.Public) (peer.Device, error) {
	return w.core.Devices().Add(ctx, peer.NewDevice{
		Name: name, Owner: "lab", Key: key, Places: []peer.Place{{Location: w.office.ID}},
	})
}

// head is the location's newest revision.
func (w *world) head(ctx context.Context) (gateway.Revision, error) {
	heads, err := w.stores.Feed().Heads(ctx)
	return heads[w.office.ID], err
}

// settled waits until every gateway has applied what the store says now.
func (w *world) settled(ctx context.Context) error {
	head, err := w.head(ctx)
	if err != nil {
		return err
	}
	running := 0
	for _, g := range w.gateways {
		if g.stop != nil {
			running++
		}
	}
	return eventually(ctx, 30*time.Second, func() error {
		// The core rings when gateways confirm; only whether all of them are
		// there has to be looked up.
		wait, cancel := context.WithTimeout(ctx, time.Second)
		defer cancel()
		if err := w.core.Wait(wait, w.office.ID, head); err != nil {
			return err
		}
		o, err := w.overview(ctx)
		if err != nil {
			return err
		}
		there := 0
		for _, g := range o.Gateways {
			if g.Connected && g.Applied.Reached(head) {
				there++
			}
		}
		if there < running {
			return fmt.Errorf("%d of %d gateways have applied revision %v", there, running, head)
		}
		return nil
	})
}

// want is what the gateways have to be, worked out the plain way.
func (w *world) want(ctx context.Context) (gateway.Config, error) {
	v, err := w.stores.Feed().View(ctx, w.office.ID, gateway.Revision{})
	if err != nil {
		return gateway.Config{}, err
	}
	return vpn.Project(v, w.keys, time.Now())
}

// overview is the location's part of the overview.
func (w *world) overview(ctx context.Context) (vpn.LocationOverview, error) {
	o, err := w.core.Overview(ctx)
	if err != nil {
		return vpn.LocationOverview{}, err
	}
	for _, l := range o.Locations {
		if l.ID == w.office.ID {
			return l, nil
		}
	}
	return vpn.LocationOverview{}, errors.New("the overview lacks the location")
}

// close takes everything down, and is fine with a world half built.
func (w *world) close() error {
	// Not the play's context: that may have ended, and this has to be done still.
	ctx, cancel := context.WithTimeout(context.Background(), 30*time.Second)
	defer cancel()
	errs := []error{w.front.close()}
	for _, g := range w.gateways {
		errs = append(errs, g.halt())
	}
	if w.stopCore != nil {
		errs = append(errs, w.stopCore())
	}
	for _, t := range w.tunnels {
		errs = append(errs, t.Down(ctx))
	}
	for _, g := range w.gateways {
		errs = append(errs, g.end(ctx))
	}
	if w.scene != nil {
		errs = append(errs, w.scene.Net.Close())
	}
	return errors.Join(errs...)
}

// explain writes what is known about a failure.
func (w *world) explain(err error) {
	const tail = 200
	lines := strings.Split(strings.TrimRight(w.scene.Net.Timeline(), "\n"), "\n")
	if len(lines) > tail {
		lines = append([]string{fmt.Sprintf("(%d earlier lines)", len(lines)-tail)}, lines[len(lines)-tail:]...)
	}
	fmt.Fprintf(os.Stderr, "lab: failed with seed %d: %v\n\n%s\npackets, in seconds:\n%s\n\n",
		w.run.Seed, err, w.scene.Net.Dump(), strings.Join(lines, "\n"))
	w.front.explain()
}

// eventually asks again and again until there is no error, and returns the last
// one when that takes longer than limit.
func eventually(ctx context.Context, limit time.Duration, f func() error) error {
	ctx, cancel := context.WithTimeoutCause(ctx, limit, fmt.Errorf("not within %v", limit))
	defer cancel()
	tick := time.NewTicker(10 * time.Millisecond)
	defer tick.Stop()
	for {
		err := f()
		if err == nil {
			return nil
		}
		select {
		case <-ctx.Done():
			return fmt.Errorf("%w: %w", context.Cause(ctx), err)
		case <-tick.C:
		}
	}
}
