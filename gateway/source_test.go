package gateway_test

import (
	"context"
	"errors"
	"iter"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/holdfastvpn/holdfast/gateway"
	"github.com/holdfastvpn/holdfast/gateway/gatewaytest"
)

// refusing refuses the first Watch, and is right afterwards.
type refusing struct {
	gateway.ControlPlane

	once sync.Once
}

func (p *refusing) Watch(ctx context.Context, id gateway.ID, at gateway.LocationID, have gateway.Revision) iter.Seq2[gateway.Update, error] {
	refused := false
	p.once.Do(func() { refused = true })
	if refused {
		return func(yield func(gateway.Update, error) bool) { yield(gateway.Update{}, errors.New("not now")) }
	}
	return p.ControlPlane.Watch(ctx, id, at, have)
}

// mute accepts a Watch, and says nothing.
type mute struct{ gateway.ControlPlane }

func (*mute) Watch(ctx context.Context, _ gateway.ID, _ gateway.LocationID, _ gateway.Revision) iter.Seq2[gateway.Update, error] {
	return func(func(gateway.Update, error) bool) { <-ctx.Done() }
}

// A plane that failed once is asked again while another says nothing.
//
// proves P9.
func TestPlanesAskAgainWhileOneIsMute(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := gatewaytest.NewPlane()
		p.Assign("gw1", office)
		p.Put(office, gatewaytest.Config(3))
		ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
		defer cancel()
		told := false
		for u, err := range gateway.Planes(&refusing{ControlPlane: p}, &mute{p}).Watch(ctx, "gw1", office, gateway.Revision{}) {
			require.NoError(t, err)
			require.Len(t, u.Set, 3)
			told = true
			break
		}
		require.True(t, told, "nobody was asked again")
	})
}
