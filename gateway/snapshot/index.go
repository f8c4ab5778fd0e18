package snapshot

import (
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io/fs"
	"slices"
	"strconv"
	"strings"

	"github.com/holdfastvpn/holdfast/gateway"
)

const (
	keyFile   = "snapshot.key"
	indexFile = "snapshot.index"
	aside     = ".refused"

	indexHead = "holdfast snapshots 1"
)

// fileName is the name of a location's file: readable where the location's id is
// of the kind that holdfast makes.
func fileName(at gateway.LocationID) string {
	plain := func(r rune) bool { return r >= 'a' && r <= 'z' || r >= '0' && r <= '9' }
	if at != "" && len(at) <= 64 && strings.IndexFunc(string(at), func(r rune) bool { return !plain(r) }) < 0 {
		return "snapshot-" + string(at)
	}
	sum := sha256.Sum256([]byte(at))
	return "snapshot-sha256-" + hex.EncodeToString(sum[:])
}

// index reads which locations there are. The file is not sealed, and has no
// secret: losing the key is not to lose what was served here. The caller holds mu.
func (s *Store) index() error {
	if s.all != nil {
		return nil
	}
	text, err := s.c.Files.Read(indexFile)
	if errors.Is(err, fs.ErrNotExist) {
		s.all = []gateway.LocationID{}
		if _, err := s.c.Files.Read(keyFile); err == nil { // the index is written first
			return fmt.Errorf("snapshot: %s is missing: which locations were served here is not known", indexFile)
		}
		return s.reindex(s.all)
	}
	if err != nil {
		return fmt.Errorf("snapshot: read %s: %w", indexFile, err)
	}
	all, err := parseIndex(string(text))
	if err != nil {
		err = errors.Join(
			fmt.Errorf("snapshot: %s is refused, and set aside as %s: %w", indexFile, indexFile+aside, err),
			s.c.Files.Write(indexFile+aside, text), s.reindex(all))
	}
	s.all = all
	return err
}

// parseIndex returns what could be read, in order and never nil, and what could
// not.
func parseIndex(text string) ([]gateway.LocationID, error) {
	all := []gateway.LocationID{}
	var bad error
	head, rest, _ := strings.Cut(text, "\n")
	if head != indexHead { // what follows does no harm: a file speaks for itself
		bad = fmt.Errorf("its first line is %.40q, and not %q: another version wrote it, or nobody", head, indexHead)
	}
	n := 1
	for line := range strings.Lines(rest) {
		n++
		line = strings.TrimSuffix(line, "\n")
		at, err := strconv.Unquote(line)
		if err != nil || at == "" || strconv.Quote(at) != line {
			bad = errors.Join(bad, fmt.Errorf("line %d is not the name of a location", n))
			continue
		}
		all = append(all, gateway.LocationID(at))
	}
	if !strings.HasSuffix(text, "\n") {
		bad = errors.Join(bad, errors.New("its end is missing"))
	}
	slices.Sort(all)
	return slices.Compact(all), bad
}

// reindex writes which locations there are. The caller holds mu.
func (s *Store) reindex(all []gateway.LocationID) error {
	var b strings.Builder
	b.WriteString(indexHead + "\n")
	for _, at := range all {
		b.WriteString(strconv.Quote(string(at)) + "\n")
	}
	if err := s.c.Files.Write(indexFile, []byte(b.String())); err != nil {
		return fmt.Errorf("snapshot: write %s: %w", indexFile, err)
	}
	s.all = all
	return nil
}
