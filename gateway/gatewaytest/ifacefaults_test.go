package gatewaytest_test

import (
	"context"
	"net/netip"

	"github.com/holdfastvpn/holdfast/gateway"
	"github.com/holdfastvpn/holdfast/gateway/memdevice"
)

// ifaceFaults are about the interface.
func ifaceFaults() []deviceFault {
	return []deviceFault{
		{
			"the inner address is never asked for later", func() faulty {
				return each(func(d *memdevice.Device, s gateway.Step) (gateway.Plan, error) {
					if s.Fields&(gateway.FieldFilter|gateway.FieldMark|gateway.FieldCreate) == gateway.FieldFilter {
						s.Interface.Inner = now(d).Interface.Inner
					}
					return gateway.Plan{s}, nil
				})
			}, []string{"each field changes alone", "random configurations are reached in one round"},
		},
		{
			"isolation is never asked for later", func() faulty {
				return each(func(d *memdevice.Device, s gateway.Step) (gateway.Plan, error) {
					if s.Fields&(gateway.FieldFilter|gateway.FieldMark|gateway.FieldCreate) == gateway.FieldFilter {
						s.Interface.Isolated = now(d).Interface.Isolated
					}
					return gateway.Plan{s}, nil
				})
			}, []string{"each field changes alone", "random configurations are reached in one round"},
		},
		{
			"new destinations are added to those that are there", func() faulty {
				return each(func(d *memdevice.Device, s gateway.Step) (gateway.Plan, error) {
					if s.Fields&(gateway.FieldFilter|gateway.FieldMark|gateway.FieldCreate) == gateway.FieldFilter {
						had := now(d).Interface.Destinations
						s.Interface.Destinations = append(without(had, s.Interface.Destinations), s.Interface.Destinations...)
					}
					return gateway.Plan{s}, nil
				})
			}, []string{"each field changes alone", "random configurations are reached in one round"},
		},
		{
			"configure replaces all peers", func() faulty {
				return each(func(d *memdevice.Device, s gateway.Step) (gateway.Plan, error) {
					if s.Verb != gateway.Configure {
						return gateway.Plan{s}, nil
					}
					p := gateway.Plan{s}
					for _, h := range now(d).Peers {
						p = append(p, gateway.Step{Verb: gateway.Remove, Peer: gateway.Peer{Key: h.Key}}, gateway.Step{
							Verb: gateway.Set,
							Peer: gateway.Peer{Key: h.Key, Preshared: h.Preshared, AllowedIPs: h.AllowedIPs, Keepalive: h.Keepalive},
						})
					}
					return p, nil
				})
			}, []string{"changes of others leave a session alone"},
		},
		{
			"the mark is forgotten", func() faulty {
				return each(func(_ *memdevice.Device, s gateway.Step) (gateway.Plan, error) {
					s.Fields &^= gateway.FieldMark
					return gateway.Plan{s}, nil
				})
			}, []string{
				"a plan makes the interface", "each field changes alone", "a new handle finds everything",
				"close leaves everything and may be repeated", "destroy leaves nothing, however many peers there are",
				"observe overwrites, and reuses memory", "what observe gave belongs to the caller",
				"doing what is done is no error", "a step that fails lets the others through",
				"random configurations are reached in one round", "changes of others leave a session alone",
				"a port that is taken leaves nothing behind",
				"floating addresses come, change and go", "a new handle finds floating addresses",
				"an address that comes and goes is told", "an address that comes and goes is observed",
				"who asks later is told at once", "a slow reader is told the newest only", "a context ends the telling",
			},
		},
		{
			"destroy leaves the peers", func() faulty {
				return each(func(d *memdevice.Device, s gateway.Step) (gateway.Plan, error) {
					if s.Verb == gateway.Destroy && now(d).Exists {
						d.Meddle(func(s *gateway.State) { s.Up = false })
						return nil, nil
					}
					return gateway.Plan{s}, nil
				})
			}, []string{
				"destroy leaves nothing, however many peers there are", "random configurations are reached in one round",
				"a new handle finds floating addresses", "detours end with the interface",
			},
		},
		{
			"close takes the interface along", func() faulty {
				return faulty{close: func(d *memdevice.Device) error {
					_ = d.Apply(context.Background(), gateway.Plan{{Verb: gateway.Destroy}})
					return d.Close()
				}}
			}, []string{
				"a new handle finds everything", "close leaves everything and may be repeated",
				"a new handle leaves sessions alone", "a new handle finds floating addresses", "a new handle finds detours",
			},
		},
		{
			"routes of a network of its own are not shown", func() faulty {
				return faulty{observe: func(d *memdevice.Device, ctx context.Context, s *gateway.State) error {
					err := d.Observe(ctx, s)
					for _, a := range s.Interface.Addrs {
						s.Routes = without(s.Routes, []netip.Prefix{a.Masked()})
					}
					return err
				}}
			}, []string{"a route stays ours when an address hides it"},
		},
		{
			"a failed creation leaves half an interface", func() faulty {
				return faulty{apply: func(d *memdevice.Device, ctx context.Context, p gateway.Plan) error {
					err := d.Apply(ctx, p)
					if err != nil && len(p) > 0 && p[0].Fields&gateway.FieldCreate != 0 {
						p[0].Fields &^= gateway.FieldPort
						_ = d.Apply(ctx, p[:1])
					}
					return err
				}}
			}, []string{"a port that is taken leaves nothing behind"},
		},
		{
			"foreign interfaces are taken over", func() faulty {
				return faulty{apply: func(d *memdevice.Device, ctx context.Context, p gateway.Plan) error {
					d.SetForeign(false)
					return d.Apply(ctx, p)
				}}
			}, []string{"an interface of somebody else is left alone"},
		},
	}
}
