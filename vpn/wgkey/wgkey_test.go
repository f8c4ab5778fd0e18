package wgkey_test

import (
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"os/exec"
	"slices"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"

	"github.com/holdfastvpn/holdfast/vpn/wgkey"
)

// The key pair of Alice in RFC 7748, section 6.1.
const (
	alicePrivate = "77076d0a7318a57d3c16c17251b26645df4c2f87ebc0992ab177fba51db92c2a"
	alicePublic  = "8520f0098930a754748b7ddcb43ef75a0dbf3a0d26381af4eba4a98eaa9b4e6a"
)

func raw(t *testing.T, s string) [wgkey.Size]byte {
	t.Helper()
	b, err := hex.DecodeString(s)
	require.NoError(t, err)
	return [wgkey.Size]byte(b)
}

func TestPublicIsThatOfTheRFC(t *testing.T) {
	got := wgkey.PrivateFrom(raw(t, alicePrivate)).Public()
	require.Equal(t, alicePublic, hex.EncodeToString(got[:]))
}

func TestPrivateIsClamped(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		b := [wgkey.Size]byte(rapid.SliceOfN(rapid.Byte(), wgkey.Size, wgkey.Size).Draw(t, "bytes"))
		k := wgkey.PrivateFrom(b)
		got := k.Reveal()
		if b == [wgkey.Size]byte{} {
			require.True(t, k.IsZero())
			return
		}
		require.Zero(t, got[0]&7)
		require.EqualValues(t, 64, got[31]&192)
		require.Equal(t, b[1:31], got[1:31])
		require.Equal(t, k, wgkey.PrivateFrom(got), "clamping a second time changes nothing")
	})
}

func TestNewKeysDiffer(t *testing.T) {
	private, preshared, public := map[wgkey.Private]bool{{}: true}, map[wgkey.Preshared]bool{{}: true}, map[wgkey.Public]bool{{}: true}
	for range 3 {
		k := wgkey.NewPrivate()
		private[k], public[k.Public()], preshared[wgkey.NewPreshared()] = true, true, true
	}
	require.Len(t, private, 4)
	require.Len(t, public, 4)
	require.Len(t, preshared, 4)
}

func TestZero(t *testing.T) {
	require.True(t, wgkey.Public{}.IsZero())
	require.True(t, wgkey.Private{}.IsZero())
	require.True(t, wgkey.Preshared{}.IsZero())
	require.True(t, wgkey.Private{}.Public().IsZero(), "no key has no public half")
	require.True(t, wgkey.PrivateFrom([wgkey.Size]byte{}).IsZero())
	require.True(t, wgkey.PresharedFrom([wgkey.Size]byte{}).IsZero())
	require.Equal(t, [wgkey.Size]byte{}, wgkey.Private{}.Reveal())
	require.Equal(t, strings.Repeat("A", 43)+"=", wgkey.Preshared{}.RevealText())
}

func TestThereAndBack(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		b := [wgkey.Size]byte(rapid.SliceOfN(rapid.Byte(), wgkey.Size, wgkey.Size).Draw(t, "bytes"))
		b[5] |= 1 // not zero
		public, err := wgkey.ParsePublic(wgkey.Public(b).String())
		require.NoError(t, err)
		require.Equal(t, wgkey.Public(b), public)

		private, err := wgkey.ParsePrivate(wgkey.PrivateFrom(b).RevealText())
		require.NoError(t, err)
		require.Equal(t, wgkey.PrivateFrom(b), private)

		preshared, err := wgkey.ParsePreshared(wgkey.PresharedFrom(b).RevealText())
		require.NoError(t, err)
		require.Equal(t, b, preshared.Reveal())
	})
}

// Keys are compared and used as map keys by value.
func TestSecretsAreComparable(t *testing.T) {
	a, b := wgkey.PresharedFrom([wgkey.Size]byte{1}), wgkey.PresharedFrom([wgkey.Size]byte{1})
	require.Len(t, map[wgkey.Preshared]bool{a: true, b: true, wgkey.PresharedFrom([wgkey.Size]byte{2}): true}, 2)
}

func TestParseRefuses(t *testing.T) {
	good := wgkey.NewPrivate().RevealText()
	for name, s := range map[string]string{
		"nothing":          "",
		"short":            good[1:],
		"long":             good + "A",
		"no padding":       good[:43] + "A",
		"a space":          " " + good[:43],
		"a newline":        good[:20] + "\n" + good[21:],
		"URL alphabet":     strings.Repeat("-", 43) + "=",
		"hex":              strings.Repeat("ab", 22),
		"31 bytes":         base64.StdEncoding.EncodeToString(make([]byte, 31)),
		"33 bytes":         base64.StdEncoding.EncodeToString(make([]byte, 33)),
		"stray low bits":   strings.Repeat("A", 42) + "B=",
		"not ASCII at all": strings.Repeat("ä", 22),
	} {
		t.Run(name, func(t *testing.T) {
			_, err := wgkey.ParsePublic(s)
			require.ErrorIs(t, err, wgkey.ErrInvalid)
			_, err = wgkey.ParsePrivate(s)
			require.ErrorIs(t, err, wgkey.ErrInvalid)
			_, err = wgkey.ParsePreshared(s)
			require.ErrorIs(t, err, wgkey.ErrInvalid)
		})
	}
	zero := wgkey.Public{}.String()
	_, err := wgkey.ParsePublic(zero)
	require.ErrorIs(t, err, wgkey.ErrInvalid)
	_, err = wgkey.ParsePrivate(zero)
	require.ErrorIs(t, err, wgkey.ErrInvalid)
	none, err := wgkey.ParsePreshared(zero)
	require.NoError(t, err, "a preshared key of zeros means none")
	require.True(t, none.IsZero())
}

func TestPublicMarshals(t *testing.T) {
	type row struct {
		Key  wgkey.Public `json:"key"`
		None wgkey.Public `json:"none"`
	}
	want := row{Key: wgkey.NewPrivate().Public()}
	text, err := json.Marshal(want)
	require.NoError(t, err)
	require.Contains(t, string(text), want.Key.String())
	var got row
	require.NoError(t, json.Unmarshal(text, &got))
	require.Equal(t, want, got)
	require.ErrorIs(t, json.Unmarshal([]byte(`{"key":"x"}`), &got), wgkey.ErrInvalid)
	require.Equal(t, want, got, "a failure changes nothing")
}

func TestCompareIsTheOrderOfBytes(t *testing.T) {
	keys := []wgkey.Public{{2}, {1, 255}, {1}, {0, 9}}
	slices.SortFunc(keys, wgkey.Public.Compare)
	require.Equal(t, []wgkey.Public{{0, 9}, {1}, {1, 255}, {2}}, keys)
}

// The real tool makes the same public keys.
func TestPublicIsThatOfTheRealTool(t *testing.T) {
	tool, err := exec.LookPath("wg")
	if err != nil {
		lacking(t, "wg", "apt-get install --no-install-recommends wireguard-tools")
	}
	for range 5 {
		k := wgkey.NewPrivate()
		cmd := exec.CommandContext(t.Context(), tool, "pubkey")
		cmd.Stdin = strings.NewReader(k.RevealText())
		out, err := cmd.Output()
		require.NoError(t, err)
		require.Equal(t, k.Public().String(), strings.TrimSpace(string(out)))
	}
}

func fuzzSeeds(f *testing.F) {
	f.Add("")
	f.Add(wgkey.Public{}.String())
	f.Add("YAnz5TF+lXXJte14tji3zlMNq+hd2rYUIgJBgB3fBmk=")
	f.Add(strings.Repeat("A", 42) + "B=")
	f.Add("YAnz5TF+lXXJte14tji3zlMNq+hd2rYU\nIgJBgB3fBmk")
}

func FuzzParsePublic(f *testing.F) {
	fuzzSeeds(f)
	f.Fuzz(func(t *testing.T, s string) {
		k, err := wgkey.ParsePublic(s)
		if err != nil {
			require.ErrorIs(t, err, wgkey.ErrInvalid)
			require.True(t, k.IsZero())
			return
		}
		require.Equal(t, s, k.String(), "each key has one text")
	})
}

func FuzzParsePrivate(f *testing.F) {
	fuzzSeeds(f)
	f.Fuzz(func(t *testing.T, s string) {
		k, err := wgkey.ParsePrivate(s)
		if err != nil {
			require.ErrorIs(t, err, wgkey.ErrInvalid)
			require.True(t, k.IsZero())
			if len(s) > 8 {
				require.NotContains(t, err.Error(), s)
			}
			return
		}
		require.False(t, k.Public().IsZero())
		again, err := wgkey.ParsePrivate(k.RevealText())
		require.NoError(t, err)
		require.Equal(t, k, again)
	})
}
