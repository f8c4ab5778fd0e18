package main

import (
	"context"
	"log/slog"
	"sync"

	"github.com/holdfastvpn/holdfast/gateway"
	"github.com/holdfastvpn/holdfast/transport"
	"github.com/holdfastvpn/holdfast/transport/gatewayrpc"
)

// cores are the control planes at the other ends of links.
type cores struct {
	client *transport.Client
	pool   *gateway.Pool
	log    *slog.Logger
	clock  *gatewayrpc.Clock
}

func newCores(client *transport.Client, log *slog.Logger) *cores {
	return &cores{client: client, pool: gateway.NewPool(), log: log, clock: gatewayrpc.NewClock(nil)}
}

// follow puts the core of each link into the pool, and takes it out again, until
// ctx ends.
func (c *cores) follow(ctx context.Context) error {
	var wg sync.WaitGroup
	defer wg.Wait()
	known := map[*transport.Link]bool{}
	for {
		links, changed := c.client.Links()
		now := make(map[*transport.Link]bool, len(links))
		for _, l := range links {
			now[l] = true
			if !known[l] && !l.Peer().RenewOnly {
				wg.Go(func() { c.serve(ctx, l) })
			}
		}
		known = now
		select {
		case <-ctx.Done():
			return nil
		case <-changed:
		}
	}
}

// serve keeps the core of a link in the pool while the link is up.
func (c *cores) serve(ctx context.Context, l *transport.Link) {
	peer := l.Peer()
	name := peer.Identity.ID
	plane := gatewayrpc.NewClient(l.HTTP(), transport.BaseURL, gatewayrpc.ClientConfig{Clock: c.clock})
	c.pool.Put(name, plane)
	c.log.Info("core connected", "core", peer.Identity.ID, "addr", peer.Addr, "software", peer.Software)
	defer c.pool.Drop(name, plane)
	select {
	case <-ctx.Done():
	case <-l.Done():
		c.log.Warn("core lost", "core", peer.Identity.ID, "addr", peer.Addr, "err", l.Err())
	}
}
