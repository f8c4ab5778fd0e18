package gateway_test

import (
	"errors"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"

	"github.com/holdfastvpn/holdfast/gateway"
	"github.com/holdfastvpn/holdfast/gateway/gatewaytest"
	"github.com/holdfastvpn/holdfast/gateway/memdevice"
)

// What a Reconciler believes of a device between two looks is what is there,
// through any updates and failures: a plan that is made of belief alone leads to
// where one leads that is made of a look.
func TestBeliefIsTrue(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		d := memdevice.New()
		believed := gateway.State{Backend: memdevice.Backend}
		for range rapid.IntRange(1, 6).Draw(t, "rounds") {
			c := gatewaytest.RandomConfig().Draw(t, "config")
			if rapid.IntRange(0, 5).Draw(t, "ended") == 0 {
				c = gateway.Config{}
			}
			every := rapid.IntRange(2, 5).Draw(t, "which fail")
			n := 0
			d.FailSteps(func(s gateway.Step) error {
				if n++; n%every == 0 && s.Verb != gateway.Configure && s.Verb != gateway.Destroy && every < 5 {
					return errors.New("no")
				}
				return nil
			})
			p := gateway.Diff(c, believed)
			failed := map[int]error{}
			if some, ok := errors.AsType[*gateway.ApplyError](d.Apply(t.Context(), p)); ok {
				failed = some.Failed
			}
			gateway.Believe(&believed, p, failed)

			have := observe(t, d)
			if len(failed) == 0 {
				require.Equal(t, gateway.Diff(c, have).String(), gateway.Diff(c, believed).String())
				require.Equal(t, granted(have), granted(believed))
				require.Equal(t, have.Interface.String(), believed.Interface.String())
				require.Equal(t, have.Sourced, believed.Sourced)
			}
			// Where something failed, belief may be behind, but never claims more
			// done than was.
			d.FailSteps(nil)
			believed = have.Clone()
		}
	})
}

// Many updates between two looks end where the plane is.
func TestManyUpdatesBetweenTwoLooks(t *testing.T) {
	inBubble(t, 1, func(t *testing.T, b *bench) {
		b.stop()
		r, err := gateway.NewReconciler(gateway.ReconcilerConfig{
			ID: "gw1", Location: office, Device: b.device, Plane: b.plane, Poll: 24 * time.Hour,
		})
		require.NoError(t, err)
		b.Reconciler = r
		b.start()
		for seed := range 200 {
			c := gatewaytest.RandomConfig().Example(seed)
			if seed%20 == 19 {
				c = gateway.Config{}
			}
			rev := b.plane.Put(office, c)
			synctest.Wait()
			require.Equal(t, rev, b.Status().Applied)
			require.Empty(t, gateway.Diff(c, b.state()).String(), "update %d", seed)
		}
	})
}
