package adminrpc

import (
	"context"

	"github.com/holdfastvpn/holdfast/location"
	"github.com/holdfastvpn/holdfast/transport/adminrpc/internal/pb"
	"github.com/holdfastvpn/holdfast/vpn/wgkey"
)

// locations is pb.LocationServiceHandler.
type locations struct{ *api }

func (s locations) CreateLocation(ctx context.Context, q *pb.CreateLocationRequest) (*pb.CreateLocationResponse, error) {
	l, err := toLocation(q.GetLocation())
	if err != nil {
		return nil, err
	}
	if q.GetPrivateKey() == "" {
		l, err = s.Core.Locations().Create(ctx, l)
	} else {
		var key wgkey.Private
		if key, err = wgkey.ParsePrivate(q.GetPrivateKey()); err != nil {
			return nil, &location.FieldError{Field: "private_key", Reason: "is not a private key: 44 characters of base64"}
		}
		l, err = s.Core.Locations().Import(ctx, l, key)
	}
	if err != nil {
		return nil, err
	}
	return &pb.CreateLocationResponse{Location: fromLocation(l)}, nil
}

func (s locations) GetLocation(ctx context.Context, q *pb.GetLocationRequest) (*pb.GetLocationResponse, error) {
	l, err := s.Core.Locations().Get(ctx, location.ID(q.GetId()))
	if err != nil {
		return nil, err
	}
	return &pb.GetLocationResponse{Location: fromLocation(l)}, nil
}

func (s locations) ListLocations(ctx context.Context, _ *pb.ListLocationsRequest) (*pb.ListLocationsResponse, error) {
	all, err := s.Core.Locations().List(ctx)
	if err != nil {
		return nil, err
	}
	r := &pb.ListLocationsResponse{}
	for _, l := range all {
		r.Locations = append(r.Locations, fromLocation(l))
	}
	return r, nil
}

func (s locations) UpdateLocation(ctx context.Context, q *pb.UpdateLocationRequest) (*pb.UpdateLocationResponse, error) {
	from, err := toLocation(q.GetLocation())
	if err != nil {
		return nil, err
	}
	edit, err := editor(locationFields, q.GetUpdateMask().GetPaths(), from)
	if err != nil {
		return nil, err
	}
	l, err := s.Core.Locations().Update(ctx, from.ID, func(l *location.Location) error {
		c := l.Clone() // an edit may run again, and must not share what it gives
		err := edit(&c)
		*l = c.Clone()
		return err
	})
	if err != nil {
		return nil, err
	}
	return &pb.UpdateLocationResponse{Location: fromLocation(l), Confirmations: fromConfirmations(s.confirm(ctx, l.ID))}, nil
}

func (s locations) DeleteLocation(ctx context.Context, q *pb.DeleteLocationRequest) (*pb.DeleteLocationResponse, error) {
	id := location.ID(q.GetId())
	if err := s.Core.Locations().Delete(ctx, id); err != nil {
		return nil, err
	}
	return &pb.DeleteLocationResponse{Confirmations: fromConfirmations(s.confirm(ctx, id))}, nil
}
