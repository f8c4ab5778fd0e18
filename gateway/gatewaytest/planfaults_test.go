package gatewaytest_test

import (
	"context"
	"errors"
	"net/netip"

	"github.com/holdfastvpn/holdfast/gateway"
	"github.com/holdfastvpn/holdfast/gateway/memdevice"
	"github.com/holdfastvpn/holdfast/vpn/wgkey"
)

// planFaults are about how plans are carried out, and how it is told what is there.
func planFaults() []deviceFault {
	return []deviceFault{
		{
			"the first failure ends the plan", func() faulty {
				return faulty{apply: func(d *memdevice.Device, ctx context.Context, p gateway.Plan) error {
					for i, s := range p {
						if err := d.Apply(ctx, gateway.Plan{s}); err != nil {
							return &gateway.ApplyError{Failed: map[int]error{i: err}}
						}
					}
					return nil
				}}
			}, []string{"a step that fails lets the others through"},
		},
		{
			"the error does not say what failed", func() faulty {
				return faulty{apply: func(d *memdevice.Device, ctx context.Context, p gateway.Plan) error {
					err := d.Apply(ctx, p)
					if failed, ok := errors.AsType[*gateway.ApplyError](err); ok {
						return errors.Join(failed.Unwrap()...)
					}
					return err
				}}
			}, []string{
				"a step that fails lets the others through", "a port that is taken leaves nothing behind",
				"a kick moves the endpoint, and nothing else",
			},
		},
		{
			"observe adds to what is in its argument", func() faulty {
				return faulty{observe: func(d *memdevice.Device, ctx context.Context, s *gateway.State) error {
					old := s.Clone()
					err := d.Observe(ctx, s)
					s.Routes = append(s.Routes, without(old.Routes, s.Routes)...)
					return err
				}}
			}, []string{"an interface that is not there is no error", "observe overwrites, and reuses memory"},
		},
		{
			"observe uses no memory again", func() faulty {
				return faulty{observe: func(d *memdevice.Device, ctx context.Context, s *gateway.State) error {
					*s = gateway.State{}
					return d.Observe(ctx, s)
				}}
			}, []string{"observe overwrites, and reuses memory"},
		},
		{
			"observe shows its own memory", func() faulty {
				mine := map[wgkey.Public][]netip.Prefix{}
				return faulty{
					observe: func(d *memdevice.Device, ctx context.Context, s *gateway.State) error {
						err := d.Observe(ctx, s)
						for i, p := range s.Peers {
							if mine[p.Key] == nil {
								mine[p.Key] = p.AllowedIPs
							}
							s.Peers[i].AllowedIPs = mine[p.Key]
						}
						return err
					},
					apply: func(d *memdevice.Device, ctx context.Context, p gateway.Plan) error {
						clear(mine)
						return d.Apply(ctx, p)
					},
				}
			}, []string{"what observe gave belongs to the caller"},
		},
		{
			"a context that ended is not looked at", func() faulty {
				return faulty{
					observe: func(d *memdevice.Device, ctx context.Context, s *gateway.State) error {
						return d.Observe(context.WithoutCancel(ctx), s)
					},
					apply: func(d *memdevice.Device, ctx context.Context, p gateway.Plan) error {
						return d.Apply(context.WithoutCancel(ctx), p)
					},
				}
			}, []string{"a context that has ended changes nothing"},
		},
	}
}
