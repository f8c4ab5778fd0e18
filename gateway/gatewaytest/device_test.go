package gatewaytest_test

import (
	"context"
	"iter"
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
	flows   func(d *memdevice.Device, ctx context.Context, i gateway.Interface) iter.Seq[gateway.FlowChange]
	adopt   func(d *memdevice.Device, ctx context.Context, i gateway.Interface, flows []gateway.Flow) error
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

func (f *faulty) Flows(ctx context.Context, i gateway.Interface) iter.Seq[gateway.FlowChange] {
	if f.flows != nil {
		return f.flows(f.Device, ctx, i)
	}
	return f.Device.Flows(ctx, i)
}

func (f *faulty) Adopt(ctx context.Context, i gateway.Interface, flows []gateway.Flow) error {
	if f.adopt != nil {
		return f.adopt(f.Device, ctx, i, flows)
	}
	return f.Device.Adopt(ctx, i, flows)
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
			Hang:     func(_ testing.TB, f gateway.Flow) { d.Disconnect(f) },
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

// deviceFault is what a device may do wrong, and the cases that have to notice it.
type deviceFault struct {
	sin    string
	fault  func() faulty
	notice []string
}

func TestDeviceSuiteFindsFaults(t *testing.T) {
	fine := func() faulty {
		return each(func(_ *memdevice.Device, s gateway.Step) (gateway.Plan, error) { return gateway.Plan{s}, nil })
	}
	for name, test := range gatewaytest.DeviceCases(withFault(fine)(t), withFault(fine)) {
		failed, log := planted.Fails(t, test)
		require.False(t, failed, "%s fails without a fault:\n%s", name, log)
	}

	for _, c := range slices.Concat(peerFaults(), ifaceFaults(), planFaults(), floatingFaults(), detourFaults(), flowFaults()) {
		t.Run(c.sin, func(t *testing.T) {
			open := withFault(c.fault)
			planted.Exactly(t, gatewaytest.DeviceCases(open(t), open), c.notice...)
		})
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
