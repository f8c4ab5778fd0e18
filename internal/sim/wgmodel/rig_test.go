package wgmodel_test

import (
	"context"
	"net/netip"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/holdfastvpn/holdfast/gateway"
	"github.com/holdfastvpn/holdfast/internal/sim/wgmodel"
	"github.com/holdfastvpn/holdfast/vpn/wgkey"
)

var (
	floating = netip.MustParseAddr("203.0.113.10")
	public   = netip.AddrPortFrom(floating, 51820)
	server   = private(1)
	someone  = private(2).Public()
)

const (
	second = time.Second
	probe  = 10 * time.Millisecond // how often a client that talks asks
)

func private(n byte) wgkey.Private { return wgkey.PrivateFrom([wgkey.Size]byte{8, n, 0x77}) }

// rig is two gateways with one key, and a client.
type rig struct {
	t   *testing.T
	net *wgmodel.Network
	gw  [2]*gw
	nat *wgmodel.NAT // nil: there is none
	pc  *wgmodel.Host
	c   *wgmodel.Client
}

type gw struct {
	*wgmodel.Device
	host *wgmodel.Host
	row  gateway.Peer
}

type options struct {
	seed       uint64
	nat        bool
	keepalive  time.Duration
	unfollowed bool // nobody follows addresses
	late       bool // the gateways do not know the client yet
}

// play plays test in a bubble. The first gateway has the address.
func play(t *testing.T, o options, test func(r *rig)) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		r := &rig{t: t, net: wgmodel.NewNetwork(o.seed)}
		for i := range r.gw {
			h := r.net.Host(netip.AddrFrom4([4]byte{198, 51, 100, byte(1 + i)}))
			h.SetPath(wgmodel.Path{Delay: second / 1000})
			r.gw[i] = &gw{Device: h.NewDevice(), host: h, row: gateway.Peer{
				Key: someone, AllowedIPs: []netip.Prefix{netip.MustParsePrefix("10.20.0.2/32")},
			}}
			r.gw[i].do(t, gateway.Step{Verb: gateway.Configure, Fields: gateway.FieldsAll, Interface: gateway.Interface{
				Key: server, Port: public.Port(), MTU: 1420, Mark: 7, Floating: []netip.Addr{floating},
				Addrs: []netip.Prefix{netip.MustParsePrefix("10.20.0.1/24")},
			}})
			if !o.late {
				r.gw[i].set(t)
			}
			if !o.unfollowed {
				r.gw[i].follow(t.Context(), t)
			}
		}
		r.gw[0].host.Have(floating, true)
		if o.nat {
			r.nat = r.net.NAT(netip.MustParseAddr("192.0.2.1"))
			r.pc = r.nat.Host(netip.MustParseAddr("10.0.0.2"))
		} else {
			r.pc = r.net.Host(netip.MustParseAddr("192.0.2.1"))
		}
		r.c = r.pc.NewClient(wgmodel.ClientConfig{Key: someone, Server: server.Public(), Endpoint: public, Keepalive: o.keepalive})
		test(r)
		r.net.Close()
	})
}

func (g *gw) do(t *testing.T, p ...gateway.Step) {
	t.Helper()
	require.NoError(t, g.Apply(context.Background(), p))
}

func (g *gw) set(t *testing.T) {
	t.Helper()
	g.do(t, gateway.Step{Verb: gateway.Set, Peer: g.row})
}

// forget removes the client and sets it again.
func (g *gw) forget(t *testing.T) {
	t.Helper()
	g.do(t, gateway.Step{Verb: gateway.Remove, Peer: g.row}, gateway.Step{Verb: gateway.Set, Peer: g.row})
}

// follow has somebody follow the machine's addresses.
func (g *gw) follow(ctx context.Context, t *testing.T) {
	t.Helper()
	require.NotNil(t, g.Own(ctx, gateway.Interface{Floating: []netip.Addr{floating}}))
}

// kick has the gateway speak first, at a place.
func (g *gw) kick(t *testing.T, at netip.AddrPort) {
	t.Helper()
	g.do(t, gateway.Step{Verb: gateway.Kick, Peer: gateway.Peer{Key: g.row.Key, Endpoint: at}})
}

func (g *gw) peer(t *testing.T) gateway.PeerState {
	t.Helper()
	var s gateway.State
	require.NoError(t, g.Observe(context.Background(), &s))
	require.Len(t, s.Peers, 1)
	return s.Peers[0]
}

// move moves the floating address from one gateway to the other.
func (r *rig) move(from, to int) {
	r.gw[from].host.Have(floating, false)
	r.gw[to].host.Have(floating, true)
}

// after lets time pass.
func (*rig) after(d time.Duration) {
	time.Sleep(d)
	synctest.Wait()
}

// talking lets the client talk for a while.
func (r *rig) talking(d time.Duration) {
	r.c.AskEvery(probe)
	r.after(d)
	_, count := r.c.Answered()
	require.Positive(r.t, count, "nobody answered from the start")
	r.c.Measure()
}

// outage lets time pass, and returns how long the client was without an answer.
func (r *rig) outage(d time.Duration) time.Duration {
	r.after(d)
	last, _ := r.c.Answered()
	require.WithinDuration(r.t, time.Now(), last, second, "it has not come back")
	return r.c.Outage()
}

// within requires a duration to lie between two others, as they were measured on the
// kernel, but for the two ways and one question that a model without costs adds.
func (r *rig) within(d, least, most time.Duration, what string) {
	r.t.Helper()
	const slack = 25 * time.Millisecond
	require.True(r.t, d >= least-slack && d <= most+slack, "%s: %v, want %v to %v", what, d, least, most)
}

func ms(n int) time.Duration { return time.Duration(n) * time.Millisecond }

func presharedOf(n byte) wgkey.Preshared { return wgkey.PresharedFrom([wgkey.Size]byte{n, 0x78}) }
