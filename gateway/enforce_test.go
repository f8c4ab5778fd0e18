package gateway_test

import (
	"context"
	"errors"
	"net/netip"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/holdfastvpn/holdfast/gateway"
	"github.com/holdfastvpn/holdfast/gateway/gatewaytest"
	"github.com/holdfastvpn/holdfast/gateway/memdevice"
	"github.com/holdfastvpn/holdfast/vpn/wgkey"
)

// A device that makes something and undoes it, because it cannot finish, notices
// that itself; that is no reason to try again at once.
func TestFailuresAreNoReasonToHurry(t *testing.T) {
	inBubble(t, 3, func(t *testing.T, b *bench) {
		b.stop()
		d := notifying{b.device, make(chan struct{}, 1)}
		var tries atomic.Int64
		b.device.FailSteps(func(s gateway.Step) error {
			tries.Add(1)
			select {
			case d.changes <- struct{}{}:
			default:
			}
			return errors.New("no room")
		})
		r, err := gateway.NewReconciler(gateway.ReconcilerConfig{ID: "gw1", Location: office, Device: d, Plane: b.link})
		require.NoError(t, err)
		b.Reconciler = r
		b.start()
		b.plane.SetPeer(office, gatewaytest.Peer(8))
		b.after(10 * time.Second)
		require.InDelta(t, 10, tries.Load(), 2, "tries in 10 s at a poll of 1 s")

		b.device.FailSteps(nil)
		b.after(2 * time.Second)
		b.converged()
	})
}

func TestABadPeerHoldsUpNobody(t *testing.T) {
	inBubble(t, 3, func(t *testing.T, b *bench) {
		bad, good := gatewaytest.Peer(8), gatewaytest.Peer(9)
		bad.AllowedIPs = append(bad.AllowedIPs, netip.MustParsePrefix("192.0.2.0/24"))
		var tries atomic.Int64
		b.device.FailSteps(func(s gateway.Step) error {
			if s.Peer.Key == bad.Key || s.Verb == gateway.Route {
				tries.Add(1)
				return errors.New("no room")
			}
			return nil
		})
		at := time.Now()
		b.plane.SetPeer(office, bad)
		rev := b.plane.SetPeer(office, good)
		b.after(100 * time.Millisecond)
		last := b.plane.Last("gw1", office)
		require.Equal(t, rev, last.Applied, "a peer that failed holds up the others")
		require.Equal(t, []gateway.Problem{
			{Key: bad.Key, What: "route 192.0.2.0/24: memdevice: route: no room", At: at},
			{Key: bad.Key, What: "set: memdevice: set: no room", At: at},
		}, last.Failed)
		require.NotEqual(t, rev, last.Verified)

		before := tries.Load()
		b.after(10 * time.Second)
		require.Equal(t, before+20, tries.Load(), "it is not tried again at each poll")
		require.Equal(t, last.Failed, b.Status().Failed, "the time when it was found first changed")
		require.Zero(t, b.Status().Drifts, "what failed is taken for drift")
		require.NotEqual(t, rev, b.Status().Verified)

		// What others do meanwhile is drift, and is repaired.
		b.device.Open().Meddle(func(s *gateway.State) { s.Peers = s.Peers[1:] })
		b.after(time.Second)
		require.Equal(t, uint64(1), b.Status().Drifts)

		b.device.FailSteps(nil)
		b.after(3 * time.Second)
		b.converged()
		last = b.plane.Last("gw1", office)
		require.Empty(t, last.Failed)
		require.Equal(t, rev, last.Verified)
		require.Equal(t, uint64(1), last.Drifts)
	})
}

func TestAnInterfaceThatCanNotBeMade(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		plane := gatewaytest.NewPlane()
		plane.Assign("gw1", office)
		rev := plane.Put(office, gatewaytest.Config(3))
		d := memdevice.New()
		free := d.TakePort(51820)
		b := newBench(t, plane, "gw1", d)
		b.start()
		b.after(10 * time.Second)
		require.False(t, b.state().Exists)
		last := plane.Last("gw1", office)
		require.True(t, last.Applied.IsZero(), "an interface that is not there was acknowledged")
		require.Len(t, last.Failed, 1)
		require.Contains(t, last.Failed[0].What, "port 51820")
		require.True(t, last.Failed[0].Key.IsZero())
		require.False(t, last.Ready)
		require.ErrorContains(t, b.Ready(), "port 51820")
		free()
		b.after(3 * time.Second)
		b.converged()
		require.Equal(t, rev, plane.Last("gw1", office).Applied)
		require.NoError(t, b.Ready())
		b.stop()
	})
}

func TestAForeignInterfaceIsLeftAlone(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		plane := gatewaytest.NewPlane()
		plane.Assign("gw1", office)
		plane.Put(office, gatewaytest.Config(3))
		d := memdevice.New()
		d.SetForeign(true)
		b := newBench(t, plane, "gw1", d)
		b.start()
		b.after(10 * time.Second)
		require.Empty(t, b.steps.take())
		last := plane.Last("gw1", office)
		require.Contains(t, last.Failed[0].What, gateway.ErrForeign.Error())
		require.True(t, last.Applied.IsZero())
		d.SetForeign(false)
		b.after(3 * time.Second)
		b.converged()
		require.Empty(t, plane.Last("gw1", office).Failed)
		b.stop()
	})
}

func TestADeviceThatCanNotBeObserved(t *testing.T) {
	inBubble(t, 3, func(t *testing.T, b *bench) {
		at := time.Now()
		b.device.FailObserve(errors.New("no buffer space"))
		b.after(5 * time.Second)
		last := b.plane.Last("gw1", office)
		require.Contains(t, last.Failed[0].What, "no buffer space")
		require.WithinRange(t, last.Failed[0].At, at, at.Add(time.Second))

		// What is known is enough for updates.
		rev := b.plane.RemovePeer(office, gatewaytest.Peer(1).Key)
		b.after(100 * time.Millisecond)
		require.Equal(t, rev, b.plane.Last("gw1", office).Applied)

		b.device.FailObserve(nil)
		b.device.Open().Meddle(func(s *gateway.State) { s.Peers = s.Peers[1:] })
		b.after(3 * time.Second)
		b.converged()
		last = b.plane.Last("gw1", office)
		require.Empty(t, last.Failed)
		require.Equal(t, uint64(1), last.Drifts, "what others did meanwhile is not told")
	})
}

func TestWhatADeviceComplainsOfIsTold(t *testing.T) {
	inBubble(t, 1, func(t *testing.T, b *bench) {
		at := time.Now()
		b.device.SetProblems("IPv6 is not forwarded: /proc/sys is read-only")
		b.after(5 * time.Second)
		last := b.plane.Last("gw1", office)
		require.Len(t, last.Failed, 1)
		require.Equal(t, "IPv6 is not forwarded: /proc/sys is read-only", last.Failed[0].What)
		require.WithinRange(t, last.Failed[0].At, at, at.Add(time.Second))
		b.device.SetProblems()
		b.after(5 * time.Second)
		require.Empty(t, b.plane.Last("gw1", office).Failed)
	})
}

func TestAStalledDeviceLosesNoUpdate(t *testing.T) {
	inBubble(t, 5, func(t *testing.T, b *bench) {
		release := b.device.Block()
		b.after(2 * time.Second) // a look waits now
		peers := b.plane.Config(office).Peers
		for _, p := range peers[:4] {
			b.plane.RemovePeer(office, p.Key)
			b.after(time.Second)
		}
		b.plane.SetPeer(office, peers[0])
		b.after(time.Minute)
		require.Greater(t, len(b.plane.Reports("gw1", office)), 20, "a stalled device silences the gateway")
		require.NotEqual(t, b.plane.Config(office).Revision, b.Status().Applied)
		b.steps.take()
		release()
		b.after(100 * time.Millisecond)
		b.converged()
		require.Equal(t, b.plane.Config(office).Revision, b.Status().Applied)
		require.Equal(t, 3, strings.Count(b.steps.take(), "\n"), "the newest configuration is all that counts")
	})
}

func TestAStalledPlaneDelaysNoRepair(t *testing.T) {
	inBubble(t, 3, func(t *testing.T, b *bench) {
		b.link.Stall()
		for range 10 {
			b.after(3 * time.Second)
			b.device.Open().Meddle(func(s *gateway.State) { s.Peers = s.Peers[2:] })
			b.after(time.Second)
			require.Empty(t, gateway.Diff(b.plane.Config(office), b.state()))
		}
		b.link.Heal()
		b.after(12 * time.Second)
		require.Equal(t, uint64(20), b.plane.Last("gw1", office).Drifts)
	})
}

func TestAnApplyWithUnknownOutcomeIsLookedAt(t *testing.T) {
	inBubble(t, 3, func(t *testing.T, b *bench) {
		b.stop()
		d := &vague{Device: b.device}
		r, err := gateway.NewReconciler(gateway.ReconcilerConfig{ID: "gw1", Location: office, Device: d, Plane: b.link})
		require.NoError(t, err)
		b.Reconciler = r
		b.start()
		b.after(time.Minute)
		before := r.Status().Applied
		d.vague.Store(true)
		b.plane.SetPeer(office, gatewaytest.Peer(9))
		b.after(100 * time.Millisecond)
		require.Equal(t, before, r.Status().Applied, "what nobody acknowledged is applied")
		require.Contains(t, r.Status().Failed[0].What, "connection lost")
		b.after(time.Second)
		require.Empty(t, r.Status().Failed)
		require.Equal(t, b.plane.Config(office).Revision, r.Status().Applied)
		require.Zero(t, r.Status().Drifts)
	})
}

// vague does what it is told, and does not say whether it did.
type vague struct {
	*memdevice.Device

	vague atomic.Bool
}

func (v *vague) Apply(ctx context.Context, p gateway.Plan) error {
	err := v.Device.Apply(ctx, p)
	if v.vague.Load() {
		return errors.New("connection lost")
	}
	return err
}

func TestBadRowsGrantNothingAndHoldUpNobody(t *testing.T) {
	inBubble(t, 3, func(t *testing.T, b *bench) {
		had := b.plane.Config(office).Peers
		bad, thief, good := gatewaytest.Peer(7), gatewaytest.Peer(8), gatewaytest.Peer(9)
		bad.Keepalive = -time.Second
		thief.AllowedIPs = had[0].AllowedIPs
		rev := b.plane.Edit(office, func(c *gateway.Config) { c.Peers = append(c.Peers, bad, thief, good) })
		b.after(3 * time.Second)
		s := b.state()
		require.Len(t, s.Peers, 4, "one of the two that claim a prefix, and nobody with nonsense")
		last := b.plane.Last("gw1", office)
		require.Equal(t, rev, last.Applied)
		require.Len(t, last.Failed, 2)
		for _, p := range last.Failed {
			require.Contains(t, p.What, "configuration refused")
			require.Contains(t, []wgkey.Public{bad.Key, thief.Key, had[0].Key}, p.Key)
		}

		// An interface that is no good leaves the last one, and revocation goes on.
		rev = b.plane.Edit(office, func(c *gateway.Config) {
			c.Interface.MTU = 7
			c.Peers = had[1:]
		})
		b.after(3 * time.Second)
		s = b.state()
		require.Equal(t, 1420, s.Interface.MTU)
		require.Len(t, s.Peers, 2)
		last = b.plane.Last("gw1", office)
		require.Equal(t, rev, last.Applied)
		require.Contains(t, last.Failed[0].What, "Interface.MTU")
		require.True(t, last.Failed[0].Key.IsZero())

		b.plane.Edit(office, func(c *gateway.Config) { c.Interface.MTU = 1400 })
		b.after(3 * time.Second)
		b.converged()
		require.Empty(t, b.plane.Last("gw1", office).Failed)
	})
}

func TestABadInterfaceAtFirstLeavesWhatIsThere(t *testing.T) {
	for name, exists := range map[string]bool{"an interface": true, "nothing": false} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				d := memdevice.New()
				c := gatewaytest.Config(3)
				if exists {
					round(t, d, c)
				}
				before := observe(t, d)
				c.Interface.Port = 0
				c.Peers = c.Peers[1:]
				plane := gatewaytest.NewPlane()
				plane.Assign("gw1", office)
				plane.Put(office, c)
				b := newBench(t, plane, "gw1", d)
				b.start()
				b.after(5 * time.Second)
				after := b.state()
				require.Equal(t, before.Exists, after.Exists)
				require.Equal(t, before.Interface, after.Interface)
				if exists {
					require.Len(t, after.Peers, 2, "who was revoked is still there")
				} else {
					require.True(t, b.Status().Applied.IsZero(), "nothing was acknowledged as applied")
				}
				require.Contains(t, plane.Last("gw1", office).Failed[0].What, "Interface.Port")
				b.stop()
			})
		})
	}
}

// slow is a device that takes a while to be observed.
type slow struct {
	*memdevice.Device

	takes time.Duration
	looks atomic.Int64
}

func (s *slow) Observe(ctx context.Context, st *gateway.State) error {
	s.looks.Add(1)
	time.Sleep(s.takes)
	return s.Device.Observe(ctx, st)
}

func TestLookingCostsLittle(t *testing.T) {
	inBubble(t, 1, func(t *testing.T, b *bench) {
		b.stop()
		for takes, most := range map[time.Duration]int{
			time.Millisecond: 1000, 200 * time.Millisecond: 250, 20 * time.Second: 20,
		} {
			d := &slow{Device: b.device, takes: takes}
			r, err := gateway.NewReconciler(gateway.ReconcilerConfig{ID: "gw1", Location: office, Device: d, Plane: b.link})
			require.NoError(t, err)
			again := *b
			again.Reconciler = r
			again.start()
			again.after(1000 * time.Second)
			require.LessOrEqual(t, int(d.looks.Load()), most+1, "looks of %v", takes)
			require.GreaterOrEqual(t, int(d.looks.Load()), most*9/10, "looks of %v", takes)
			again.stop()
		}
	})
}
