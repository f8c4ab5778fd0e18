package gatewaytest_test

import (
	"context"
	"net/netip"
	"slices"

	"github.com/holdfastvpn/holdfast/gateway"
	"github.com/holdfastvpn/holdfast/gateway/memdevice"
)

// floatingFaults are about floating addresses.
func floatingFaults() []deviceFault {
	return []deviceFault{
		{
			"new floating addresses are added to those that are there", func() faulty {
				return each(func(d *memdevice.Device, s gateway.Step) (gateway.Plan, error) {
					if s.Fields&gateway.FieldSource != 0 && s.Fields&gateway.FieldCreate == 0 && len(s.Interface.Floating) > 0 {
						had := now(d).Interface.Floating
						s.Interface.Floating = slices.Concat(had, s.Interface.Floating)
						slices.SortFunc(s.Interface.Floating, netip.Addr.Compare)
						s.Interface.Floating = slices.Compact(s.Interface.Floating)
					}
					return gateway.Plan{s}, nil
				})
			}, []string{
				"floating addresses come, change and go", "a new handle finds floating addresses", "each field changes alone",
				"an address that comes and goes is observed", "random configurations are reached in one round",
			},
		},
		{
			"floating addresses stay when none are wanted", func() faulty {
				return each(func(d *memdevice.Device, s gateway.Step) (gateway.Plan, error) {
					if len(s.Interface.Floating) == 0 && s.Fields&gateway.FieldCreate == 0 {
						s.Fields &^= gateway.FieldSource
					}
					return gateway.Plan{s}, nil
				})
			}, []string{
				"floating addresses come, change and go", "each field changes alone", "random configurations are reached in one round",
				"changes of others leave a session alone",
			},
		},
		{
			"a new mark leaves floating addresses behind", func() faulty {
				return each(func(d *memdevice.Device, s gateway.Step) (gateway.Plan, error) {
					if s.Fields&gateway.FieldMark != 0 && s.Fields&gateway.FieldCreate == 0 && len(now(d).Interface.Floating) > 0 {
						s.Fields &^= gateway.FieldSource
					}
					return gateway.Plan{s}, nil
				})
			}, []string{
				"floating addresses come, change and go", "each field changes alone", "random configurations are reached in one round",
				"changes of others leave a session alone",
			},
		},
		{
			"only the handle that set floating addresses knows them", func() faulty {
				mine := map[*memdevice.Device]bool{}
				return faulty{
					observe: func(d *memdevice.Device, ctx context.Context, s *gateway.State) error {
						err := d.Observe(ctx, s)
						if !mine[d] {
							s.Interface.Floating, s.Owned = nil, nil
						}
						return err
					},
					apply: func(d *memdevice.Device, ctx context.Context, p gateway.Plan) error {
						for _, step := range p {
							if step.Fields&gateway.FieldSource != 0 {
								mine[d] = true
							}
						}
						return d.Apply(ctx, p)
					},
				}
			}, []string{
				"a new handle finds floating addresses", "a new handle finds everything", "close leaves everything and may be repeated",
				"an address that comes and goes is observed",
			},
		},
		{
			"the machine is said to have all floating addresses", func() faulty {
				return faulty{
					observe: func(d *memdevice.Device, ctx context.Context, s *gateway.State) error {
						err := d.Observe(ctx, s)
						s.Owned = append(s.Owned[:0], s.Interface.Floating...)
						return err
					},
				}
			}, []string{"floating addresses come, change and go", "an address that comes and goes is observed"},
		},
		{
			"what leaves from elsewhere is not noticed to", func() faulty {
				return faulty{
					observe: func(d *memdevice.Device, ctx context.Context, s *gateway.State) error {
						err := d.Observe(ctx, s)
						s.Sourced = s.Sourced && len(s.Owned) == 0
						return err
					},
				}
			}, []string{"an address that comes and goes is observed"},
		},
		{
			"what is told is what was there at first", func() faulty {
				return faulty{own: func(d *memdevice.Device, ctx context.Context, i gateway.Interface) <-chan []netip.Addr {
					first, out := <-d.Own(ctx, i), make(chan []netip.Addr)
					go func() {
						for {
							select {
							case out <- first:
							case <-ctx.Done():
								return
							}
						}
					}()
					return out
				}}
			}, []string{
				"an address that comes and goes is told", "an address that comes and goes is observed", "who asks later is told at once",
				"a slow reader is told the newest only",
			},
		},
		{
			"what is there already is not told", func() faulty {
				return faulty{own: func(d *memdevice.Device, ctx context.Context, i gateway.Interface) <-chan []netip.Addr {
					out := d.Own(ctx, i)
					if first := <-out; len(first) > 0 {
						return out
					}
					return d.Own(ctx, i)
				}}
			}, []string{"who asks later is told at once", "a slow reader is told the newest only"},
		},
		{
			"addresses that nobody asked for are told", func() faulty {
				return faulty{own: func(d *memdevice.Device, ctx context.Context, i gateway.Interface) <-chan []netip.Addr {
					i.Floating = append([]netip.Addr{netip.MustParseAddr("198.51.100.99")}, i.Floating...)
					return d.Own(ctx, i)
				}}
			}, []string{"an address that comes and goes is told"},
		},
		{
			"a slow reader is told everything", func() faulty {
				return backlog(1000)
			}, []string{"a slow reader is told the newest only"},
		},
		{
			"a slow reader is told the oldest", func() faulty {
				return backlog(1)
			}, []string{"an address that comes and goes is told", "a slow reader is told the newest only"},
		},
		{
			"telling does not end", func() faulty {
				return faulty{own: func(d *memdevice.Device, ctx context.Context, i gateway.Interface) <-chan []netip.Addr {
					return d.Own(context.WithoutCancel(ctx), i)
				}}
			}, []string{"a context ends the telling"},
		},
		{
			"the channel is closed in the end", func() faulty {
				return faulty{own: func(d *memdevice.Device, ctx context.Context, i gateway.Interface) <-chan []netip.Addr {
					in, out := d.Own(ctx, i), make(chan []netip.Addr)
					go func() {
						defer close(out)
						for {
							select {
							case now := <-in:
								select {
								case out <- now:
								case <-ctx.Done():
									return
								}
							case <-ctx.Done():
								return
							}
						}
					}()
					return out
				}}
			}, []string{"a context ends the telling"},
		},
	}
}

// backlog tells all that was, one after the other, and what does not fit into it not
// at all.
func backlog(size int) faulty {
	type reader struct {
		ended func() error
		asked []netip.Addr
		last  []netip.Addr
		out   chan []netip.Addr
	}
	var has []netip.Addr
	var readers []*reader
	tell := func(r *reader, always bool) {
		var now []netip.Addr
		for _, a := range r.asked {
			if slices.Contains(has, a) {
				now = append(now, a)
			}
		}
		if slices.Equal(now, r.last) && !always {
			return
		}
		r.last = now
		select {
		case r.out <- now:
		default:
		}
	}
	return faulty{
		own: func(_ *memdevice.Device, ctx context.Context, i gateway.Interface) <-chan []netip.Addr {
			r := &reader{ended: ctx.Err, asked: i.Floating, out: make(chan []netip.Addr, size)}
			readers = append(readers, r)
			tell(r, true)
			return r.out
		},
		moved: func(now []netip.Addr) {
			has = now
			for _, r := range readers {
				if r.ended() == nil {
					tell(r, false)
				}
			}
		},
	}
}
