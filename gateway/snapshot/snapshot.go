// Package snapshot keeps what a gateway was told last in sealed files, so that it
// comes back after a reboot while the control plane is away.
//
// [Store] is a gateway.Keeper: one file for each location, sealed with a key that
// lies beside them or that the caller brings. A file opens for the gateway and the
// location that it was written for, and for no other. What was changed, cut off,
// belongs elsewhere or was written by a newer version is refused with words that
// name the file, and set aside under a name of its own; it affects no other
// location.
//
// The seal keeps files from being changed and swapped, and secrets out of backups
// of single files. Who can read the whole directory has the key too, unless the
// caller keeps it elsewhere.
//
// How old a snapshot may be is not decided here: see gateway.ProcessConfig.
package snapshot

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"slices"
	"sync"

	"github.com/holdfastvpn/holdfast/gateway"
	"github.com/holdfastvpn/holdfast/vpn/seal"
)

// Files is a directory that nobody else may see; transport/statedir has one.
type Files interface {
	// Read returns a file, or an error that is fs.ErrNotExist.
	Read(name string) ([]byte, error)
	// Write replaces a file: after a crash it has the old bytes or the new ones,
	// and the new ones once Write has returned.
	Write(name string, data []byte) error
	// Remove removes a file. One that is not there is no error.
	Remove(name string) error
}

// Config holds what New needs.
type Config struct {
	Gateway gateway.ID // required
	// Files is where to keep everything; required. Names begin with "snapshot".
	Files Files
	// Keys seals; nil: a key that is made at first use, in the file snapshot.key.
	Keys *seal.Keyring
}

// Store keeps snapshots in files. It is safe for concurrent use.
type Store struct {
	c Config

	mu   sync.Mutex
	keys *seal.Keyring        // nil: not asked for yet
	all  []gateway.LocationID // what the index has, in order; nil: not read yet
}

var _ gateway.Keeper = (*Store)(nil)

// New checks c. It touches no file.
func New(c Config) (*Store, error) {
	switch {
	case c.Gateway == "":
		return nil, errors.New("snapshot: new store: Config.Gateway is missing")
	case c.Files == nil:
		return nil, errors.New("snapshot: new store: Config.Files is missing")
	}
	return &Store{c: c, keys: c.Keys}, nil
}

// Load implements gateway.Keeper. A location whose file is refused is returned
// with the reason; the error is about the key or the index.
func (s *Store) Load(ctx context.Context) ([]gateway.Kept, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.all = nil
	errIndex := s.index()
	errKeys := s.ring()
	var all []gateway.Kept
	for _, at := range s.all {
		if err := ctx.Err(); err != nil {
			return all, fmt.Errorf("snapshot: load: %w", err)
		}
		kept, err := s.load(at)
		if err != nil {
			kept = gateway.Kept{Location: at, Refused: err}
		}
		all = append(all, kept)
	}
	return all, errors.Join(errIndex, errKeys)
}

// load reads one file, and sets it aside if it is no good.
func (s *Store) load(at gateway.LocationID) (gateway.Kept, error) {
	name := fileName(at)
	data, err := s.c.Files.Read(name)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return gateway.Kept{}, fmt.Errorf("snapshot: there is no file %s for location %s, which was served here", name, at)
	case err != nil:
		return gateway.Kept{}, fmt.Errorf("snapshot: read %s: %w", name, err)
	case s.keys == nil:
		return gateway.Kept{}, fmt.Errorf("snapshot: %s is not opened: there is no key to open it with", name)
	}
	kept, err := s.open(at, data)
	if err != nil {
		err = fmt.Errorf("snapshot: %s is refused, and set aside as %s: %w", name, name+aside, err)
		return gateway.Kept{}, errors.Join(err, s.setAside(name, data))
	}
	return kept, nil
}

// setAside renames a file: it is not deleted, since somebody may want to know.
func (s *Store) setAside(name string, data []byte) error {
	err := s.c.Files.Write(name+aside, data)
	if err == nil {
		err = s.c.Files.Remove(name)
	}
	if err != nil {
		return fmt.Errorf("snapshot: set %s aside: %w", name, err)
	}
	return nil
}

// Keep implements gateway.Keeper.
func (s *Store) Keep(ctx context.Context, k gateway.Kept) error {
	if err := ctx.Err(); err != nil {
		return fmt.Errorf("snapshot: keep location %s: %w", k.Location, err)
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if err := s.list(k.Location); err != nil {
		return err
	}
	if err := s.ring(); err != nil {
		return err
	}
	name := fileName(k.Location)
	if err := s.c.Files.Write(name, s.close(k)); err != nil {
		return fmt.Errorf("snapshot: write %s: %w", name, err)
	}
	return nil
}

// Forget implements gateway.Keeper.
func (s *Store) Forget(ctx context.Context, at gateway.LocationID) error {
	if err := ctx.Err(); err != nil {
		return fmt.Errorf("snapshot: forget location %s: %w", at, err)
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	name := fileName(at)
	if err := s.c.Files.Remove(name); err != nil {
		return fmt.Errorf("snapshot: remove %s: %w", name, err)
	}
	return s.unlist(at)
}

// ring finds or makes the key. The caller holds mu.
func (s *Store) ring() error {
	if s.keys != nil {
		return nil
	}
	text, err := s.c.Files.Read(keyFile)
	if errors.Is(err, fs.ErrNotExist) {
		return s.newKey()
	}
	if err != nil {
		return fmt.Errorf("snapshot: read %s: %w", keyFile, err)
	}
	keys, err := seal.ParseKeys(text)
	var ring *seal.Keyring
	if err == nil {
		ring, err = seal.New(keys...)
	}
	if err != nil { // what it sealed is lost, but not what will be sealed
		err = fmt.Errorf("snapshot: %s is refused, and set aside as %s: %w", keyFile, keyFile+aside, err)
		if worse := errors.Join(s.setAside(keyFile, text), s.newKey()); worse != nil {
			return errors.Join(err, worse)
		}
		return err
	}
	s.keys = ring
	return nil
}

func (s *Store) newKey() error {
	key := seal.NewKey()
	ring, err := seal.New(key)
	if err != nil {
		return fmt.Errorf("snapshot: make a key: %w", err)
	}
	if err := s.c.Files.Write(keyFile, []byte(key.RevealText()+"\n")); err != nil {
		return fmt.Errorf("snapshot: write %s: %w", keyFile, err)
	}
	s.keys = ring
	return nil
}

// list puts a location into the index, before there is a file of it. The caller
// holds mu.
func (s *Store) list(at gateway.LocationID) error {
	if err := s.index(); err != nil && s.all == nil {
		return err
	}
	i, there := slices.BinarySearch(s.all, at)
	if there {
		return nil
	}
	return s.reindex(slices.Insert(slices.Clone(s.all), i, at))
}

// unlist takes a location out of the index, when there is no file of it any more.
// The caller holds mu.
func (s *Store) unlist(at gateway.LocationID) error {
	if err := s.index(); err != nil && s.all == nil {
		return err
	}
	i, there := slices.BinarySearch(s.all, at)
	if !there {
		return nil
	}
	return s.reindex(slices.Delete(slices.Clone(s.all), i, i+1))
}
