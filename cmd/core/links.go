package main

import (
	"context"
	"crypto/rand"
	"errors"
	"log/slog"
	"net/http"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/holdfastvpn/holdfast/cmd/internal/daemon"
	"github.com/holdfastvpn/holdfast/gateway"
	"github.com/holdfastvpn/holdfast/location"
	"github.com/holdfastvpn/holdfast/transport"
	"github.com/holdfastvpn/holdfast/transport/authority"
	"github.com/holdfastvpn/holdfast/transport/gatewayrpc"
	"github.com/holdfastvpn/holdfast/transport/join"
	"github.com/holdfastvpn/holdfast/vpn"
)

// rand20 is 20 random letters and digits.
func rand20() string { return rand.Text()[:20] }

// identify is the gateway that asks, by the certificate of its link.
func identify(ctx context.Context) (gateway.ID, error) {
	peer, ok := transport.PeerOf(ctx)
	if !ok || peer.Identity.Role != transport.Gateway {
		return "", gateway.ErrUnknown
	}
	return gateway.ID(peer.Identity.ID), nil
}

func newServer(core *vpn.Core, a *authority.Authority, log *slog.Logger) (*transport.Server, error) {
	linked := http.NewServeMux()
	linked.Handle(gatewayrpc.NewHandler(core, gatewayrpc.HandlerConfig{Identify: identify, Log: log}))
	h := join.Handlers(a)
	h.Linked = linked
	return transport.NewServer(transport.Config{
		Holder: a.Holder(), Roles: []transport.Role{transport.Gateway}, Check: a.Check,
		Retry:    time.Second, // a gateway that comes back shall not wait for us
		Software: "core " + daemon.Version(), Log: log,
	}, h)
}

// serveLinks dials gateways, those that wait to join and those that have, and takes
// those that dial.
func serveLinks(o *options, core *vpn.Core, a *authority.Authority, server *transport.Server, tasks *daemon.Tasks, log *slog.Logger) error {
	d := &dialler{core: core, waiting: a.Addresses, server: server, deployment: o.Deployment, dialling: map[gateway.ID]*dialled{}}
	tasks.Go("gateways", d.run)
	joiner := join.Dialer{
		Server: server, Waiting: a.Addresses,
		Failed: func(addr string, why error) {
			log.Debug("a machine that shall join was not reached", "addr", addr, "err", why)
		},
	}
	tasks.Go("joining", joiner.Run)
	if o.Listen == "" {
		return nil
	}
	port, err := daemon.OpenPort(context.Background(), "listen", o.Listen)
	if err != nil {
		return err
	}
	log.Info("gateways may dial", "addr", port.Addr())
	tasks.Go("listen", port.Serve(server.Listen))
	return nil
}

// dialler keeps a link to each gateway that has an address.
type dialler struct {
	core       *vpn.Core
	waiting    func(context.Context) ([]string, error) // where machines shall join
	server     *transport.Server
	deployment string

	dialling map[gateway.ID]*dialled
	known    atomic.Pointer[[]vpn.Gateway] // as told last
}

// around are the gateways that may relay to one, since they are its siblings: those
// that serve one of its locations, too, and can be dialled.
func (d *dialler) around(id gateway.ID) (out []transport.Target) {
	all := *d.known.Load()
	i := slices.IndexFunc(all, func(g vpn.Gateway) bool { return g.ID == id })
	if i < 0 {
		return nil
	}
	for _, g := range all {
		shares := slices.ContainsFunc(g.Locations, func(at location.ID) bool { return slices.Contains(all[i].Locations, at) })
		if g.ID != id && g.Address != "" && !g.Disabled && shares {
			out = append(out, transport.Target{Addr: g.Address, Want: d.identity(g.ID)})
		}
	}
	return out
}

// identity is who a gateway is on a link.
func (d *dialler) identity(id gateway.ID) transport.Identity {
	return transport.Identity{Deployment: d.deployment, Role: transport.Gateway, ID: string(id)}
}

type dialled struct {
	address string
	cancel  context.CancelFunc
}

// run follows the registrations until ctx ends.
func (d *dialler) run(ctx context.Context) error {
	var wg sync.WaitGroup
	defer wg.Wait()
	first := true
	for all := range d.core.Gateways().Follow(ctx) {
		d.known.Store(&all)
		fresh := !first
		first = false
		want := map[gateway.ID]string{}
		for _, g := range all {
			if g.Address != "" && !g.Disabled {
				want[g.ID] = g.Address
			}
		}
		for id, now := range d.dialling {
			if want[id] != now.address {
				now.cancel()
				delete(d.dialling, id)
			}
		}
		for id, address := range want {
			if d.dialling[id] != nil {
				continue
			}
			ctx, cancel := context.WithCancel(ctx)
			d.dialling[id] = &dialled{address, cancel}
			wg.Go(func() {
				defer cancel()
				d.joined(ctx, address, fresh)
				_ = d.server.Dial(ctx, transport.Target{
					Addr: address, Want: d.identity(id), Relays: func() []transport.Target { return d.around(id) },
				})
			})
		}
	}
	if ctx.Err() == nil {
		return errors.New("following the registrations ended")
	}
	return nil
}

// joined waits until no machine shall join at an address any more: until then nobody is
// there who could take a link, and trying only worries who reads the logs. The token of
// a fresh registration is made a moment after it.
func (d *dialler) joined(ctx context.Context, address string, fresh bool) {
	const often = 250 * time.Millisecond
	tick := time.NewTicker(often)
	defer tick.Stop()
	for {
		waiting, err := d.waiting(ctx)
		if err != nil || !slices.Contains(waiting, address) && !fresh {
			return
		}
		fresh = false
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
	}
}
