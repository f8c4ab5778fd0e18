//go:build linux

package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"time"

	"github.com/holdfastvpn/holdfast/vpn/wgkey"
)

// rotate has all certificates renewed under traffic.
func rotate() Scenario {
	return Scenario{
		Name:      "rotate",
		Processes: true,
		Does:      "every certificate is renewed three times, under traffic; no link ends and nobody notices",
		Promises:  []string{"P8"},
		Limit:     2 * time.Minute,
		Lossless:  "it counts lost packets",
		Play: func(ctx context.Context, r *Run) error {
			return within(ctx, r, plantConfig{core: []string{"--certificate-lifetime", "15s"}}, playRotate)
		},
	}
}

func playRotate(ctx context.Context, p *plant) error {
	t, err := p.traffic(ctx)
	if err != nil {
		return err
	}
	const times = 3
	start := time.Now()
	seen := map[string]map[string]bool{} // by gateway
	err = eventually(ctx, time.Minute, func() error {
		now, err := p.certificates()
		if err != nil {
			return err
		}
		var few error
		for name, c := range now {
			if seen[name] == nil {
				seen[name] = map[string]bool{}
			}
			seen[name][c] = true
			if n := len(seen[name]) - 1; n < times {
				few = fmt.Errorf("%s has renewed %d times, want %d", name, n, times)
			}
		}
		return few
	})
	if err != nil {
		return err
	}
	p.run.Metrics.Count("renewals", times)
	// A link that ended and came again would have begun another watch.
	took := time.Since(start)
	o, err := p.overview(ctx, 0)
	if err != nil {
		return err
	}
	for _, g := range o.Gateways {
		if time.Duration(g.Since) < took {
			return fmt.Errorf("%s began to watch %v ago, and certificates were renewed for %v: its link ended", g.Name, time.Duration(g.Since), took)
		}
	}
	if _, err := p.add(ctx, "later", wgkey.NewPrivate().Public()); err != nil {
		return err
	}
	return errors.Join(p.settled(ctx), t.undisturbed(ctx))
}

// certificates are the files with which gateways prove who they are.
func (p *plant) certificates() (map[string]string, error) {
	out := map[string]string{}
	for _, s := range p.sites {
		b, err := os.ReadFile(filepath.Join(p.dir, s.host.Name(), "identity.pem"))
		if err != nil {
			return nil, err
		}
		out[s.host.Name()] = string(b)
	}
	return out, nil
}
