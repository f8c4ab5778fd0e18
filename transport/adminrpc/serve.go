package adminrpc

import (
	"cmp"
	"context"
	"fmt"
	"time"

	"connectrpc.com/connect"

	"github.com/holdfastvpn/holdfast/peer"
	"github.com/holdfastvpn/holdfast/transport/adminrpc/internal/pb"
	"github.com/holdfastvpn/holdfast/vpn"
)

// owners is pb.OwnerServiceHandler.
type owners struct{ *api }

func (s owners) ListOwners(ctx context.Context, _ *pb.ListOwnersRequest) (*pb.ListOwnersResponse, error) {
	all, err := s.Core.Owners().List(ctx)
	if err != nil {
		return nil, err
	}
	r := &pb.ListOwnersResponse{}
	for _, o := range all {
		r.Owners = append(r.Owners, fromOwner(o))
	}
	return r, nil
}

func (s owners) DisableOwner(ctx context.Context, q *pb.DisableOwnerRequest) (*pb.DisableOwnerResponse, error) {
	o, c, err := s.set(ctx, q.GetName(), s.Core.Owners().Disable)
	if err != nil {
		return nil, err
	}
	return &pb.DisableOwnerResponse{Owner: o, Confirmations: c}, nil
}

func (s owners) EnableOwner(ctx context.Context, q *pb.EnableOwnerRequest) (*pb.EnableOwnerResponse, error) {
	o, c, err := s.set(ctx, q.GetName(), s.Core.Owners().Enable)
	if err != nil {
		return nil, err
	}
	return &pb.EnableOwnerResponse{Owner: o, Confirmations: c}, nil
}

func (s owners) set(ctx context.Context, name string, do func(context.Context, string) (vpn.Owner, error)) (*pb.Owner, []*pb.Confirmation, error) {
	o, err := do(ctx, name)
	if err != nil {
		return nil, nil, err
	}
	all, err := s.Core.Devices().List(ctx, peer.Filter{Owner: name})
	if err != nil {
		return nil, nil, err
	}
	return fromOwner(vpn.OwnerDevices{Owner: o, Devices: len(all)}), fromConfirmations(s.confirm(ctx, placesOf(all...)...)), nil
}

// overviews is pb.OverviewServiceHandler.
type overviews struct{ *api }

func (s overviews) GetOverview(ctx context.Context, _ *pb.GetOverviewRequest) (*pb.GetOverviewResponse, error) {
	o, err := s.Core.Overview(ctx)
	if err != nil {
		return nil, err
	}
	return &pb.GetOverviewResponse{Overview: fromOverview(o)}, nil
}

func (s overviews) WatchOverview(ctx context.Context, _ *pb.WatchOverviewRequest, out *connect.ServerStream[pb.WatchOverviewResponse]) error {
	tick := time.NewTicker(s.Refresh)
	defer tick.Stop()
	for {
		if err := still(ctx); err != nil {
			return err
		}
		o, err := s.Core.Overview(ctx)
		if err != nil {
			return err
		}
		if err := out.Send(&pb.WatchOverviewResponse{Overview: fromOverview(o)}); err != nil {
			return err
		}
		select {
		case <-ctx.Done():
			return nil
		case <-tick.C:
		}
	}
}

// events is pb.EventServiceHandler.
type events struct{ *api }

// eventLimit is how many events a list has, unless a request says otherwise.
const eventLimit = 100

func (s events) ListEvents(ctx context.Context, q *pb.ListEventsRequest) (*pb.ListEventsResponse, error) {
	f := toFilter(q.GetFilter())
	f.Limit = int(cmp.Or(q.GetLimit(), eventLimit))
	all, err := s.Core.Events().List(ctx, f)
	if err != nil {
		return nil, err
	}
	r := &pb.ListEventsResponse{}
	for _, e := range all {
		r.Events = append(r.Events, fromEvent(e))
	}
	return r, nil
}

func (s events) FollowEvents(ctx context.Context, q *pb.FollowEventsRequest, out *connect.ServerStream[pb.FollowEventsResponse]) error {
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	lapsed := make(chan struct{})
	go func() { // ends the stream when who opened it may not have it any more
		defer close(lapsed)
		tick := time.NewTicker(s.Refresh)
		defer tick.Stop()
		for {
			select {
			case <-ctx.Done():
				return
			case <-tick.C:
				if err := still(ctx); err != nil {
					cancel(err)
					return
				}
			}
		}
	}()
	defer func() { cancel(nil); <-lapsed }()
	follow := s.Core.Events().Follow(ctx, toFilter(q.GetFilter()))
	if err := out.Send(&pb.FollowEventsResponse{}); err != nil {
		return err
	}
	for e := range follow {
		if err := out.Send(&pb.FollowEventsResponse{Event: fromEvent(e)}); err != nil {
			return err
		}
	}
	if err := context.Cause(ctx); err != nil && err != ctx.Err() { //nolint:errorlint // whether it is the very same
		return err
	}
	return nil
}

// tokens is pb.TokenServiceHandler.
type tokens struct{ *api }

func (s tokens) have() error {
	if s.Tokens == nil {
		return fmt.Errorf("%w: this core takes none", ErrToken)
	}
	return nil
}

func (s tokens) CreateToken(ctx context.Context, q *pb.CreateTokenRequest) (*pb.CreateTokenResponse, error) {
	if err := s.have(); err != nil {
		return nil, err
	}
	t, secret, err := s.Tokens.Create(ctx, Token{Name: q.GetName(), Role: toRole(q.GetRole())}, q.GetLifetime().AsDuration())
	if err != nil {
		return nil, err
	}
	s.note(ctx, tokenCreated, t)
	return &pb.CreateTokenResponse{Token: fromToken(t), Text: secret.Reveal()}, nil
}

func (s tokens) ListTokens(ctx context.Context, _ *pb.ListTokensRequest) (*pb.ListTokensResponse, error) {
	if err := s.have(); err != nil {
		return nil, err
	}
	all, err := s.Tokens.List(ctx)
	if err != nil {
		return nil, err
	}
	r := &pb.ListTokensResponse{}
	for _, t := range all {
		r.Tokens = append(r.Tokens, fromToken(t))
	}
	return r, nil
}

func (s tokens) RevokeToken(ctx context.Context, q *pb.RevokeTokenRequest) (*pb.RevokeTokenResponse, error) {
	if err := s.have(); err != nil {
		return nil, err
	}
	t, err := s.Tokens.Revoke(ctx, q.GetId())
	if err != nil {
		return nil, err
	}
	if t.ID != "" {
		s.note(ctx, tokenRevoked, t)
	}
	return &pb.RevokeTokenResponse{}, nil
}

// note tells what became of a token.
func (s tokens) note(ctx context.Context, what string, t Token) {
	const patience = 5 * time.Second
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), patience)
	defer cancel()
	if err := s.Core.Events().Note(ctx, vpn.Event{What: what, Subject: t.ID, Name: t.Name, Text: "role " + string(t.Role)}); err != nil {
		s.Log.ErrorContext(ctx, "an event could not be kept", "what", what, "subject", t.ID, "err", err)
	}
}
