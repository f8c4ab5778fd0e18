package runstate_test

import (
	"context"
	"encoding/base64"
	"fmt"
	"io/fs"
	"reflect"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/holdfastvpn/holdfast/gateway"
	"github.com/holdfastvpn/holdfast/gateway/gatewaytest"
	"github.com/holdfastvpn/holdfast/gateway/runstate"
	"github.com/holdfastvpn/holdfast/transport/statedir"
)

func open(tb testing.TB, f runstate.Files) *runstate.Store {
	tb.Helper()
	s, err := runstate.New(runstate.Config{Gateway: "gw1", Files: f})
	require.NoError(tb, err)
	return s
}

func directory(tb testing.TB) *statedir.Dir {
	tb.Helper()
	dir, err := statedir.Open(tb.TempDir() + "/run")
	require.NoError(tb, err)
	tb.Cleanup(func() { require.NoError(tb, dir.Close()) })
	return dir
}

// heard is what there is to remember of a location with so many peers.
func heard(at gateway.LocationID, peers int) gateway.Remembered {
	m := gateway.Remembered{
		Location: at, Boot: "0b8e1f6e-42d5-4a51-9f8b-3f4d6a1c2b77", At: 31 * 24 * time.Hour, Peers: make([]gateway.RememberedPeer, peers),
	}
	for i, p := range gatewaytest.Peers(peers) {
		n := uint64(i)
		m.Peers[i] = gateway.RememberedPeer{
			Key: p.Key, Heard: m.At - time.Duration(i), Confirmed: m.At - time.Hour, Gone: m.At - time.Minute, Rx: n << 20, Tx: 7, DeviceRx: 1 << 40, DeviceTx: n,
			Handshake: time.Unix(1_900_000_000, 123_456_789), Told: true,
		}
		switch i % 4 {
		case 1:
			m.Peers[i].Gone = gateway.Never
		case 2:
			m.Peers[i] = gateway.RememberedPeer{Key: p.Key, Heard: gateway.Never, Confirmed: gateway.Never, Gone: gateway.Never}
		case 3:
			m.Peers[i].Heard, m.Peers[i].Confirmed = -time.Hour, 0
		}
	}
	return m
}

func TestWhatIsRememberedComesBack(t *testing.T) {
	dir := directory(t)
	s := open(t, dir)
	for n, at := range []gateway.LocationID{"a", "b/c", ""} {
		m, err := s.Recall(t.Context(), at)
		require.NoError(t, err)
		require.Equal(t, gateway.Remembered{Location: at}, m)
		want := heard(at, 5*n)
		require.NoError(t, s.Remember(t.Context(), want))
		m, err = open(t, dir).Recall(t.Context(), at)
		require.NoError(t, err)
		require.Equal(t, want, m)
	}
	require.NoError(t, s.Forget(t.Context(), "a"))
	require.NoError(t, s.Forget(t.Context(), "a"))
	m, err := s.Recall(t.Context(), "a")
	require.NoError(t, err)
	require.Empty(t, m.Boot)
}

// Every field is in the file: one that is new fails here until it is.
func TestEveryFieldIsInTheFile(t *testing.T) {
	m := heard("a", 1)
	m.Peers[0].Rx, m.Peers[0].DeviceTx = 5, 6
	for _, v := range []reflect.Value{reflect.ValueOf(m), reflect.ValueOf(m.Peers[0])} {
		for f := range v.Type().Fields() {
			require.False(t, v.FieldByIndex(f.Index).IsZero(), "set %s.%s here, and write it: encode and decode, and a new version", v.Type(), f.Name)
		}
	}
	got, err := runstate.Decode("gw1", "a", runstate.Encode("gw1", m))
	require.NoError(t, err)
	require.Equal(t, m, got)
}

func TestWhatIsNoGoodIsNotUsed(t *testing.T) {
	good := runstate.Encode("gw1", heard("a", 3))
	for i := range good {
		bad := []byte(string(good))
		bad[i] ^= 0x10
		_, err := runstate.Decode("gw1", "a", bad)
		require.Error(t, err, "byte %d", i)
		_, err = runstate.Decode("gw1", "a", good[:i])
		require.Error(t, err, "cut off at %d", i)
	}
	for name, c := range map[string]struct {
		file []byte
		err  string
	}{
		"another gateway":  {runstate.Encode("gw2", heard("a", 1)), "another gateway or location"},
		"another location": {runstate.Encode("gw1", heard("b", 1)), "another gateway or location"},
		"another version":  {[]byte(strings.Replace(string(good), "heard 1", "heard 2", 1)), "version \"2\""},
		"something else":   {[]byte("[Interface]\n"), "none of ours"},
		"nothing":          {nil, "none of ours"},
		"more at the end":  {append([]byte(string(good)), 0), "damaged"},
		"disorder": {runstate.Encode("gw1", gateway.Remembered{
			Location: "a", Peers: []gateway.RememberedPeer{heard("a", 1).Peers[0], heard("a", 1).Peers[0]},
		}), "makes no sense"},
	} {
		t.Run(name, func(t *testing.T) {
			dir := directory(t)
			require.NoError(t, dir.Write("heard-a", c.file))
			s := open(t, dir)
			m, err := s.Recall(t.Context(), "a")
			require.ErrorContains(t, err, "runstate: heard-a is not used")
			require.ErrorContains(t, err, c.err)
			require.Empty(t, m)
			require.NoError(t, s.Remember(t.Context(), heard("a", 1)))
			_, err = s.Recall(t.Context(), "a")
			require.NoError(t, err, "it is not replaced")
		})
	}
}

// Public keys, times and counters are all there is; endpoints and secrets have no
// field.
func TestThereIsNothingToHide(t *testing.T) {
	text := string(runstate.Encode("gw1", heard("a", 1)))
	require.Contains(t, text, "gw1")
	key := heard("a", 1).Peers[0].Key
	require.Contains(t, text, string(key[:]))
	require.NotContains(t, text, base64.StdEncoding.EncodeToString(key[:]))
}

func TestErrorsNameTheFile(t *testing.T) {
	dir := directory(t)
	s := open(t, dir)
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	_, err := s.Recall(ctx, "a")
	for _, err := range []error{err, s.Remember(ctx, heard("a", 1)), s.Forget(ctx, "a")} {
		require.ErrorIs(t, err, context.Canceled)
		require.ErrorContains(t, err, "heard-a")
	}
	require.NoError(t, dir.Close())
	require.ErrorIs(t, s.Remember(t.Context(), heard("a", 1)), fs.ErrClosed)

	_, err = runstate.New(runstate.Config{Files: dir})
	require.ErrorContains(t, err, "Config.Gateway")
	_, err = runstate.New(runstate.Config{Gateway: "gw1"})
	require.ErrorContains(t, err, "Config.Files")
}

func BenchmarkStore(b *testing.B) {
	for _, n := range []int{1_000, 100_000} {
		dir := directory(b)
		s, m := open(b, dir), heard("a", n)
		b.Run(fmt.Sprintf("remember/%d", n), func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				require.NoError(b, s.Remember(b.Context(), m))
			}
			data, err := dir.Read("heard-a")
			require.NoError(b, err)
			b.ReportMetric(float64(len(data)), "B/file")
		})
		b.Run(fmt.Sprintf("recall/%d", n), func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				_, err := s.Recall(b.Context(), "a")
				require.NoError(b, err)
			}
		})
	}
}
