package snapshot_test

import (
	"bytes"
	"context"
	"encoding/base64"
	"errors"
	"fmt"
	"net/netip"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/holdfastvpn/holdfast/gateway"
	"github.com/holdfastvpn/holdfast/gateway/gatewaytest"
	"github.com/holdfastvpn/holdfast/gateway/snapshot"
	"github.com/holdfastvpn/holdfast/transport/statedir"
	"github.com/holdfastvpn/holdfast/vpn/seal"
)

func TestStoreIsAKeeper(t *testing.T) {
	t.Run("in memory", func(t *testing.T) {
		gatewaytest.RunKeeper(t, func(tb testing.TB) (gateway.Keeper, func() gateway.Keeper) {
			f := newFiles()
			return open(tb, f, "gw1"), func() gateway.Keeper { return open(tb, f, "gw1") }
		})
	})
	t.Run("in a state directory", func(t *testing.T) {
		gatewaytest.RunKeeper(t, func(tb testing.TB) (gateway.Keeper, func() gateway.Keeper) {
			dir, err := statedir.Open(filepath.Join(tb.TempDir(), "state"))
			require.NoError(tb, err)
			tb.Cleanup(func() { require.NoError(tb, dir.Close()) })
			return open(tb, dir, "gw1"), func() gateway.Keeper { return open(tb, dir, "gw1") }
		})
	})
	t.Run("with keys of its caller", func(t *testing.T) {
		gatewaytest.RunKeeper(t, func(tb testing.TB) (gateway.Keeper, func() gateway.Keeper) {
			f, ring := newFiles(), seal.Ephemeral()
			again := func() gateway.Keeper {
				s, err := snapshot.New(snapshot.Config{Gateway: "gw1", Files: f, Keys: ring})
				require.NoError(tb, err)
				require.NotContains(tb, f.data, "snapshot.key")
				return s
			}
			return again(), again
		})
	})
}

// proves P15: what lies on the disk tells no secret and is nobody else's to read.
func TestFilesTellNothing(t *testing.T) {
	path := filepath.Join(t.TempDir(), "state")
	dir, err := statedir.Open(path)
	require.NoError(t, err)
	defer func() { require.NoError(t, dir.Close()) }()
	k := kept("office", 3)
	k.Config.Peers[1].Preshared = gatewaytest.PresharedKey(1)
	s := open(t, dir, "gw1")
	_, err = s.Load(t.Context())
	require.NoError(t, err)
	require.NoError(t, s.Keep(t.Context(), k))

	names, err := filepath.Glob(path + "/snapshot*")
	require.NoError(t, err)
	require.Equal(t, []string{path + "/snapshot-office", path + "/snapshot.index", path + "/snapshot.key"}, names)
	for _, name := range names {
		info, err := os.Stat(name)
		require.NoError(t, err)
		require.Equal(t, os.FileMode(0o600), info.Mode())
	}
	data, err := os.ReadFile(names[0])
	require.NoError(t, err)
	for _, secret := range [][32]byte{k.Config.Interface.Key.Reveal(), k.Config.Peers[1].Preshared.Reveal(), k.Config.Peers[0].Key} {
		require.False(t, bytes.Contains(data, secret[:]))
		require.NotContains(t, string(data), base64.StdEncoding.EncodeToString(secret[:])[:16])
		require.NotContains(t, string(data), base64.RawURLEncoding.EncodeToString(secret[:])[:16])
	}
}

// Every field of a Config is kept: one that is new fails here until it is.
func TestEveryFieldIsKept(t *testing.T) {
	k := kept("a", 1)
	i, p := &k.Config.Interface, &k.Config.Peers[0]
	i.Mark, i.Isolated, i.Floating = 7, true, floating("192.0.2.9", "2001:db8::9")
	i.Inner, i.Carried = floating("10.60.0.10", "fd60::10"), true
	i.Destinations = gatewaytest.Prefixes("10.60.0.0/16", "fd60::/64")
	p.Preshared, p.Keepalive = gatewaytest.PresharedKey(1), 25*time.Second
	require.NoError(t, p.Endpoint.UnmarshalText([]byte("[2001:db8::1%eth0]:7")))
	k.Siblings = []gateway.Sibling{{ID: "gw2", Addr: "192.0.2.2:7946"}, {ID: "gw3"}}
	for _, v := range []reflect.Value{
		reflect.ValueOf(k.Config), reflect.ValueOf(*i), reflect.ValueOf(*p), reflect.ValueOf(k.Config.Revision), reflect.ValueOf(k.Siblings[0]),
	} {
		for f := range v.Type().Fields() {
			if v.Type() == reflect.TypeFor[gateway.Sibling]() && f.Name == "Missing" {
				continue // it is of the moment: see gateway.Kept
			}
			require.False(t, v.FieldByIndex(f.Index).IsZero(), "set %s.%s here, and keep it: encode and decode, and a new version", v.Type(), f.Name)
		}
	}
	require.Equal(t, 5, reflect.TypeFor[gateway.Kept]().NumField(), "keep the new field of Kept, or say here why not")

	f := newFiles()
	require.NoError(t, open(t, f, "gw1").Keep(t.Context(), k))
	all, err := open(t, f, "gw1").Load(t.Context())
	require.NoError(t, err)
	require.NoError(t, all[0].Refused)
	require.True(t, k.Heard.Equal(all[0].Heard))
	require.Equal(t, k.Config, all[0].Config)
	require.Equal(t, k.Siblings, all[0].Siblings)
}

// What was refused because of how it was told comes back as it was told.
func TestNonsenseIsKeptAsItIs(t *testing.T) {
	k := kept("a", 2)
	k.Config.Interface.MTU = -1
	k.Config.Interface.Addrs[0] = gatewaytest.Prefixes("::ffff:10.0.0.1/112")[0]
	k.Config.Interface.Floating = append(floating("fe80::1%eth0", "::ffff:192.0.2.9", "192.0.2.9", "192.0.2.9"), netip.Addr{})
	k.Config.Interface.Inner = append(floating("fd60::10%eth0", "10.60.0.10", "10.60.0.10"), netip.Addr{})
	k.Config.Peers[0].Keepalive = -1
	k.Config.Peers[0].AllowedIPs[0] = gateway.Step{}.Route
	k.Config.Peers[1].Key = k.Config.Peers[0].Key
	f := newFiles()
	require.NoError(t, open(t, f, "gw1").Keep(t.Context(), k))
	all, err := open(t, f, "gw1").Load(t.Context())
	require.NoError(t, err)
	require.NoError(t, all[0].Refused)
	require.Equal(t, k.Config, all[0].Config)
}

func TestWhatIsNoGoodIsRefusedAndSetAside(t *testing.T) {
	flip := func(at int) func(t *testing.T, f *files) {
		return func(_ *testing.T, f *files) {
			data := f.data["snapshot-a"]
			data[(at+len(data))%len(data)] ^= 1
		}
	}
	replace := func(old, with string) func(t *testing.T, f *files) {
		return func(t *testing.T, f *files) {
			t.Helper()
			text := string(f.data["snapshot-a"])
			require.Contains(t, text, old)
			f.data["snapshot-a"] = []byte(strings.Replace(text, old, with, 1))
		}
	}
	for name, c := range map[string]struct {
		spoil func(t *testing.T, f *files)
		words string
	}{
		"the first byte":    {flip(0), "damaged"},
		"the version":       {flip(18), "snapshot/2"},
		"the key's name":    {flip(25), "add that key"},
		"the nonce":         {flip(45), "was changed"},
		"the middle":        {flip(150), "was changed"},
		"the last byte":     {flip(-1), "was changed"},
		"a newer version":   {replace("snapshot 3", "snapshot 4"), "a newer holdfast wrote it"},
		"an older version":  {replace("snapshot 3", "snapshot 2"), "was changed"},
		"no version ever":   {replace("snapshot 3", "snapshot 0"), "this software reads 1 to 3"},
		"an odd version":    {replace("snapshot 3", "snapshot 03"), "damaged"},
		"nothing":           {func(_ *testing.T, f *files) { f.data["snapshot-a"] = nil }, "damaged"},
		"the head alone":    {func(_ *testing.T, f *files) { f.data["snapshot-a"] = f.data["snapshot-a"][:20] }, "cut off"},
		"a half":            {func(_ *testing.T, f *files) { f.data["snapshot-a"] = f.data["snapshot-a"][:200] }, "cut off"},
		"more at the end":   {func(_ *testing.T, f *files) { f.data["snapshot-a"] = append(f.data["snapshot-a"], 'A') }, "was changed"},
		"another location":  {func(_ *testing.T, f *files) { f.data["snapshot-a"] = f.data["snapshot-b"] }, "another gateway or location"},
		"something foreign": {func(_ *testing.T, f *files) { f.data["snapshot-a"] = []byte("[Interface]\n") }, "not a snapshot"},
		"another gateway": {func(t *testing.T, f *files) {
			t.Helper()
			other := f.clone()
			require.NoError(t, open(t, other, "gw2").Keep(t.Context(), kept("a", 9)))
			f.data["snapshot-a"] = other.data["snapshot-a"]
		}, "another gateway or location"},
	} {
		t.Run(name, func(t *testing.T) {
			f := filled(t)
			c.spoil(t, f)
			bad := bytes.Clone(f.data["snapshot-a"])
			s := open(t, f, "gw1")
			good, refused, err := load(t, s)
			require.NoError(t, err)
			require.Equal(t, map[gateway.LocationID]int{"b": 2, "c/d": 3}, good, "others are affected")
			require.Len(t, refused, 1)
			require.Contains(t, refused["a"], "snapshot-a is refused, and set aside as snapshot-a.refused")
			require.Contains(t, refused["a"], c.words)
			require.Equal(t, string(bad), string(f.data["snapshot-a.refused"]))
			require.NotContains(t, f.data, "snapshot-a")

			// It was served here, whatever became of the file.
			_, refused, err = load(t, open(t, f, "gw1"))
			require.NoError(t, err)
			require.Contains(t, refused["a"], "there is no file snapshot-a")
			require.NoError(t, s.Keep(t.Context(), kept("a", 5)))
			good, refused, err = load(t, open(t, f, "gw1"))
			require.NoError(t, err)
			require.Empty(t, refused)
			require.Equal(t, 5, good["a"])
		})
	}
}

// Where a gateway's name ends and a location's begins is not to be shifted.
func TestNamesDoNotRunTogether(t *testing.T) {
	ring := seal.Ephemeral()
	keep := func(id gateway.ID, at gateway.LocationID) (*files, *snapshot.Store) {
		f := newFiles()
		s, err := snapshot.New(snapshot.Config{Gateway: id, Files: f, Keys: ring})
		require.NoError(t, err)
		require.NoError(t, s.Keep(t.Context(), kept(at, 1)))
		return f, s
	}
	mine, s := keep(`gw`, `b"/"a`)
	theirs, _ := keep(`gw"/"b`, `a`)
	for name := range mine.data {
		if name != "snapshot.index" {
			mine.data[name] = theirs.data["snapshot-a"]
		}
	}
	good, refused, err := load(t, s)
	require.NoError(t, err)
	require.Empty(t, good)
	require.Contains(t, refused[`b"/"a`], "another gateway or location")
}

func TestALostKeyLosesOnlyWhatItSealed(t *testing.T) {
	for name, c := range map[string]struct {
		spoil func(f *files)
		err   string
	}{
		"missing": {func(f *files) { delete(f.data, "snapshot.key") }, ""},
		"damaged": {func(f *files) { f.data["snapshot.key"] = []byte("hfkey1.nonsense\n") }, "snapshot.key is refused, and set aside as snapshot.key.refused"},
		"empty":   {func(f *files) { f.data["snapshot.key"] = nil }, "there is no key"},
		"another": {func(f *files) { f.data["snapshot.key"] = []byte(seal.NewKey().RevealText()) }, ""},
	} {
		t.Run(name, func(t *testing.T) {
			f := filled(t)
			c.spoil(f)
			s := open(t, f, "gw1")
			good, refused, err := load(t, s)
			if c.err != "" {
				require.ErrorContains(t, err, c.err)
				require.NotContains(t, err.Error(), "nonsense", "it quotes what may be a secret")
			} else {
				require.NoError(t, err)
			}
			require.Empty(t, good)
			require.Len(t, refused, 3)
			require.Contains(t, refused["c/d"], "which is not in the ring")
			require.NoError(t, s.Keep(t.Context(), kept("a", 4)))
			good, _, err = load(t, open(t, f, "gw1"))
			require.NoError(t, err)
			require.Equal(t, map[gateway.LocationID]int{"a": 4}, good)
		})
	}
}

func TestADamagedIndexLosesOnlyItsLines(t *testing.T) {
	for name, c := range map[string]struct {
		spoil func(string) string
		err   string
		good  int
	}{
		"a line":      {func(s string) string { return strings.Replace(s, `"b"`, `"b`, 1) }, "line 3", 2},
		"cut off":     {func(s string) string { return s[:len(s)-2] }, "its end is missing", 2},
		"its head":    {func(s string) string { return s[1:] }, "its first line", 3},
		"a newer one": {func(s string) string { return strings.Replace(s, "snapshots 1", "snapshots 2", 1) }, "another version", 3},
		"nothing":     {func(string) string { return "" }, "its first line", 0},
	} {
		t.Run(name, func(t *testing.T) {
			f := filled(t)
			f.data["snapshot.index"] = []byte(c.spoil(string(f.data["snapshot.index"])))
			good, refused, err := load(t, open(t, f, "gw1"))
			require.ErrorContains(t, err, c.err)
			require.ErrorContains(t, err, "snapshot.index.refused")
			require.Empty(t, refused)
			require.Len(t, good, c.good)
			require.Contains(t, f.data, "snapshot.index.refused")
			_, _, err = load(t, open(t, f, "gw1"))
			require.NoError(t, err, "it is said once")
		})
	}
	f := filled(t)
	delete(f.data, "snapshot.index")
	_, _, err := load(t, open(t, f, "gw1"))
	require.ErrorContains(t, err, "snapshot.index is missing")
}

// After a crash at any moment there is what was or what is, and it can go on.
func TestACrashAtAnyMoment(t *testing.T) {
	began := map[string]func(*testing.T) *files{
		"a new directory": func(*testing.T) *files { return newFiles() },
		"one in use":      func(t *testing.T) *files { t.Helper(); return filled(t) },
		"a damaged one": func(t *testing.T) *files {
			t.Helper()
			f := filled(t)
			f.data["snapshot-a"], f.data["snapshot.index"] = f.data["snapshot-b"], f.data["snapshot.index"][:25]
			return f
		},
	}
	for name, begin := range began {
		t.Run(name, func(t *testing.T) {
			for n := range 100 {
				f := begin(t)
				f.left = n
				s := open(t, f, "gw1")
				_, errLoad := s.Load(t.Context())
				errKeep := s.Keep(t.Context(), kept("new", 8))
				errAgain := s.Keep(t.Context(), kept("new", 9))
				errForget := s.Forget(t.Context(), "b")
				crashed := errors.Is(errors.Join(errLoad, errKeep, errAgain, errForget), errCrash)

				f = f.clone()
				s = open(t, f, "gw1")
				good, refused, _ := load(t, s)
				switch {
				case errAgain == nil:
					require.Equal(t, 9, good["new"])
				case errKeep == nil:
					require.Equal(t, 8, good["new"])
				case good["new"] != 0:
					require.Equal(t, 8, good["new"])
				}
				if errForget == nil {
					require.NotContains(t, good, gateway.LocationID("b"))
					require.NotContains(t, refused, gateway.LocationID("b"))
				}
				require.NoError(t, s.Keep(t.Context(), kept("later", 1)))
				good, _, err := load(t, open(t, f, "gw1"))
				require.NoError(t, err)
				require.Equal(t, 1, good["later"])
				if !crashed {
					t.Log("crashed at each of", n, "changes of files")
					return
				}
			}
			t.Fatal("it never came to an end")
		})
	}
}

func TestErrorsNameTheFile(t *testing.T) {
	f := filled(t)
	f.left = 0
	s := open(t, f, "gw1")
	err := s.Keep(t.Context(), kept("a", 1))
	require.ErrorIs(t, err, errCrash)
	require.ErrorContains(t, err, "snapshot: write snapshot-a")
	require.ErrorContains(t, s.Keep(t.Context(), kept("n", 1)), "snapshot: write snapshot.index")
	require.ErrorContains(t, s.Forget(t.Context(), "a"), "snapshot: remove snapshot-a")
	f.err = errors.New("no rights")
	_, err = open(t, f, "gw1").Load(t.Context())
	require.ErrorContains(t, err, "snapshot: read snapshot.index: no rights")
	require.ErrorContains(t, err, "snapshot: read snapshot.key: no rights")
	require.ErrorContains(t, open(t, f, "gw1").Keep(t.Context(), kept("a", 1)), "no rights", "it forgets what it could not read")
	require.ErrorContains(t, open(t, f, "gw1").Forget(t.Context(), "a"), "the machine went down")
	f.err, f.left = nil, -1
	require.NoError(t, s.Keep(t.Context(), kept("n", 1)), "it does not recover")
}

func TestNewNamesWhatIsMissing(t *testing.T) {
	_, err := snapshot.New(snapshot.Config{Files: newFiles()})
	require.ErrorContains(t, err, "Config.Gateway")
	_, err = snapshot.New(snapshot.Config{Gateway: "gw1"})
	require.ErrorContains(t, err, "Config.Files")
}

func TestLoadEndsWithItsContext(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	_, err := open(t, filled(t), "gw1").Load(ctx)
	require.ErrorIs(t, err, context.Canceled)
}

// A gateway that is upgraded while its core is away goes on from the files of the
// versions before. Those in testdata were written by them.
func TestFilesOfTheVersionsBeforeAreRead(t *testing.T) {
	want := kept("office", 2)
	i, p := &want.Config.Interface, want.Config.Peers
	i.Mark, i.Isolated = 7, true
	i.Destinations = gatewaytest.Prefixes("10.60.0.0/16", "fd60::/64")
	p[0].Preshared, p[0].Keepalive = gatewaytest.PresharedKey(1), 25*time.Second
	p[1].Endpoint = netip.MustParseAddrPort("[2001:db8::1]:7")
	filesAreRead(t, 1, want)
	i.Floating = floating("192.0.2.9", "2001:db8::9")
	want.Siblings = []gateway.Sibling{{ID: "gw2", Addr: "192.0.2.2:7946"}, {ID: "gw3"}}
	filesAreRead(t, 2, want)
}

func filesAreRead(t *testing.T, version int, want gateway.Kept) {
	t.Helper()
	f := newFiles()
	for _, name := range []string{"snapshot-office", "snapshot.index", "snapshot.key"} {
		data, err := os.ReadFile(filepath.Join("testdata", fmt.Sprintf("version%d", version), name))
		require.NoError(t, err)
		f.data[name] = data
	}
	require.True(t, bytes.HasPrefix(f.data["snapshot-office"], fmt.Appendf(nil, "holdfast snapshot %d\n", version)))
	for range 2 {
		all, err := open(t, f, "gw1").Load(t.Context())
		require.NoError(t, err)
		require.Len(t, all, 1)
		require.NoError(t, all[0].Refused)
		require.True(t, all[0].Heard.Equal(want.Heard))
		require.Equal(t, want.Config, all[0].Config)
		require.Equal(t, want.Siblings, all[0].Siblings)

		require.NoError(t, open(t, f, "gw1").Keep(t.Context(), all[0]))
		require.True(t, bytes.HasPrefix(f.data["snapshot-office"], []byte("holdfast snapshot 3\n")), "it is written as of today")
	}
}
