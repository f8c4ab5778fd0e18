package adminrpc

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/holdfastvpn/holdfast/location"
	"github.com/holdfastvpn/holdfast/peer"
	"github.com/holdfastvpn/holdfast/transport/adminrpc/internal/pb"
	"github.com/holdfastvpn/holdfast/vpn/wgkey"
)

// devices is pb.DeviceServiceHandler.
type devices struct{ *api }

// pageSize is how many devices a page has, unless a request says otherwise.
const pageSize = 100

func (s devices) AddDevice(ctx context.Context, q *pb.AddDeviceRequest) (*pb.AddDeviceResponse, error) {
	d, err := toDevice(q.GetDevice())
	if err == nil {
		d, err = s.Core.Devices().Add(ctx, toNew(d))
	}
	if err != nil {
		return nil, err
	}
	return &pb.AddDeviceResponse{Device: fromDevice(d)}, nil
}

func (s devices) ImportDevices(ctx context.Context, q *pb.ImportDevicesRequest) (*pb.ImportDevicesResponse, error) {
	all := make([]peer.NewDevice, len(q.GetDevices()))
	for i, m := range q.GetDevices() {
		d, err := toDevice(m)
		if err != nil {
			return nil, nth(i, err)
		}
		all[i] = toNew(d)
	}
	if err := s.check(ctx, all); err != nil {
		return nil, err
	}
	if q.GetDryRun() {
		return &pb.ImportDevicesResponse{}, nil
	}
	r := &pb.ImportDevicesResponse{}
	for i, n := range all {
		d, err := s.Core.Devices().Add(ctx, n)
		if err != nil { // somebody was quicker, or the store fails
			return nil, errors.Join(nth(i, err), s.undo(ctx, r.GetDevices()))
		}
		r.Devices = append(r.Devices, fromDevice(d))
	}
	return r, nil
}

// undo takes back what an import had added.
func (s devices) undo(ctx context.Context, added []*pb.Device) error {
	const patience = 30 * time.Second
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), patience)
	defer cancel()
	var errs []error
	for _, d := range added {
		if err := s.Core.Devices().Delete(ctx, peer.DeviceID(d.GetId())); err != nil {
			errs = append(errs, fmt.Errorf("device %q stays, because it could not be deleted again: %w", d.GetName(), err))
		}
	}
	return errors.Join(errs...)
}

// within is err with a longer name of the field that is wrong.
func within(prefix string, err error) error {
	field, ok := errors.AsType[*location.FieldError](err)
	if !ok {
		return fmt.Errorf("%s: %w", strings.TrimSuffix(prefix, "."), err)
	}
	return deeper{&location.FieldError{Field: prefix + field.Field, Reason: field.Reason}, err}
}

type deeper struct {
	field *location.FieldError
	err   error
}

func (d deeper) Error() string   { return d.field.Error() }
func (d deeper) Unwrap() []error { return []error{d.field, d.err} }

// nth names the row of an import in an error.
func nth(i int, err error) error { return within(fmt.Sprintf("devices[%d].", i), err) }

// check looks whether devices can be added, all of them, as far as one can see.
func (s devices) check(ctx context.Context, all []peer.NewDevice) error {
	list, err := s.Core.Devices().List(ctx, peer.Filter{})
	if err != nil {
		return err
	}
	keys := map[wgkey.Public]string{}
	for _, d := range list {
		keys[d.Key] = fmt.Sprintf("device %q (%s)", d.Name, d.ID)
	}
	places := map[location.ID]*peer.Occupied{}
	for i, n := range all {
		if by, taken := keys[n.Key]; taken {
			return fmt.Errorf("%w: %w", peer.ErrKeyTaken, nth(i, &location.FieldError{Field: "Key", Reason: fmt.Sprintf("of %q belongs to %s", n.Name, by)}))
		}
		keys[n.Key] = fmt.Sprintf("%q, which is to be imported too", n.Name)
		d := peer.Device{ID: "new", Name: n.Name, Owner: n.Owner, Key: n.Key}
		if err := d.Validate(); err != nil {
			return nth(i, err)
		}
		for j, p := range n.Places {
			if places[p.Location] == nil {
				l, err := s.Core.Locations().Get(ctx, p.Location)
				if err != nil {
					return err
				}
				places[p.Location] = peer.NewOccupied(l, list)
			}
			if err := places[p.Location].Add(p, keys[n.Key]); err != nil {
				return nth(i, within(fmt.Sprintf("Places[%d].", j), err))
			}
		}
	}
	return nil
}

func (s devices) GetDevice(ctx context.Context, q *pb.GetDeviceRequest) (*pb.GetDeviceResponse, error) {
	d, err := s.Core.Devices().Get(ctx, peer.DeviceID(q.GetId()))
	if err != nil {
		return nil, err
	}
	return &pb.GetDeviceResponse{Device: fromDevice(d)}, nil
}

func (s devices) ListDevices(ctx context.Context, q *pb.ListDevicesRequest) (*pb.ListDevicesResponse, error) {
	size := int(cmp.Or(q.GetPageSize(), pageSize))
	f := peer.Filter{Location: location.ID(q.GetLocation()), Owner: q.GetOwner(), After: peer.DeviceID(q.GetPageToken()), Limit: size + 1}
	if q.GetName() != "" {
		f.Limit = 0 // the store knows no names
	}
	all, err := s.Core.Devices().List(ctx, f)
	if err != nil {
		return nil, err
	}
	r := &pb.ListDevicesResponse{}
	for _, d := range all {
		if q.GetName() != "" && d.Name != q.GetName() {
			continue
		}
		if len(r.GetDevices()) == size {
			r.NextPageToken = r.GetDevices()[size-1].GetId()
			break
		}
		r.Devices = append(r.Devices, fromDevice(d))
	}
	return r, nil
}

func (s devices) UpdateDevice(ctx context.Context, q *pb.UpdateDeviceRequest) (*pb.UpdateDeviceResponse, error) {
	from, err := toDevice(q.GetDevice())
	if err != nil {
		return nil, err
	}
	edit, err := editor(deviceFields, q.GetUpdateMask().GetPaths(), from)
	if err != nil {
		return nil, err
	}
	d, err := s.Core.Devices().Update(ctx, from.ID, edit)
	if err != nil {
		return nil, err
	}
	return &pb.UpdateDeviceResponse{Device: fromDevice(d), Confirmations: fromConfirmations(s.confirm(ctx, placesOf(d)...))}, nil
}

func (s devices) DeleteDevice(ctx context.Context, q *pb.DeleteDeviceRequest) (*pb.DeleteDeviceResponse, error) {
	id := peer.DeviceID(q.GetId())
	d, err := s.Core.Devices().Get(ctx, id)
	switch {
	case errors.Is(err, peer.ErrNotFound):
		return &pb.DeleteDeviceResponse{}, nil
	case err == nil:
		err = s.Core.Devices().Delete(ctx, id)
	}
	if err != nil {
		return nil, err
	}
	return &pb.DeleteDeviceResponse{Confirmations: fromConfirmations(s.confirm(ctx, placesOf(d)...))}, nil
}

func (s devices) PlaceDevice(ctx context.Context, q *pb.PlaceDeviceRequest) (*pb.PlaceDeviceResponse, error) {
	var r reader
	p := toPlace(&r, "", q.GetPlace())
	if r.err != nil {
		return nil, r.err
	}
	d, err := s.Core.Devices().Place(ctx, peer.DeviceID(q.GetId()), p)
	if err != nil {
		return nil, err
	}
	return &pb.PlaceDeviceResponse{Device: fromDevice(d), Confirmations: fromConfirmations(s.confirm(ctx, p.Location))}, nil
}

func (s devices) LeaveLocation(ctx context.Context, q *pb.LeaveLocationRequest) (*pb.LeaveLocationResponse, error) {
	at := location.ID(q.GetLocation())
	d, err := s.Core.Devices().Leave(ctx, peer.DeviceID(q.GetId()), at)
	if err != nil {
		return nil, err
	}
	return &pb.LeaveLocationResponse{Device: fromDevice(d), Confirmations: fromConfirmations(s.confirm(ctx, at))}, nil
}

func (s devices) GetProfile(ctx context.Context, q *pb.GetProfileRequest) (*pb.GetProfileResponse, error) {
	d, err := s.Core.Devices().Get(ctx, peer.DeviceID(q.GetId()))
	if err != nil {
		return nil, err
	}
	l, err := s.Core.Locations().Get(ctx, location.ID(q.GetLocation()))
	if err != nil {
		return nil, err
	}
	p, err := peer.NewProfile(l, d)
	if err != nil {
		return nil, err
	}
	return fromProfile(p), nil
}
