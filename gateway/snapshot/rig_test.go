package snapshot_test

import (
	"errors"
	"fmt"
	"io/fs"
	"net/netip"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/holdfastvpn/holdfast/gateway"
	"github.com/holdfastvpn/holdfast/gateway/gatewaytest"
	"github.com/holdfastvpn/holdfast/gateway/snapshot"
)

// files is a directory in memory.
type files struct {
	mu   sync.Mutex
	data map[string][]byte
	left int   // writes and removals until all fail; below zero: never
	err  error // reading fails with it
}

func newFiles() *files { return &files{data: map[string][]byte{}, left: -1} }

var errCrash = errors.New("the machine went down")

func (f *files) Read(name string) ([]byte, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	data, ok := f.data[name]
	switch {
	case f.err != nil:
		return nil, f.err
	case !ok:
		return nil, fmt.Errorf("files: %s: %w", name, fs.ErrNotExist)
	}
	return slices.Clone(data), nil
}

func (f *files) change(do func()) error {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.left == 0 {
		return errCrash
	}
	f.left--
	do()
	return nil
}

func (f *files) Write(name string, data []byte) error {
	return f.change(func() { f.data[name] = slices.Clone(data) })
}

func (f *files) Remove(name string) error { return f.change(func() { delete(f.data, name) }) }

// clone is what a machine finds that comes back.
func (f *files) clone() *files {
	c := newFiles()
	for name, data := range f.data {
		c.data[name] = slices.Clone(data)
	}
	return c
}

func open(tb testing.TB, f snapshot.Files, id gateway.ID) *snapshot.Store {
	tb.Helper()
	s, err := snapshot.New(snapshot.Config{Gateway: id, Files: f})
	require.NoError(tb, err)
	return s
}

func kept(at gateway.LocationID, peers int) gateway.Kept {
	return gateway.Kept{Location: at, Config: gatewaytest.Config(peers), Heard: time.UnixMicro(1_900_000_000_123_456)}
}

func floating(list ...string) []netip.Addr {
	out := make([]netip.Addr, len(list))
	for i, s := range list {
		out[i] = netip.MustParseAddr(s)
	}
	return out
}

// asVersion1 is what version 1 sealed for a k without addresses that move and siblings:
// the same without the bytes that say so.
func asVersion1(tb testing.TB, k gateway.Kept) []byte {
	tb.Helper()
	require.Empty(tb, k.Config.Interface.Floating)
	require.Empty(tb, k.Config.Interface.Inner)
	require.False(tb, k.Config.Interface.Carried)
	require.Empty(tb, k.Siblings)
	b := snapshot.Encode(k)
	k.Config.Interface.Floating = make([]netip.Addr, 1) // differs from there on
	other := snapshot.Encode(k)
	i := 0
	for b[i] == other[i] {
		i++
	}
	b = slices.Delete(b, i, i+3) // floating ones, inner ones, carried
	return b[:len(b)-1]          // nor siblings, which come last
}

// filled has locations a and b, and one with a name that is none for a file.
func filled(tb testing.TB) *files {
	tb.Helper()
	f := newFiles()
	s := open(tb, f, "gw1")
	for i, at := range []gateway.LocationID{"a", "b", "c/d"} {
		require.NoError(tb, s.Keep(tb.Context(), kept(at, i+1)))
	}
	return f
}

// load returns what is kept by location, what is refused as words.
func load(tb testing.TB, s *snapshot.Store) (good map[gateway.LocationID]int, refused map[gateway.LocationID]string, err error) {
	tb.Helper()
	all, err := s.Load(tb.Context())
	good, refused = map[gateway.LocationID]int{}, map[gateway.LocationID]string{}
	for _, k := range all {
		if k.Refused != nil {
			require.Empty(tb, k.Config, "refused, and there all the same")
			refused[k.Location] = k.Refused.Error()
			continue
		}
		good[k.Location] = len(k.Config.Peers)
	}
	return good, refused, err
}
