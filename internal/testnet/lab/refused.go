//go:build linux

package main

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"strings"
	"time"

	"github.com/vishvananda/netlink"
)

// refused gives a gateway a machine on which it cannot work, and expects that
// the overview says why, that nothing is half made, that the other gateway does
// not mind, and that it all comes right when the cause is gone.
func refused() Scenario {
	return Scenario{
		Name:     "refused",
		Does:     "a taken interface name and a port in use: told in the overview, nothing half made, right when the cause is gone",
		Promises: []string{"P1"},
		Limit:    2 * time.Minute,
		Play: func(ctx context.Context, r *Run) error {
			return with(ctx, r, playRefused)
		},
	}
}

func playRefused(ctx context.Context, w *world) error {
	p, err := w.connect(ctx, 10*time.Millisecond)
	if err != nil {
		return err
	}
	g := w.gateways[1]
	for _, o := range obstacles(g) {
		if err := w.hindered(ctx, g, o); err != nil {
			return fmt.Errorf("%s: %w", o.name, err)
		}
		if _, err := p.WaitReply(ctx, time.Now()); err != nil {
			return fmt.Errorf("%s: the other gateway stopped: %w", o.name, err)
		}
		w.run.Metrics.Count("obstacles", 1)
	}
	return w.identical(ctx)
}

// obstacle is something on the machine that is in a gateway's way.
type obstacle struct {
	name string
	put  func() (away func() error, err error)
	says string       // what the overview has to name
	left func() error // what must not have been touched, or made
}

func obstacles(g *gw) []obstacle {
	nl := g.host.Netlink()
	kind := func() string {
		l, err := nl.LinkByName(ifname)
		if err != nil {
			return "nothing"
		}
		return l.Type()
	}
	expect := func(want string) func() error {
		return func() error {
			if got := kind(); got != want {
				return fmt.Errorf("%s is %s now, want %s", ifname, got, want)
			}
			return nil
		}
	}
	return []obstacle{
		{
			name: "the name is a bridge's",
			put: func() (func() error, error) {
				a := netlink.NewLinkAttrs()
				a.Name = ifname
				b := &netlink.Bridge{LinkAttrs: a}
				return func() error { return nl.LinkDel(b) }, nl.LinkAdd(b)
			},
			says: "choose another name",
			left: expect("bridge"),
		},
		{
			name: "the port is in use",
			put: func() (func() error, error) {
				c, err := g.host.ListenUDP(netip.AddrPortFrom(netip.IPv6Unspecified(), g.world.office.Port))
				if err != nil {
					return nil, err
				}
				return c.Close, nil
			},
			says: fmt.Sprint(g.world.office.Port),
			left: expect("nothing"),
		},
	}
}

// hindered ends the gateway's interface, puts the obstacle in its way, and
// starts it again.
func (w *world) hindered(ctx context.Context, g *gw, o obstacle) error {
	if err := errors.Join(g.halt(), g.end(ctx)); err != nil {
		return err
	}
	away, err := o.put()
	if err != nil {
		return err
	}
	if err := g.start(); err != nil {
		return err
	}
	err = eventually(ctx, 15*time.Second, func() error {
		now, err := w.member(ctx, g)
		if err != nil {
			return err
		}
		told := strings.Join(now.Failed, "; ")
		if now.Ready || !strings.Contains(told, o.says) {
			return fmt.Errorf("ready %v, and the overview tells %q, want %q in it", now.Ready, told, o.says)
		}
		w.run.Log.Info("told", "words", told)
		return nil
	})
	if err != nil {
		return err
	}
	// Between two tries: the gateway does not give up.
	err = eventually(ctx, 5*time.Second, o.left)
	if err := errors.Join(err, away()); err != nil {
		return err
	}
	start := time.Now()
	if err := w.ready(ctx, g); err != nil {
		return err
	}
	w.run.Metrics.Millis("right_again_ms", time.Since(start))
	return nil
}

// ready waits until the gateway is, at the newest revision.
func (w *world) ready(ctx context.Context, g *gw) error {
	head, err := w.head(ctx)
	if err != nil {
		return err
	}
	return eventually(ctx, 30*time.Second, func() error {
		now, err := w.member(ctx, g)
		if err != nil {
			return err
		}
		if !now.Ready || len(now.Failed) > 0 || now.Applied != head {
			return fmt.Errorf("ready %v, applied %v, want %v; failed: %s", now.Ready, now.Applied, head, strings.Join(now.Failed, "; "))
		}
		return nil
	})
}
