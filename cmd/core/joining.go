package main

import (
	"context"

	"github.com/holdfastvpn/holdfast/gateway"
	"github.com/holdfastvpn/holdfast/transport"
	"github.com/holdfastvpn/holdfast/transport/adminrpc"
	"github.com/holdfastvpn/holdfast/transport/authority"
	"github.com/holdfastvpn/holdfast/transport/join"
)

// joining makes gateways of machines with the authority.
type joining struct {
	authority  *authority.Authority
	deployment string
}

var _ adminrpc.Joining = (*joining)(nil)

func newJoining(a *authority.Authority, self transport.Identity) *joining {
	return &joining{a, self.Deployment}
}

func (j *joining) identity(id gateway.ID) transport.Identity {
	return transport.Identity{Deployment: j.deployment, Role: transport.Gateway, ID: string(id)}
}

// Token makes a token for a gateway that is registered.
func (j *joining) Token(ctx context.Context, r adminrpc.TokenRequest) (join.Token, error) {
	at := make([]string, len(r.Locations))
	for i, l := range r.Locations {
		at[i] = string(l)
	}
	return j.authority.NewToken(ctx, authority.TokenConfig{
		Identity: j.identity(r.Gateway), Locations: at, At: r.At, Cores: r.Cores, Lifetime: r.Lifetime,
	})
}

// Revoke ends all certificates and tokens of a gateway.
func (j *joining) Revoke(ctx context.Context, id gateway.ID, reason string) error {
	return j.authority.Revoke(ctx, j.identity(id), reason)
}
