//go:build linux

package main

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"strconv"
	"time"

	"github.com/holdfastvpn/holdfast/internal/testnet"
	"github.com/holdfastvpn/holdfast/internal/testnet/scene"
)

// coreDownFailover loses a machine when there has been no core for a long time. It runs
// the daemons themselves, which keepalived asks how they are.
func coreDownFailover() Scenario {
	return Scenario{
		Name:       "core-down-failover",
		Processes:  true,
		Keepalived: true,
		Does:       "the core has been away for long when the carrying machine is lost; siblings suffice for the takeover",
		Promises:   []string{"P2", "P13"},
		Limit:      6 * time.Minute,
		Play: func(ctx context.Context, r *Run) error {
			c := plantConfig{gateway: []string{"--http", "127.0.0.1:" + strconv.Itoa(healthPort)}}
			return within(ctx, r, c, playCoreDownFailover)
		},
	}
}

// away is how long the core is: far longer than it takes until it is missed, and
// shorter where time is dear.
func (r *Run) away() time.Duration {
	if r.Clock == clockWall {
		return 10 * time.Second
	}
	return 30 * time.Second
}

func playCoreDownFailover(ctx context.Context, p *plant) error {
	if err := p.moveIn(ctx); err != nil {
		return err
	}
	t, err := p.traffic(ctx)
	if err != nil {
		return err
	}
	if err := p.core.kill(); err != nil {
		return err
	}
	gone := time.Now()
	if err := sleep(ctx, p.run.away()); err != nil {
		return err
	}
	p.run.Metrics.Sample("core_away_s", time.Since(gone).Seconds())
	if gap := t.probe.Outage(gone); p.run.Line.retries() == 0 && gap > p.run.proven() {
		return fmt.Errorf("the core went, and for %v the client heard nothing", gap)
	}
	if err := p.front.comes(ctx, p.sites[0].host, scene.Public4); err != nil {
		return fmt.Errorf("that the core went has moved the address: %w", err)
	}
	w := watch{host: p.sites[1].host, address: scene.Public4, probe: t.probe}
	l, err := w.until(ctx, p.run, func() (time.Time, error) { return p.fall(p.sites[0]) })
	if err != nil {
		return err
	}
	l.note(p.run)
	return errors.Join(l.right(p.run), t.probe.Close(), p.startCore(ctx))
}

// moveIn hands the address over to keepalived.
func (p *plant) moveIn(ctx context.Context) (err error) {
	l := p.offices[0]
	l.Floating = []netip.Addr{scene.Public4, scene.Public6}
	if p.offices[0], _, err = p.admin.UpdateLocation(ctx, l, "floating"); err != nil {
		return err
	}
	if err := errors.Join(p.settled(ctx), p.scene.Public.Drop()); err != nil {
		return err
	}
	if p.front, err = newFront(p.run, p.scene.Gateways); err != nil {
		return err
	}
	return p.front.begin(ctx, scene.Public4, p.scene.Gateways...)
}

// fall takes the power from a gateway's machine, and returns when.
func (p *plant) fall(s *site) (time.Time, error) {
	start := time.Now()
	errs := []error{}
	for _, n := range []*testnet.Switch{p.scene.Internet, p.scene.Office, p.control} {
		errs = append(errs, n.Cut(s.host))
	}
	return start, errors.Join(append(errs, p.front.kill(s.host), s.process.kill())...)
}
