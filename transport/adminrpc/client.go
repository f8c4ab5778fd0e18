package adminrpc

import (
	"context"
	"iter"
	"time"

	"connectrpc.com/connect"
	"google.golang.org/protobuf/types/known/fieldmaskpb"

	"github.com/holdfastvpn/holdfast/gateway"
	"github.com/holdfastvpn/holdfast/location"
	"github.com/holdfastvpn/holdfast/peer"
	"github.com/holdfastvpn/holdfast/transport/adminrpc/internal/pb"
	"github.com/holdfastvpn/holdfast/transport/join"
	"github.com/holdfastvpn/holdfast/vpn"
	"github.com/holdfastvpn/holdfast/vpn/wgkey"
)

// Client asks a core. It is safe for concurrent use.
//
// Its errors are those of the core to errors.Is and errors.As, and ErrToken,
// ErrDenied, ErrExists or ErrAway.
type Client struct {
	locations pb.LocationServiceClient
	devices   pb.DeviceServiceClient
	gateways  pb.GatewayServiceClient
	owners    pb.OwnerServiceClient
	overviews pb.OverviewServiceClient
	events    pb.EventServiceClient
	tokens    pb.TokenServiceClient
	cores     pb.CoreServiceClient
}

// NewClient makes a Client of a way to send requests and the URL that the API
// is at. Dial does both.
func NewClient(h connect.HTTPClient, base string, opts ...connect.ClientOption) *Client {
	all := connect.WithClientOptions(append([]connect.ClientOption{connect.WithReadMaxBytes(maxAnswer)}, opts...)...)
	return &Client{
		locations: pb.NewLocationServiceClient(h, base, all), devices: pb.NewDeviceServiceClient(h, base, all),
		gateways: pb.NewGatewayServiceClient(h, base, all), owners: pb.NewOwnerServiceClient(h, base, all),
		overviews: pb.NewOverviewServiceClient(h, base, all), events: pb.NewEventServiceClient(h, base, all),
		tokens: pb.NewTokenServiceClient(h, base, all), cores: pb.NewCoreServiceClient(h, base, all),
	}
}

// CreateLocation is location.Service.Create.
func (c *Client) CreateLocation(ctx context.Context, l location.Location) (location.Location, error) {
	return c.create(ctx, l, "")
}

// ImportLocation is location.Service.Import: the key is sent.
func (c *Client) ImportLocation(ctx context.Context, l location.Location, key wgkey.Private) (location.Location, error) {
	return c.create(ctx, l, key.RevealText())
}

func (c *Client) create(ctx context.Context, l location.Location, key string) (location.Location, error) {
	r, err := c.locations.CreateLocation(ctx, &pb.CreateLocationRequest{Location: fromLocation(l), PrivateKey: key})
	if err != nil {
		return location.Location{}, decode(err)
	}
	return toLocation(r.GetLocation())
}

// Location is location.Service.Get.
func (c *Client) Location(ctx context.Context, id location.ID) (location.Location, error) {
	r, err := c.locations.GetLocation(ctx, &pb.GetLocationRequest{Id: string(id)})
	if err != nil {
		return location.Location{}, decode(err)
	}
	return toLocation(r.GetLocation())
}

// Locations is location.Service.List.
func (c *Client) Locations(ctx context.Context) ([]location.Location, error) {
	r, err := c.locations.ListLocations(ctx, &pb.ListLocationsRequest{})
	if err != nil {
		return nil, decode(err)
	}
	return list(r.GetLocations(), toLocation)
}

// UpdateLocation changes the fields of l.ID that are named as in
// proto/holdfast/admin/v1, such as "allowed_ips", to what they are in l.
func (c *Client) UpdateLocation(ctx context.Context, l location.Location, fields ...string) (location.Location, []Confirmation, error) {
	r, err := c.locations.UpdateLocation(ctx, &pb.UpdateLocationRequest{Location: fromLocation(l), UpdateMask: mask(fields)})
	if err != nil {
		return location.Location{}, nil, decode(err)
	}
	l, err = toLocation(r.GetLocation())
	return l, toConfirmations(r.GetConfirmations()), err
}

// DeleteLocation is location.Service.Delete.
func (c *Client) DeleteLocation(ctx context.Context, id location.ID) ([]Confirmation, error) {
	r, err := c.locations.DeleteLocation(ctx, &pb.DeleteLocationRequest{Id: string(id)})
	return toConfirmations(r.GetConfirmations()), decode(err)
}

// AddDevice is peer.Service.Add.
func (c *Client) AddDevice(ctx context.Context, n peer.NewDevice) (peer.Device, error) {
	r, err := c.devices.AddDevice(ctx, &pb.AddDeviceRequest{Device: fromNew(n)})
	if err != nil {
		return peer.Device{}, decode(err)
	}
	return toDevice(r.GetDevice())
}

// ImportDevices adds all of them, or none. A dry run checks them, and returns
// none.
func (c *Client) ImportDevices(ctx context.Context, all []peer.NewDevice, dry bool) ([]peer.Device, error) {
	q := &pb.ImportDevicesRequest{DryRun: dry}
	for _, n := range all {
		q.Devices = append(q.Devices, fromNew(n))
	}
	r, err := c.devices.ImportDevices(ctx, q)
	if err != nil {
		return nil, decode(err)
	}
	return list(r.GetDevices(), toDevice)
}

// Device is peer.Service.Get.
func (c *Client) Device(ctx context.Context, id peer.DeviceID) (peer.Device, error) {
	r, err := c.devices.GetDevice(ctx, &pb.GetDeviceRequest{Id: string(id)})
	if err != nil {
		return peer.Device{}, decode(err)
	}
	return toDevice(r.GetDevice())
}

// DeviceFilter says which devices are meant; what is zero does not matter.
type DeviceFilter struct {
	Location location.ID
	Owner    string
	Name     string
}

// Devices yields the devices that f selects, by ID, asking for a page after
// another. It ends with the first error.
func (c *Client) Devices(ctx context.Context, f DeviceFilter) iter.Seq2[peer.Device, error] {
	return func(yield func(peer.Device, error) bool) {
		q := &pb.ListDevicesRequest{Location: string(f.Location), Owner: f.Owner, Name: f.Name, PageSize: 1000}
		for {
			r, err := c.devices.ListDevices(ctx, q)
			if err != nil {
				yield(peer.Device{}, decode(err))
				return
			}
			for _, m := range r.GetDevices() {
				d, err := toDevice(m)
				if !yield(d, err) || err != nil {
					return
				}
			}
			if q.PageToken = r.GetNextPageToken(); q.GetPageToken() == "" {
				return
			}
		}
	}
}

// UpdateDevice changes the fields of d.ID that are named, of "name", "owner",
// "public_key" and "disabled", to what they are in d.
func (c *Client) UpdateDevice(ctx context.Context, d peer.Device, fields ...string) (peer.Device, []Confirmation, error) {
	d.Peers = nil
	r, err := c.devices.UpdateDevice(ctx, &pb.UpdateDeviceRequest{Device: fromDevice(d), UpdateMask: mask(fields)})
	if err != nil {
		return peer.Device{}, nil, decode(err)
	}
	d, err = toDevice(r.GetDevice())
	return d, toConfirmations(r.GetConfirmations()), err
}

// DeleteDevice is peer.Service.Delete.
func (c *Client) DeleteDevice(ctx context.Context, id peer.DeviceID) ([]Confirmation, error) {
	r, err := c.devices.DeleteDevice(ctx, &pb.DeleteDeviceRequest{Id: string(id)})
	return toConfirmations(r.GetConfirmations()), decode(err)
}

// PlaceDevice is peer.Service.Place.
func (c *Client) PlaceDevice(ctx context.Context, id peer.DeviceID, p peer.Place) (peer.Device, []Confirmation, error) {
	r, err := c.devices.PlaceDevice(ctx, &pb.PlaceDeviceRequest{Id: string(id), Place: fromPlace(p)})
	if err != nil {
		return peer.Device{}, nil, decode(err)
	}
	d, err := toDevice(r.GetDevice())
	return d, toConfirmations(r.GetConfirmations()), err
}

// LeaveLocation is peer.Service.Leave.
func (c *Client) LeaveLocation(ctx context.Context, id peer.DeviceID, at location.ID) (peer.Device, []Confirmation, error) {
	r, err := c.devices.LeaveLocation(ctx, &pb.LeaveLocationRequest{Id: string(id), Location: string(at)})
	if err != nil {
		return peer.Device{}, nil, decode(err)
	}
	d, err := toDevice(r.GetDevice())
	return d, toConfirmations(r.GetConfirmations()), err
}

// Profile is peer.NewProfile for a device's place in a location.
func (c *Client) Profile(ctx context.Context, id peer.DeviceID, at location.ID) (peer.Profile, error) {
	r, err := c.devices.GetProfile(ctx, &pb.GetProfileRequest{Id: string(id), Location: string(at)})
	if err != nil {
		return peer.Profile{}, decode(err)
	}
	return toProfile(r)
}

// Gateway is a registration, and whether the gateway is connected.
type Gateway struct {
	vpn.Gateway

	Connected bool
}

// JoinRequest is for JoinToken: of a new gateway, Name and Locations; of one that
// is to join again, ID. Either At or Cores is required.
type JoinRequest struct {
	Name      string
	Locations []location.ID
	ID        gateway.ID
	At        string        // where cores dial the machine, host:port
	Cores     []string      // where the machine dials cores
	Lifetime  time.Duration // 0: an hour
}

// JoinToken makes a token for a gateway, and registers it if it is new.
func (c *Client) JoinToken(ctx context.Context, q JoinRequest) (Gateway, join.Token, error) {
	r, err := c.gateways.CreateJoinToken(ctx, &pb.CreateJoinTokenRequest{
		Name: q.Name, Locations: ids[location.ID, string](q.Locations), GatewayId: string(q.ID), At: q.At, Cores: q.Cores, Lifetime: span(q.Lifetime),
	})
	if err != nil {
		return Gateway{}, join.Token{}, decode(err)
	}
	t, err := join.ParseToken(r.GetToken())
	return Gateway{toGateway(r.GetGateway()), r.GetGateway().GetConnected()}, t, err
}

// Gateways is vpn.Gateways.List.
func (c *Client) Gateways(ctx context.Context) ([]Gateway, error) {
	r, err := c.gateways.ListGateways(ctx, &pb.ListGatewaysRequest{})
	if err != nil {
		return nil, decode(err)
	}
	return list(r.GetGateways(), func(m *pb.Gateway) (Gateway, error) { return Gateway{toGateway(m), m.GetConnected()}, nil })
}

// UpdateGateway changes the fields of g.ID that are named, of "name", "locations"
// and "disabled", to what they are in g. told says whether the gateway was
// connected and so knows.
func (c *Client) UpdateGateway(ctx context.Context, g vpn.Gateway, fields ...string) (now Gateway, told bool, err error) {
	r, err := c.gateways.UpdateGateway(ctx, &pb.UpdateGatewayRequest{Gateway: fromGateway(g, false), UpdateMask: mask(fields)})
	if err != nil {
		return Gateway{}, false, decode(err)
	}
	return Gateway{toGateway(r.GetGateway()), r.GetGateway().GetConnected()}, r.GetTold(), nil
}

// RemoveGateway ends a gateway for good, and its certificates. told says whether
// it was connected and so lets go of its locations; otherwise it keeps what it
// has, and clients that reach it are served.
func (c *Client) RemoveGateway(ctx context.Context, id gateway.ID, reason string) (told bool, err error) {
	r, err := c.gateways.RemoveGateway(ctx, &pb.RemoveGatewayRequest{Id: string(id), Reason: reason})
	return r.GetTold(), decode(err)
}

// Owners is vpn.Owners.List.
func (c *Client) Owners(ctx context.Context) ([]vpn.OwnerDevices, error) {
	r, err := c.owners.ListOwners(ctx, &pb.ListOwnersRequest{})
	if err != nil {
		return nil, decode(err)
	}
	return list(r.GetOwners(), func(m *pb.Owner) (vpn.OwnerDevices, error) { return toOwner(m), nil })
}

// DisableOwner is vpn.Owners.Disable.
func (c *Client) DisableOwner(ctx context.Context, name string) (vpn.OwnerDevices, []Confirmation, error) {
	r, err := c.owners.DisableOwner(ctx, &pb.DisableOwnerRequest{Name: name})
	return toOwner(r.GetOwner()), toConfirmations(r.GetConfirmations()), decode(err)
}

// EnableOwner is vpn.Owners.Enable.
func (c *Client) EnableOwner(ctx context.Context, name string) (vpn.OwnerDevices, []Confirmation, error) {
	r, err := c.owners.EnableOwner(ctx, &pb.EnableOwnerRequest{Name: name})
	return toOwner(r.GetOwner()), toConfirmations(r.GetConfirmations()), decode(err)
}

// Overview is vpn.Core.Overview.
func (c *Client) Overview(ctx context.Context) (vpn.Overview, error) {
	r, err := c.overviews.GetOverview(ctx, &pb.GetOverviewRequest{})
	if err != nil {
		return vpn.Overview{}, decode(err)
	}
	return toOverview(r.GetOverview())
}

// WatchOverview yields an Overview every second, until ctx ends or an error does.
func (c *Client) WatchOverview(ctx context.Context) iter.Seq2[vpn.Overview, error] {
	return func(yield func(vpn.Overview, error) bool) {
		s, err := c.overviews.WatchOverview(ctx, &pb.WatchOverviewRequest{})
		if err != nil {
			yield(vpn.Overview{}, decode(err))
			return
		}
		stream(ctx, s, func(m *pb.WatchOverviewResponse) bool {
			o, err := toOverview(m.GetOverview())
			return yield(o, err) && err == nil
		}, func(err error) { yield(vpn.Overview{}, err) })
	}
}

// Events is vpn.Events.List; without a Limit, the latest hundred.
func (c *Client) Events(ctx context.Context, f vpn.EventFilter) ([]vpn.Event, error) {
	r, err := c.events.ListEvents(ctx, &pb.ListEventsRequest{Filter: fromFilter(f), Limit: int32(min(f.Limit, 10_000))})
	if err != nil {
		return nil, decode(err)
	}
	return list(r.GetEvents(), func(m *pb.Event) (vpn.Event, error) { return toEvent(m), nil })
}

// FollowEvents is vpn.Events.Follow, until ctx ends or an error does.
func (c *Client) FollowEvents(ctx context.Context, f vpn.EventFilter) iter.Seq2[vpn.Event, error] {
	return func(yield func(vpn.Event, error) bool) {
		s, err := c.events.FollowEvents(ctx, &pb.FollowEventsRequest{Filter: fromFilter(f)})
		if err != nil {
			yield(vpn.Event{}, decode(err))
			return
		}
		stream(ctx, s, func(m *pb.FollowEventsResponse) bool {
			return m.GetEvent() == nil || yield(toEvent(m.GetEvent()), nil)
		}, func(err error) { yield(vpn.Event{}, err) })
	}
}

// CreateToken is Tokens.Create.
func (c *Client) CreateToken(ctx context.Context, t Token, lifetime time.Duration) (Token, Secret, error) {
	r, err := c.tokens.CreateToken(ctx, &pb.CreateTokenRequest{Name: t.Name, Role: fromRole(t.Role), Lifetime: span(lifetime)})
	if err != nil {
		return Token{}, Secret{}, decode(err)
	}
	s, err := ParseSecret(r.GetText())
	return toToken(r.GetToken()), s, err
}

// Tokens is Tokens.List.
func (c *Client) Tokens(ctx context.Context) ([]Token, error) {
	r, err := c.tokens.ListTokens(ctx, &pb.ListTokensRequest{})
	if err != nil {
		return nil, decode(err)
	}
	return list(r.GetTokens(), func(m *pb.Token) (Token, error) { return toToken(m), nil })
}

// RevokeToken is Tokens.Revoke.
func (c *Client) RevokeToken(ctx context.Context, id string) error {
	_, err := c.tokens.RevokeToken(ctx, &pb.RevokeTokenRequest{Id: id})
	return decode(err)
}

func mask(fields []string) *fieldmaskpb.FieldMask { return &fieldmaskpb.FieldMask{Paths: fields} }

// list converts all, up to the first error.
func list[M, T any](all []M, to func(M) (T, error)) ([]T, error) {
	out := make([]T, 0, len(all))
	for _, m := range all {
		v, err := to(m)
		if err != nil {
			return nil, err
		}
		out = append(out, v)
	}
	return out, nil
}

// stream hands out what comes until take says false, and the error that ends it
// unless that is ctx's own end.
func stream[M any](ctx context.Context, s *connect.ServerStreamForClient[M], take func(*M) bool, fail func(error)) {
	defer func() { _ = s.Close() }() // all that there is to be said was
	for s.Receive() {
		if !take(s.Msg()) {
			return
		}
	}
	if ctx.Err() != nil {
		return
	}
	if err := s.Err(); err != nil {
		fail(decode(err))
		return
	}
	fail(ErrAway)
}
