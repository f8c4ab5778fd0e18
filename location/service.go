package location

import (
	"cmp"
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/holdfastvpn/holdfast/vpn/seal"
	"github.com/holdfastvpn/holdfast/vpn/wgkey"
)

// ServiceConfig holds what NewService needs.
type ServiceConfig struct {
	Store Store         // required
	Keys  *seal.Keyring // required: seals the locations' private keys
}

// Service has the rules of locations on top of a Store. It is safe for
// concurrent use, and any number of them may stand on one store.
//
// Its errors begin with what was being done and to what. They are a *FieldError
// where a field is wrong, and ErrNotFound, ErrExists or ErrOverlap where a caller
// may want to branch.
type Service struct {
	store Store
	keys  *seal.Keyring
}

// NewService checks c and makes a Service.
func NewService(c ServiceConfig) (*Service, error) {
	if c.Store == nil {
		return nil, errors.New("location: new service: Store is missing")
	}
	if c.Keys == nil {
		return nil, errors.New("location: new service: Keys is missing")
	}
	return &Service{store: c.Store, keys: c.Keys}, nil
}

// Create adds a location with a new ID and a new key, and returns it as saved.
// ID, PublicKey and Key of l have to be zero; other zero fields get their
// defaults (see WithDefaults).
func (s *Service) Create(ctx context.Context, l Location) (Location, error) {
	l, err := s.create(ctx, l, wgkey.NewPrivate())
	return l, wrap("create", l.Name, err)
}

// Import is Create with a private key that is already in use, so that the
// clients of an existing server need no new configuration.
func (s *Service) Import(ctx context.Context, l Location, key wgkey.Private) (Location, error) {
	if key.IsZero() {
		return Location{}, wrap("import", l.Name, errors.New("the private key is missing"))
	}
	l, err := s.create(ctx, l, key)
	return l, wrap("import", l.Name, err)
}

// create returns a location with at least its name, for the error.
func (s *Service) create(ctx context.Context, l Location, key wgkey.Private) (Location, error) {
	none := Location{Name: l.Name}
	if l.ID != "" || !l.PublicKey.IsZero() || l.Key != "" {
		return none, fieldf("ID", "ID, PublicKey and Key are made for a new location: leave them empty")
	}
	l = l.Clone().WithDefaults()
	l.ID = newID()
	l.setKey(s.keys, key)
	if err := l.Validate(); err != nil {
		return none, err
	}
	others, err := s.store.List(ctx)
	if err != nil {
		return none, err
	}
	if err := apart(l, others); err != nil {
		return none, err
	}
	if err := told(l, others); err != nil {
		return none, err
	}
	saved, err := s.store.Update(ctx, l.ID, func(row *Location) error {
		if row.ID != "" {
			return fmt.Errorf("the new id %s is taken", l.ID)
		}
		*row = l.Clone()
		return nil
	})
	if err != nil {
		return none, s.explain(ctx, l, err)
	}
	return saved, nil
}

// Get returns a location, or ErrNotFound.
func (s *Service) Get(ctx context.Context, id ID) (Location, error) {
	l, err := s.store.Get(ctx, id)
	return l, wrap("get", string(id), err)
}

// List returns all locations in ID order.
func (s *Service) List(ctx context.Context) ([]Location, error) {
	all, err := s.store.List(ctx)
	if err != nil {
		return nil, fmt.Errorf("location: list: %w", err)
	}
	return all, nil
}

// Update changes a location and returns it as saved. edit may run more than
// once and depends on its argument alone; its error stops the update. ID and key
// cannot change. A field left zero gets its default.
//
// Networks are compared with those of other locations when they change, or when
// AllowOverlap is taken back, so that a location which permits overlapping does
// not block the one that it overlaps; firewall marks when they change, or begin to
// matter.
func (s *Service) Update(ctx context.Context, id ID, edit func(*Location) error) (Location, error) {
	others, err := s.store.List(ctx)
	if err != nil {
		return Location{}, wrap("update", string(id), err)
	}
	var last Location
	saved, err := s.store.Update(ctx, id, func(row *Location) error {
		if row.ID == "" {
			return ErrNotFound
		}
		old := row.Clone()
		if err := edit(row); err != nil {
			return err
		}
		*row = row.WithDefaults()
		last = row.Clone()
		return admit(last, old, others)
	})
	if err != nil {
		return Location{}, wrap("update", cmp.Or(last.Name, string(id)), s.explain(ctx, last, err))
	}
	return saved, nil
}

// admit checks what an edit made of old.
func admit(l, old Location, others []Location) error {
	switch {
	case l.ID != old.ID:
		return fieldf("ID", "cannot change; Delete removes a location")
	case l.PublicKey != old.PublicKey:
		return fieldf("PublicKey", "cannot change: clients know it")
	case l.Key != old.Key:
		return fieldf("Key", "cannot change: it belongs to PublicKey")
	}
	if err := l.Validate(); err != nil {
		return err
	}
	if marked(l, old) {
		if err := told(l, others); err != nil {
			return err
		}
	}
	if slices.Equal(l.Networks, old.Networks) && l.AllowOverlap == old.AllowOverlap {
		return nil
	}
	return apart(l, others)
}

// Delete removes a location. It is no error if it is not there. Devices keep
// their places in it, which grant nothing any more.
func (s *Service) Delete(ctx context.Context, id ID) error {
	_, err := s.store.Update(ctx, id, func(row *Location) error {
		*row = Location{}
		return nil
	})
	return wrap("delete", string(id), err)
}

// Reveal opens the private key of a location: handle with care.
func (s *Service) Reveal(l Location) (wgkey.Private, error) { return l.Reveal(s.keys) }

// apart says which network of l overlaps which other location, unless l permits
// that.
func apart(l Location, others []Location) error {
	if l.AllowOverlap {
		return nil
	}
	for _, o := range others {
		if o.ID == l.ID {
			continue
		}
		for i, n := range l.Networks {
			if j := slices.IndexFunc(o.Networks, n.Overlaps); j >= 0 {
				return fmt.Errorf("%w: %w", ErrOverlap, fieldf(at("Networks", i),
					"%s overlaps %s of location %q: choose another network, or set AllowOverlap", n, o.Networks[j], o.Name))
			}
		}
	}
	return nil
}

// explain adds to a claim's failure whom it met, if that can still be seen.
func (s *Service) explain(ctx context.Context, l Location, err error) error {
	var field *FieldError
	switch {
	case errors.As(err, &field):
		return err
	case errors.Is(err, ErrExists):
		return fmt.Errorf("%w: %w", err, fieldf("Name", "%q belongs to another location: choose another name", l.Name))
	case errors.Is(err, ErrOverlap):
		if others, lerr := s.store.List(ctx); lerr == nil {
			if met := apart(l, others); met != nil {
				return met
			}
		}
	}
	return err
}

func wrap(what, whom string, err error) error {
	if err == nil {
		return nil
	}
	return fmt.Errorf("location: %s %q: %w", what, whom, err)
}

// newID makes an ID: 26 characters of lower-case base32 with at least 128
// random bits, the first one a letter.
func newID() ID {
	for {
		if id := strings.ToLower(rand.Text()); id[0] >= 'a' {
			return ID(id)
		}
	}
}
