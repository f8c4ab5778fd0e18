package gatewaytest_test

import (
	"context"
	"errors"
	"net/netip"
	"slices"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/holdfastvpn/holdfast/gateway"
	"github.com/holdfastvpn/holdfast/gateway/gatewaytest"
	"github.com/holdfastvpn/holdfast/gateway/memdevice"
	"github.com/holdfastvpn/holdfast/internal/planted"
	"github.com/holdfastvpn/holdfast/vpn/wgkey"
)

// faulty is a device with one planted fault: what it does in place of what is
// right. Its interface is shared by its handles.
type faulty struct {
	*memdevice.Device

	observe func(d *memdevice.Device, ctx context.Context, s *gateway.State) error
	apply   func(d *memdevice.Device, ctx context.Context, p gateway.Plan) error
	close   func(d *memdevice.Device) error
	own     func(d *memdevice.Device, ctx context.Context, i gateway.Interface) <-chan []netip.Addr
	moved   func(has []netip.Addr)
	detour  func(d *memdevice.Device, ctx context.Context, want []gateway.Detour) error
}

func (f *faulty) Observe(ctx context.Context, s *gateway.State) error {
	if f.observe != nil {
		return f.observe(f.Device, ctx, s)
	}
	return f.Device.Observe(ctx, s)
}

func (f *faulty) Apply(ctx context.Context, p gateway.Plan) error {
	if f.apply != nil {
		return f.apply(f.Device, ctx, p)
	}
	return f.Device.Apply(ctx, p)
}

func (f *faulty) Close() error {
	if f.close != nil {
		return f.close(f.Device)
	}
	return f.Device.Close()
}

func (f *faulty) Own(ctx context.Context, i gateway.Interface) <-chan []netip.Addr {
	if f.own != nil {
		return f.own(f.Device, ctx, i)
	}
	return f.Device.Own(ctx, i)
}

func (f *faulty) Detour(ctx context.Context, i gateway.Interface, want []gateway.Detour) error {
	if f.detour != nil {
		return f.detour(f.Device, ctx, want)
	}
	return f.Device.Detour(ctx, i, want)
}

// withFault opens harnesses whose devices have a fault.
func withFault(fault func() faulty) func(testing.TB) gatewaytest.Harness {
	return func(testing.TB) gatewaytest.Harness {
		d, f := memdevice.New(), fault()
		var has []netip.Addr
		return gatewaytest.Harness{
			Open: func(testing.TB) gateway.Device {
				mine := f
				mine.Device = d.Open()
				return &mine
			},
			Talk: func(tb testing.TB, peer wgkey.Private) {
				tb.Helper()
				require.True(tb, d.Hear(peer.Public(), memdevice.Traffic{
					Rx: 180, Tx: 92, Handshake: time.Now(), Endpoint: netip.MustParseAddrPort("192.0.2.1:7"),
				}))
			},
			TakePort: func(tb testing.TB, port uint16) {
				tb.Helper()
				tb.Cleanup(d.TakePort(port))
			},
			Foreign:  func(testing.TB) { d.SetForeign(true) },
			Detours:  func(testing.TB) []gateway.Detour { return d.Detours() },
			Siblings: []netip.Addr{netip.MustParseAddr("10.60.0.2"), netip.MustParseAddr("10.60.0.3")},
			Own: func(_ testing.TB, a netip.Addr, have bool) {
				has = slices.DeleteFunc(has, func(b netip.Addr) bool { return a == b })
				if have {
					has = append(has, a)
				}
				d.SetOwned(has...)
				if f.moved != nil {
					f.moved(slices.Clone(has))
				}
			},
		}
	}
}

// each applies steps one by one as edit makes them, as a device does that keeps
// its errors apart.
func each(edit func(d *memdevice.Device, s gateway.Step) (gateway.Plan, error)) faulty {
	return faulty{apply: func(d *memdevice.Device, ctx context.Context, p gateway.Plan) error {
		if ctx.Err() != nil {
			return ctx.Err()
		}
		failed := map[int]error{}
		for i, s := range p {
			steps, err := edit(d, s)
			if err == nil {
				err = d.Apply(ctx, steps)
			}
			if err != nil {
				failed[i] = err
			}
			if err != nil && s.Fields&gateway.FieldCreate != 0 {
				break
			}
		}
		if len(failed) > 0 {
			return &gateway.ApplyError{Failed: failed}
		}
		return nil
	}}
}

func set(p gateway.Peer) gateway.Step { return gateway.Step{Verb: gateway.Set, Peer: p} }

func now(d *memdevice.Device) (s gateway.State) {
	_ = d.Open().Observe(context.Background(), &s)
	return s
}

func there(d *memdevice.Device, key wgkey.Public) bool {
	for _, p := range now(d).Peers {
		if p.Key == key {
			return true
		}
	}
	return false
}

func TestDeviceSuiteFindsFaults(t *testing.T) {
	fine := func() faulty {
		return each(func(_ *memdevice.Device, s gateway.Step) (gateway.Plan, error) { return gateway.Plan{s}, nil })
	}
	for name, test := range gatewaytest.DeviceCases(withFault(fine)(t), withFault(fine)) {
		failed, log := planted.Fails(t, test)
		require.False(t, failed, "%s fails without a fault:\n%s", name, log)
	}

	for _, c := range []struct {
		sin    string
		fault  func() faulty
		notice []string
	}{
		{
			"the first claimer keeps a prefix", func() faulty {
				return each(func(d *memdevice.Device, s gateway.Step) (gateway.Plan, error) {
					for _, p := range now(d).Peers {
						if s.Verb == gateway.Set && p.Key != s.Peer.Key {
							s.Peer.AllowedIPs = without(s.Peer.AllowedIPs, p.AllowedIPs)
						}
					}
					return gateway.Plan{s}, nil
				})
			}, []string{"a prefix moves to the last claimer"},
		},
		{
			"set adds allowed IPs to those that are there", func() faulty {
				return each(func(d *memdevice.Device, s gateway.Step) (gateway.Plan, error) {
					for _, p := range now(d).Peers {
						if s.Verb == gateway.Set && p.Key == s.Peer.Key {
							s.Peer.AllowedIPs = append(without(p.AllowedIPs, s.Peer.AllowedIPs), s.Peer.AllowedIPs...)
						}
					}
					return gateway.Plan{s}, nil
				})
			}, []string{
				"set replaces the allowed IPs", "set leaves session, endpoint and counters alone",
				"random configurations are reached in one round",
			},
		},
		{
			"set begins a new session", func() faulty {
				return each(func(d *memdevice.Device, s gateway.Step) (gateway.Plan, error) {
					if s.Verb == gateway.Set && there(d, s.Peer.Key) {
						return gateway.Plan{{Verb: gateway.Remove, Peer: s.Peer}, s}, nil
					}
					return gateway.Plan{s}, nil
				})
			}, []string{
				"set leaves session, endpoint and counters alone", "an endpoint is taken when the peer is added, and only then",
			},
		},
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
			"a peer's session outlives it", func() faulty {
				gone := map[wgkey.Public]gateway.PeerState{}
				return each(func(d *memdevice.Device, s gateway.Step) (gateway.Plan, error) {
					for _, p := range now(d).Peers {
						if s.Verb == gateway.Remove && p.Key == s.Peer.Key {
							gone[p.Key] = p
						}
					}
					if old, ok := gone[s.Peer.Key]; ok && s.Verb == gateway.Set && !there(d, s.Peer.Key) {
						_ = d.Apply(context.Background(), gateway.Plan{s})
						d.Hear(s.Peer.Key, memdevice.Traffic{Rx: old.Rx, Tx: old.Tx, Handshake: old.Handshake})
						return nil, nil
					}
					return gateway.Plan{s}, nil
				})
			}, []string{"removed and set again, a peer starts from nothing"},
		},
		{
			"every set takes the endpoint", func() faulty {
				return each(func(d *memdevice.Device, s gateway.Step) (gateway.Plan, error) {
					if s.Verb == gateway.Set && s.Peer.Endpoint.IsValid() {
						d.Hear(s.Peer.Key, memdevice.Traffic{Endpoint: s.Peer.Endpoint})
					}
					return gateway.Plan{s}, nil
				})
			}, []string{"an endpoint is taken when the peer is added, and only then"},
		},
		{
			"the preshared key of a peer that is there stays", func() faulty {
				return each(func(d *memdevice.Device, s gateway.Step) (gateway.Plan, error) {
					for _, p := range now(d).Peers {
						if s.Verb == gateway.Set && p.Key == s.Peer.Key {
							s.Peer.Preshared = p.Preshared
						}
					}
					return gateway.Plan{s}, nil
				})
			}, []string{"set changes the keepalive and the preshared key"},
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
			"a kick brings in a peer", func() faulty {
				return each(func(d *memdevice.Device, s gateway.Step) (gateway.Plan, error) {
					if s.Verb == gateway.Kick && s.Peer.Endpoint.IsValid() && !there(d, s.Peer.Key) {
						return gateway.Plan{set(s.Peer)}, nil
					}
					return gateway.Plan{s}, nil
				})
			}, []string{"a kick moves the endpoint, and nothing else"},
		},
		{
			"a kick takes the allowed IPs away", func() faulty {
				return each(func(d *memdevice.Device, s gateway.Step) (gateway.Plan, error) {
					if s.Verb == gateway.Kick && there(d, s.Peer.Key) {
						return gateway.Plan{set(s.Peer), s}, nil
					}
					return gateway.Plan{s}, nil
				})
			}, []string{"a kick moves the endpoint, and nothing else", "a kick leaves session and counters alone"},
		},
		{
			"a kick leaves a keepalive behind", func() faulty {
				return each(func(_ *memdevice.Device, s gateway.Step) (gateway.Plan, error) {
					if s.Verb == gateway.Kick {
						s.Peer.Keepalive = 25 * time.Second
					}
					return gateway.Plan{s}, nil
				})
			}, []string{"a kick moves the endpoint, and nothing else", "a kick leaves session and counters alone"},
		},
		{
			"a kick begins with nothing", func() faulty {
				return each(func(d *memdevice.Device, s gateway.Step) (gateway.Plan, error) {
					for _, p := range now(d).Peers {
						if s.Verb == gateway.Kick && p.Key == s.Peer.Key {
							return gateway.Plan{
								{Verb: gateway.Remove, Peer: s.Peer},
								set(gateway.Peer{Key: p.Key, Preshared: p.Preshared, AllowedIPs: p.AllowedIPs}), s,
							}, nil
						}
					}
					return gateway.Plan{s}, nil
				})
			}, []string{"a kick leaves session and counters alone"},
		},
		{
			"nobody is kicked", func() faulty {
				return each(func(_ *memdevice.Device, s gateway.Step) (gateway.Plan, error) {
					if s.Verb == gateway.Kick && s.Peer.Endpoint.IsValid() {
						return nil, nil
					}
					return gateway.Plan{s}, nil
				})
			}, []string{"a kick moves the endpoint, and nothing else", "a kick leaves session and counters alone"},
		},
		{
			"removing what is not there is an error", func() faulty {
				return each(func(d *memdevice.Device, s gateway.Step) (gateway.Plan, error) {
					if s.Verb == gateway.Remove && !there(d, s.Peer.Key) {
						return nil, errors.New("no such peer")
					}
					return gateway.Plan{s}, nil
				})
			}, []string{"doing what is done is no error", "what is removed is gone"},
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
			}, []string{"detours end with the interface",
				"destroy leaves nothing, however many peers there are", "random configurations are reached in one round",
				"a new handle finds floating addresses",
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
	} {
		t.Run(c.sin, func(t *testing.T) {
			open := withFault(c.fault)
			planted.Exactly(t, gatewaytest.DeviceCases(open(t), open), c.notice...)
		})
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

// without returns what of a is not in b, in memory of its own.
func without(a, b []netip.Prefix) []netip.Prefix {
	var out []netip.Prefix
	for _, p := range a {
		found := false
		for _, q := range b {
			found = found || p == q
		}
		if !found {
			out = append(out, p)
		}
	}
	return out
}
