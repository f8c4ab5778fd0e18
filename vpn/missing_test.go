package vpn_test

import (
	"context"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/holdfastvpn/holdfast/gateway"
)

// Siblings are told whom no core hears any more, on every core, and when it is back; of
// whom nothing was ever heard nothing is told.
func TestSiblingsHearWhoIsMissing(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t)
		other := r.newCore("core2", r.stores)
		r.run(r.core)
		r.run(other)
		id, second, third := r.gateway("gw1"), r.gateway("gw2"), r.gateway("gw3")
		all := []*listener{r.listen(r.core, id), r.listen(other, id)}
		tells := func(missing bool) {
			t.Helper()
			want := r.family(gateway.Sibling{ID: second, Missing: missing}, gateway.Sibling{ID: third})
			for n, l := range all {
				told, _ := l.take()
				require.NotEmpty(t, told, "core %d", n+1)
				require.Equal(t, want, told[len(told)-1], "core %d", n+1)
			}
		}
		wait := func(d time.Duration) { time.Sleep(d); synctest.Wait() }
		wait(5 * time.Second)
		tells(false)

		at := gateway.LocationID(r.office.ID)
		ctx, cancel := context.WithCancel(r.ctx)
		watch := func(ctx context.Context) {
			for _, err := range r.core.Watch(ctx, second, at, gateway.Revision{}) {
				if err != nil {
					return
				}
			}
		}
		live := func(ctx context.Context) {
			for ctx.Err() == nil {
				_ = r.core.Report(ctx, second, at, gateway.Status{Epoch: 1, Full: true})
				select {
				case <-ctx.Done():
				case <-time.After(2 * time.Second):
				}
			}
		}
		go watch(ctx)
		go live(ctx)
		wait(time.Minute)
		for _, l := range all {
			told, _ := l.take()
			require.Empty(t, told, "it was there all the time")
		}
		cancel()
		wait(5 * time.Second)
		tells(true)
		ctx, cancel = context.WithCancel(r.ctx)
		defer cancel()
		go watch(ctx)
		go live(ctx)
		wait(5 * time.Second)
		tells(false)
	})
}
