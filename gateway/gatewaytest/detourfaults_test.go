package gatewaytest_test

import (
	"context"
	"errors"
	"slices"

	"github.com/holdfastvpn/holdfast/gateway"
	"github.com/holdfastvpn/holdfast/gateway/memdevice"
)

// detourFaults are about ways to siblings.
func detourFaults() []deviceFault {
	return []deviceFault{
		{
			"detours stay that are not asked for any more", func() faulty {
				return faulty{detour: func(d *memdevice.Device, ctx context.Context, want []gateway.Detour) error {
					for _, have := range d.Detours() {
						if !slices.ContainsFunc(want, func(w gateway.Detour) bool { return w.To == have.To }) {
							want = append(slices.Clone(want), have)
						}
					}
					return d.Detour(ctx, gateway.Interface{}, want)
				}}
			}, []string{"detours are exactly those asked for last", "a new handle finds detours"},
		},
		{
			"a detour keeps its first way", func() faulty {
				return faulty{detour: func(d *memdevice.Device, ctx context.Context, want []gateway.Detour) error {
					want = slices.Clone(want)
					for i, w := range want {
						for _, have := range d.Detours() {
							if have.To == w.To {
								want[i] = have
							}
						}
					}
					return d.Detour(ctx, gateway.Interface{}, want)
				}}
			}, []string{"detours are exactly those asked for last"},
		},
		{
			"closing ends detours", func() faulty {
				return faulty{close: func(d *memdevice.Device) error {
					return errors.Join(d.Open().Detour(context.Background(), gateway.Interface{}, nil), d.Close())
				}}
			}, []string{"a new handle finds detours"},
		},
		{
			"detours outlive the interface", func() faulty {
				f := each(func(_ *memdevice.Device, s gateway.Step) (gateway.Plan, error) { return gateway.Plan{s}, nil })
				inner := f.apply
				f.apply = func(d *memdevice.Device, ctx context.Context, p gateway.Plan) error {
					had := d.Detours()
					return errors.Join(inner(d, ctx, p), d.Detour(context.WithoutCancel(ctx), gateway.Interface{}, had))
				}
				return f
			}, []string{"detours end with the interface"},
		},
	}
}
