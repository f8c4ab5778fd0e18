// Package runstate keeps what a gateway heard in files that last as long as the
// machine runs, so that a gateway which starts again knows when its peers were heard.
//
// [Store] is a gateway.Memory: one file for each location, of public keys, instants
// and counters, with no secret and no endpoint. It is to be in a directory that a
// boot empties, such as below /run; a file that outlives one all the same says which
// boot it is of, and the gateway does not use it. A checksum finds damage, not
// somebody's intent: the directory has to be the gateway's alone.
//
// [OpenClock] has the clock by which its instants count.
package runstate

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io/fs"
	"strings"

	"github.com/holdfastvpn/holdfast/gateway"
)

// Files is a directory that nobody else may see; transport/statedir has one.
type Files interface {
	// Read returns a file, or an error that is fs.ErrNotExist.
	Read(name string) ([]byte, error)
	// Write replaces a file: a process that is killed leaves the old bytes or the
	// new ones.
	Write(name string, data []byte) error
	// Remove removes a file. One that is not there is no error.
	Remove(name string) error
}

// Config holds what New needs.
type Config struct {
	Gateway gateway.ID // required
	// Files is where to keep everything; required. Names begin with "heard-".
	Files Files
}

// Store remembers in files. It is safe for concurrent use, if its Files are.
type Store struct{ c Config }

var _ gateway.Memory = (*Store)(nil)

// New checks c. It touches no file.
func New(c Config) (*Store, error) {
	switch {
	case c.Gateway == "":
		return nil, errors.New("runstate: new store: Config.Gateway is missing")
	case c.Files == nil:
		return nil, errors.New("runstate: new store: Config.Files is missing")
	}
	return &Store{c}, nil
}

// Recall implements gateway.Memory. A file that is damaged, of another version, or
// of another gateway or location is an error; the next Remember replaces it.
func (s *Store) Recall(ctx context.Context, at gateway.LocationID) (gateway.Remembered, error) {
	name := fileName(at)
	if err := ctx.Err(); err != nil {
		return gateway.Remembered{}, fmt.Errorf("runstate: read %s: %w", name, err)
	}
	data, err := s.c.Files.Read(name)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return gateway.Remembered{Location: at}, nil
	case err != nil:
		return gateway.Remembered{}, fmt.Errorf("runstate: read %s: %w", name, err)
	}
	m, err := decode(s.c.Gateway, at, data)
	if err != nil {
		return gateway.Remembered{}, fmt.Errorf("runstate: %s is not used: %w", name, err)
	}
	return m, nil
}

// Remember implements gateway.Memory.
func (s *Store) Remember(ctx context.Context, m gateway.Remembered) error {
	name := fileName(m.Location)
	err := ctx.Err()
	if err == nil {
		err = s.c.Files.Write(name, encode(s.c.Gateway, m))
	}
	if err != nil {
		return fmt.Errorf("runstate: write %s: %w", name, err)
	}
	return nil
}

// Forget implements gateway.Memory.
func (s *Store) Forget(ctx context.Context, at gateway.LocationID) error {
	name := fileName(at)
	err := ctx.Err()
	if err == nil {
		err = s.c.Files.Remove(name)
	}
	if err != nil {
		return fmt.Errorf("runstate: remove %s: %w", name, err)
	}
	return nil
}

// fileName is the name of a location's file: readable where the location's id is
// of the kind that holdfast makes.
func fileName(at gateway.LocationID) string {
	odd := func(r rune) bool { return (r < 'a' || r > 'z') && (r < '0' || r > '9') }
	if at != "" && len(at) <= 64 && strings.IndexFunc(string(at), odd) < 0 {
		return "heard-" + string(at)
	}
	sum := sha256.Sum256([]byte(at))
	return "heard-sha256-" + hex.EncodeToString(sum[:])
}
