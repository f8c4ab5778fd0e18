package vpn

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"
	"unicode"
	"unicode/utf8"

	"github.com/holdfastvpn/holdfast/location"
	"github.com/holdfastvpn/holdfast/peer"
)

// OwnerChanged is what happens to owners.
const OwnerChanged = "owner.changed"

// Owner is whom devices belong to: a name that somebody gives, such as that of an
// account. There need not be a record of it.
type Owner struct {
	Name string `json:"name"` // 1 to 255 bytes that print
	// Disabled takes all of the owner's devices off all gateways, and those that
	// are added later.
	Disabled bool `json:"disabled,omitzero"`
	// Groups are those that the owner is in.
	Groups []string `json:"groups,omitempty"`
}

// OwnerDevices is an Owner, and how many devices there are.
type OwnerDevices struct {
	Owner

	Devices int
}

// ownerKey is where owners are among the Records. A record stays when its owner
// is enabled again, so that no device is left behind disabled.
const ownerKey = "owner/"

// Owners says what is true for all devices of one owner. It is copied into each
// of them: at once, and again twice a minute for those that a crash left out.
type Owners struct{ c *Core }

// List returns the owners of all devices, and those that something was said of,
// by name.
func (o *Owners) List(ctx context.Context) ([]OwnerDevices, error) {
	rows, err := o.rows(ctx)
	if err != nil {
		return nil, fmt.Errorf("vpn: list owners: %w", err)
	}
	devices, err := o.c.stores.Devices().List(ctx, peer.Filter{})
	if err != nil {
		return nil, fmt.Errorf("vpn: list owners: %w", err)
	}
	all := map[string]*OwnerDevices{}
	for _, r := range rows {
		all[r.Name] = &OwnerDevices{Owner: r}
	}
	for _, d := range devices {
		switch {
		case d.Owner == "":
			continue
		case all[d.Owner] == nil:
			all[d.Owner] = &OwnerDevices{Owner: Owner{Name: d.Owner}}
		}
		all[d.Owner].Devices++
	}
	list := make([]OwnerDevices, 0, len(all))
	for _, w := range all {
		list = append(list, *w)
	}
	slices.SortFunc(list, func(a, b OwnerDevices) int { return strings.Compare(a.Name, b.Name) })
	return list, nil
}

// Get returns what was said of an owner. Of one that nothing was said of, it is
// the name alone: that is no error.
func (o *Owners) Get(ctx context.Context, name string) (Owner, error) {
	own, err := o.get(ctx, name)
	if err != nil {
		return Owner{}, fmt.Errorf("vpn: get owner %q: %w", name, err)
	}
	return own, nil
}

// Disable takes all devices of an owner off all gateways. There need be none yet.
func (o *Owners) Disable(ctx context.Context, name string) (Owner, error) {
	return o.Update(ctx, name, func(w *Owner) error { w.Disabled = true; return nil })
}

// Enable ends what Disable did. Devices that are themselves disabled stay so.
func (o *Owners) Enable(ctx context.Context, name string) (Owner, error) {
	return o.Update(ctx, name, func(w *Owner) error { w.Disabled = false; return nil })
}

// Update changes what is true for an owner, and copies it into the devices. edit
// may run more than once and depends on its argument alone; its error comes back
// as it is, and nothing is changed then. Any other error after which Get shows
// the change names devices that do not have it yet; they get it within half a
// minute, or when Update is called again.
func (o *Owners) Update(ctx context.Context, name string, edit func(*Owner) error) (Owner, error) {
	fail := func(err error) (Owner, error) { return Owner{}, fmt.Errorf("vpn: update owner %q: %w", name, err) }
	if err := checkOwnerName(name); err != nil {
		return fail(err)
	}
	var refused error
	var old, now Owner
	err := o.c.records.Update(ctx, ownerKey+name, func(row []byte) ([]byte, error) {
		var err error
		if old, err = parseOwner(name, row); err != nil {
			return nil, err
		}
		now = old.clone()
		if refused = edit(&now); refused != nil {
			return nil, refused
		}
		if now.Name != name {
			return nil, &location.FieldError{Field: "Name", Reason: "cannot change"}
		}
		return json.Marshal(now)
	})
	switch {
	case refused != nil:
		return Owner{}, refused
	case err != nil:
		return fail(err)
	}
	if text := changes(old, now); text != "" {
		o.c.events.note(ctx, Event{What: OwnerChanged, Subject: name, Name: name, Text: text})
	}
	if err := o.copyDown(ctx, now); err != nil {
		return fail(err)
	}
	return now, nil
}

// copyDown writes into the devices what their owner's record says, until it says
// so still: of two who change it at once, the later one has to win everywhere.
func (o *Owners) copyDown(ctx context.Context, now Owner) error {
	for {
		if _, err := o.c.devices.SetStanding(ctx, now.Name, now.standing()); err != nil {
			return err
		}
		again, err := o.get(ctx, now.Name)
		if err != nil || again.same(now) {
			return err
		}
		now = again
	}
}

// standing is for the devices' Service.
func (o *Owners) standing(ctx context.Context, name string) (peer.Standing, error) {
	own, err := o.get(ctx, name)
	return own.standing(), err
}

func (o *Owners) get(ctx context.Context, name string) (Owner, error) {
	row, err := o.c.records.Get(ctx, ownerKey+name)
	if err != nil && !errors.Is(err, ErrNotFound) {
		return Owner{}, err
	}
	return parseOwner(name, row)
}

func (o *Owners) rows(ctx context.Context) ([]Owner, error) {
	list, err := o.c.records.List(ctx, ownerKey, "", 0)
	if err != nil {
		return nil, err
	}
	all := make([]Owner, len(list))
	for i, r := range list {
		if all[i], err = parseOwner(strings.TrimPrefix(r.Key, ownerKey), r.Value); err != nil {
			return nil, err
		}
	}
	return all, nil
}

// sweepOwners finishes, until ctx ends, what a core that crashed began.
func (c *Core) sweepOwners(ctx context.Context) {
	for sleep(ctx, c.resync, nil) {
		rows, err := c.owners.rows(ctx)
		for _, r := range rows {
			err = errors.Join(err, c.owners.copyDown(ctx, r))
		}
		if err != nil && ctx.Err() == nil {
			c.log.Warn("what is true for owners could not be copied into all devices, and is tried again", "err", err)
		}
	}
}

func (w Owner) standing() peer.Standing {
	return peer.Standing{Disabled: w.Disabled, Groups: slices.Clone(w.Groups)}
}

func (w Owner) same(o Owner) bool {
	return w.Disabled == o.Disabled && slices.Equal(w.Groups, o.Groups)
}

func (w Owner) clone() Owner {
	w.Groups = slices.Clone(w.Groups)
	return w
}

// parseOwner reads a record; none is an owner that nothing was said of.
func parseOwner(name string, row []byte) (Owner, error) {
	if row == nil {
		return Owner{Name: name}, nil
	}
	var w Owner
	if err := strict(row, &w); err != nil {
		return Owner{}, fmt.Errorf("record of owner %q: %w", name, err)
	}
	return w, nil
}

func checkOwnerName(name string) error {
	unprintable := strings.ContainsFunc(name, func(r rune) bool { return !unicode.IsPrint(r) })
	if name == "" || len(name) > peer.OwnerMax || unprintable || !utf8.ValidString(name) {
		return &location.FieldError{Field: "Owner", Reason: fmt.Sprintf("has to be 1 to %d bytes of characters that print", peer.OwnerMax)}
	}
	return nil
}
