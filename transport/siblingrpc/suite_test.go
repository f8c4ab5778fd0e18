package siblingrpc_test

import (
	"testing"

	"github.com/holdfastvpn/holdfast/gateway/gatewaytest"
)

func TestTalk(t *testing.T) {
	gatewaytest.RunTalk(t, func(tb testing.TB, near, far gatewaytest.TalkEnd) gatewaytest.TalkWire {
		l := onLink(tb, near, far)
		return gatewaytest.TalkWire{Talk: l.Talk, Cut: l.Cut, Heal: l.Heal}
	})
}
