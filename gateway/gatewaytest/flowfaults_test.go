package gatewaytest_test

import (
	"context"
	"iter"
	"net/netip"
	"slices"
	"time"

	"github.com/holdfastvpn/holdfast/gateway"
	"github.com/holdfastvpn/holdfast/gateway/memdevice"
)

// flowFaults are about connections at inner addresses.
func flowFaults() []deviceFault {
	const (
		told  = "connections that are adopted are told, and those that end"
		ours  = "only the location's connections are adopted"
		stay  = "a connection that is there stays as it is"
		leave = "connections do not end with their address"
		none  = "nobody is told of connections without an inner address"
		end   = "a context ends the telling of connections"
	)
	// edited tells something else than what is so.
	edited := func(edit func(*gateway.FlowChange)) func() faulty {
		return func() faulty {
			return faulty{flows: func(d *memdevice.Device, ctx context.Context, i gateway.Interface) iter.Seq[gateway.FlowChange] {
				return func(yield func(gateway.FlowChange) bool) {
					for c := range d.Flows(ctx, i) {
						if edit(&c); !yield(c) {
							return
						}
					}
				}
			}}
		}
	}
	adopting := func(adopt func(d *memdevice.Device, i gateway.Interface, flows []gateway.Flow)) func() faulty {
		return func() faulty {
			return faulty{adopt: func(d *memdevice.Device, _ context.Context, i gateway.Interface, flows []gateway.Flow) error {
				adopt(d, i, flows)
				return nil
			}}
		}
	}
	translated := func(i gateway.Interface, flows []gateway.Flow) []gateway.Flow {
		return slices.DeleteFunc(slices.Clone(flows), func(f gateway.Flow) bool { return !i.Translates(f) })
	}
	return []deviceFault{
		{"ends of connections are not told", edited(func(c *gateway.FlowChange) { c.Ended = nil }), []string{told, stay}},
		{
			"connections of IPv6 are not told", edited(func(c *gateway.FlowChange) {
				c.Began = slices.DeleteFunc(c.Began, func(f gateway.Flow) bool { return f.From.Addr().Is6() })
			}), []string{told, ours, stay, leave},
		},
		{
			"connections of UDP are not told", edited(func(c *gateway.FlowChange) {
				c.Began = slices.DeleteFunc(c.Began, func(f gateway.Flow) bool { return f.UDP })
			}), []string{told},
		},
		{
			"connections end with their address", func() faulty {
				f := gateway.Flow{}
				return edited(func(c *gateway.FlowChange) {
					if len(c.Began) > 0 {
						f = c.Began[0]
					}
					if len(c.Here) == 1 {
						c.Ended = append(c.Ended, f)
					}
				})()
			}, []string{leave},
		},
		{
			"sources that are not the location's are adopted", adopting(func(d *memdevice.Device, i gateway.Interface, flows []gateway.Flow) {
				i.Masquerade = append(slices.Clone(i.Masquerade), netip.MustParsePrefix("10.21.0.0/16"))
				for _, f := range flows {
					if translated := i.Translates(f); translated && f.From.Addr().Is4() && f.From.Addr().As4()[1] == 21 {
						f.From = netip.AddrPortFrom(netip.MustParseAddr("10.20.0.9"), f.From.Port()) // or it would not show
					} else if !translated {
						continue
					}
					d.Connect(f)
				}
			}), []string{ours},
		},
		{
			"what is adopted replaces what is there", adopting(func(d *memdevice.Device, i gateway.Interface, flows []gateway.Flow) {
				for _, f := range translated(i, flows) {
					for _, have := range d.Connections() {
						if have.UDP == f.UDP && have.To == f.To && (have.From == f.From || have.Inner == f.Inner) {
							d.Disconnect(have)
						}
					}
					d.Connect(f)
				}
			}), []string{stay},
		},
		{
			"one that cannot be adopted keeps others from it", adopting(func(d *memdevice.Device, i gateway.Interface, flows []gateway.Flow) {
				if len(translated(i, flows)) == len(flows) {
					d.Connect(flows...)
				}
			}), []string{ours},
		},
		{
			"something is told without an inner address", func() faulty {
				return faulty{flows: func(d *memdevice.Device, ctx context.Context, i gateway.Interface) iter.Seq[gateway.FlowChange] {
					if len(i.Inner) > 0 {
						return d.Flows(ctx, i)
					}
					return func(yield func(gateway.FlowChange) bool) { yield(gateway.FlowChange{All: true}) }
				}}
			}, []string{none},
		},
		{
			"the telling of connections does not end", func() faulty {
				return faulty{flows: func(d *memdevice.Device, ctx context.Context, i gateway.Interface) iter.Seq[gateway.FlowChange] {
					return func(yield func(gateway.FlowChange) bool) {
						for c := range d.Flows(ctx, i) {
							if !yield(c) {
								break
							}
						}
						if len(i.Inner) > 0 {
							<-time.After(10 * time.Second) // time itself: longer than the case waits
						}
					}
				}}
			}, []string{end},
		},
	}
}
