package vpn

import (
	"context"
	"fmt"
	"reflect"
	"slices"
	"strings"

	"github.com/holdfastvpn/holdfast/location"
	"github.com/holdfastvpn/holdfast/peer"
	"github.com/holdfastvpn/holdfast/vpn/seal"
)

// audited is a backend whose changes become events.
type audited struct {
	Stores

	events *Events
}

// Locations is the backend's, and tells.
func (a audited) Locations() location.Store { return auditedLocations{a.Stores.Locations(), a.events} }

// Devices is the backend's, and tells.
func (a audited) Devices() peer.Store { return auditedDevices{a.Stores.Devices(), a.events} }

type auditedLocations struct {
	location.Store

	events *Events
}

// Update does, and tells what became of it.
func (s auditedLocations) Update(ctx context.Context, id location.ID, edit func(*location.Location) error) (location.Location, error) {
	var old location.Location
	now, err := s.Store.Update(ctx, id, func(l *location.Location) error {
		old = l.Clone() // an edit may run again: the last one counts
		return edit(l)
	})
	if err != nil {
		return now, err
	}
	e := Event{Subject: string(id), Name: now.Name, Locations: []location.ID{id}}
	switch there, was := now.ID != "", old.ID != ""; {
	case there && !was:
		e.What, e.Text = LocationCreated, changes(location.Location{}, now)
	case was && !there:
		e.What, e.Name = LocationDeleted, old.Name
	case was:
		e.What, e.Text = LocationChanged, changes(old, now)
	}
	if e.What == LocationChanged && e.Text == "" || e.What == "" {
		return now, nil
	}
	s.events.note(ctx, e)
	return now, nil
}

type auditedDevices struct {
	peer.Store

	events *Events
}

// Update does, and tells what became of it.
func (s auditedDevices) Update(ctx context.Context, id peer.DeviceID, edit func(*peer.Device) error) (peer.Device, error) {
	var old peer.Device
	now, err := s.Store.Update(ctx, id, func(d *peer.Device) error {
		old = d.Clone()
		return edit(d)
	})
	if err != nil {
		return now, err
	}
	e := Event{Subject: string(id), Name: now.Name}
	for _, d := range []peer.Device{old, now} {
		for _, p := range d.Peers {
			e.Locations = append(e.Locations, p.Location)
		}
	}
	slices.Sort(e.Locations)
	e.Locations = slices.Compact(e.Locations)
	switch there, was := now.ID != "", old.ID != ""; {
	case there && !was:
		e.What, e.Text = DeviceAdded, deviceChanges(peer.Device{}, now)
	case was && !there:
		e.What, e.Name = DeviceDeleted, old.Name
	case was:
		e.What, e.Text = DeviceChanged, deviceChanges(old, now)
	}
	if e.What == DeviceChanged && e.Text == "" || e.What == "" {
		return now, nil
	}
	s.events.note(ctx, e)
	return now, nil
}

// deviceChanges says how a device differs, place by place.
func deviceChanges(old, now peer.Device) string {
	texts := []string{}
	if t := changes(old, now); t != "" {
		texts = append(texts, t)
	}
	switch was, is := old.Standing, now.Standing; {
	case is.Disabled && !was.Disabled:
		texts = append(texts, "its owner was disabled")
	case was.Disabled && !is.Disabled:
		texts = append(texts, "its owner was enabled")
	}
	if !slices.Equal(old.Standing.Groups, now.Standing.Groups) {
		texts = append(texts, fmt.Sprintf("groups of its owner %v -> %v", old.Standing.Groups, now.Standing.Groups))
	}
	for _, p := range now.Peers {
		before, there := old.At(p.Location)
		switch t := changes(before, p); {
		case !there:
			texts = append(texts, fmt.Sprintf("joined %s with %s", p.Location, t))
		case t != "":
			texts = append(texts, fmt.Sprintf("in %s %s", p.Location, t))
		}
	}
	for _, p := range old.Peers {
		if _, there := now.At(p.Location); !there {
			texts = append(texts, fmt.Sprintf("left %s", p.Location))
		}
	}
	return strings.Join(texts, "; ")
}

// changes says how the fields of two rows of one kind differ, but for those that
// say which row it is. Of secrets it says only that they changed.
func changes[T any](old, now T) string {
	a, b := reflect.ValueOf(old), reflect.ValueOf(now)
	var texts []string
	for i := range a.NumField() {
		field := a.Type().Field(i)
		before, after := a.Field(i).Interface(), b.Field(i).Interface()
		if reflect.DeepEqual(before, after) || isEmpty(a.Field(i)) && isEmpty(b.Field(i)) {
			continue
		}
		_, secret := after.(seal.Text)
		switch {
		case field.Name == "ID", field.Name == "Rev", field.Name == "Location", field.Name == "Peers", field.Name == "Standing":
		case secret:
			texts = append(texts, field.Name)
		case isEmpty(a.Field(i)):
			texts = append(texts, fmt.Sprintf("%s %v", field.Name, after))
		default:
			texts = append(texts, fmt.Sprintf("%s %v -> %v", field.Name, before, after))
		}
	}
	return strings.Join(texts, ", ")
}

// isEmpty says whether there is nothing to show: zero, or an empty list.
func isEmpty(v reflect.Value) bool {
	return v.IsZero() || v.Kind() == reflect.Slice && v.Len() == 0
}
