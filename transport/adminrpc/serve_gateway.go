package adminrpc

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"time"

	"google.golang.org/protobuf/types/known/timestamppb"

	"github.com/holdfastvpn/holdfast/gateway"
	"github.com/holdfastvpn/holdfast/location"
	"github.com/holdfastvpn/holdfast/transport/adminrpc/internal/pb"
	"github.com/holdfastvpn/holdfast/vpn"
)

// gateways is pb.GatewayServiceHandler.
type gateways struct{ *api }

func (s gateways) CreateJoinToken(ctx context.Context, q *pb.CreateJoinTokenRequest) (*pb.CreateJoinTokenResponse, error) {
	switch {
	case s.Joining == nil:
		return nil, &location.FieldError{Field: "name", Reason: "this core makes no tokens for gateways"}
	case (q.GetAt() == "") == (len(q.GetCores()) == 0):
		return nil, &location.FieldError{Field: "at", Reason: "either this or cores is required: one end dials, and has to know where"}
	case q.GetGatewayId() != "" && (q.GetName() != "" || len(q.GetLocations()) > 0):
		return nil, &location.FieldError{Field: "gateway_id", Reason: "the name and locations of a gateway that is there are known: leave them empty"}
	}
	g, err := s.joiner(ctx, q)
	if err != nil {
		return nil, err
	}
	t, err := s.Joining.Token(ctx, TokenRequest{
		Gateway: g.ID, Locations: g.Locations, At: q.GetAt(), Cores: q.GetCores(), Lifetime: q.GetLifetime().AsDuration(),
	})
	if err != nil {
		if q.GetGatewayId() == "" { // nobody can ever be it
			err = errors.Join(err, s.Core.Gateways().Remove(context.WithoutCancel(ctx), g.ID))
		}
		return nil, err
	}
	return &pb.CreateJoinTokenResponse{Gateway: fromGateway(g, s.Core.Connected(g)), Token: t.Reveal(), Expires: timestamppb.New(t.Expires)}, nil
}

// joiner is the gateway that a token is for: a new one, or one that is there.
func (s gateways) joiner(ctx context.Context, q *pb.CreateJoinTokenRequest) (vpn.Gateway, error) {
	if id := q.GetGatewayId(); id != "" {
		return s.Core.Gateways().Get(ctx, gateway.ID(id))
	}
	if len(q.GetLocations()) == 0 {
		return vpn.Gateway{}, &location.FieldError{Field: "locations", Reason: "are empty: name at least one"}
	}
	if err := s.free(ctx, q.GetName(), ""); err != nil {
		return vpn.Gateway{}, err
	}
	return s.Core.Gateways().Add(ctx, vpn.Gateway{
		Name: q.GetName(), Locations: ids[string, location.ID](q.GetLocations()), Address: q.GetAt(),
	})
}

// free says whether no other gateway has a name: operators tell them apart by it.
func (s gateways) free(ctx context.Context, name string, but gateway.ID) error {
	all, err := s.Core.Gateways().List(ctx)
	if err != nil {
		return err
	}
	for _, g := range all {
		if g.Name == name && g.ID != but {
			return fmt.Errorf("%w: %w", ErrExists, &location.FieldError{Field: "name", Reason: fmt.Sprintf(
				"%q is gateway %s already: choose another, or make a token for that one to join again", name, g.ID)})
		}
	}
	return nil
}

func (s gateways) ListGateways(ctx context.Context, _ *pb.ListGatewaysRequest) (*pb.ListGatewaysResponse, error) {
	all, err := s.Core.Gateways().List(ctx)
	if err != nil {
		return nil, err
	}
	r := &pb.ListGatewaysResponse{}
	for _, g := range all {
		r.Gateways = append(r.Gateways, fromGateway(g, !g.Disabled && s.Core.Connected(g)))
	}
	return r, nil
}

func (s gateways) UpdateGateway(ctx context.Context, q *pb.UpdateGatewayRequest) (*pb.UpdateGatewayResponse, error) {
	from := toGateway(q.GetGateway())
	edit, err := editor(gatewayFields, q.GetUpdateMask().GetPaths(), from)
	if err != nil {
		return nil, err
	}
	old, err := s.Core.Gateways().Get(ctx, from.ID)
	if err != nil {
		return nil, err
	}
	told := s.Core.Connected(old)
	g, err := s.Core.Gateways().Update(ctx, from.ID, edit)
	if err == nil && g.Name != old.Name {
		err = s.free(ctx, g.Name, g.ID)
		if err != nil {
			_, undo := s.Core.Gateways().Update(ctx, from.ID, func(g *vpn.Gateway) error { g.Name = old.Name; return nil })
			err = errors.Join(err, undo)
		}
	}
	if err != nil {
		return nil, err
	}
	return &pb.UpdateGatewayResponse{Gateway: fromGateway(g, told && !g.Disabled), Told: told}, nil
}

// RemoveGateway first takes the locations away, which a gateway that is connected
// hears and heeds, and then ends what it can prove itself with.
func (s gateways) RemoveGateway(ctx context.Context, q *pb.RemoveGatewayRequest) (*pb.RemoveGatewayResponse, error) {
	id := gateway.ID(q.GetId())
	g, err := s.Core.Gateways().Get(ctx, id)
	if err != nil {
		return nil, err
	}
	told := s.Core.Connected(g)
	// It must not stay half-done because somebody did not wait.
	const patience = 30 * time.Second
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), patience)
	defer cancel()
	if _, err := s.Core.Gateways().Update(ctx, id, func(g *vpn.Gateway) error { g.Locations = nil; return nil }); err != nil {
		return nil, err
	}
	if told {
		select {
		case <-time.After(s.Settle):
		case <-ctx.Done():
		}
	}
	if s.Joining != nil {
		if err := s.Joining.Revoke(ctx, id, cmp.Or(q.GetReason(), "removed by "+vpn.ActorOf(ctx).Name)); err != nil {
			return nil, err
		}
	}
	if err := s.Core.Gateways().Remove(ctx, id); err != nil {
		return nil, err
	}
	return &pb.RemoveGatewayResponse{Told: told}, nil
}
