package seal_test

import (
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/holdfastvpn/holdfast/vpn/seal"
)

func TestKeysAreKeptAsText(t *testing.T) {
	first, second := seal.NewKey(), seal.NewKey()
	text := "# keys of the office\n\n" + first.RevealText() + "\n  " + second.RevealText() + "  \r\n"
	keys, err := seal.ParseKeys([]byte(text))
	require.NoError(t, err)
	require.Equal(t, []seal.Key{first, second}, keys)
	require.Empty(t, seal.Key{}.RevealText())

	good := first.RevealText()
	for name, bad := range map[string]string{
		"nothing":         "# only words\n",
		"another prefix":  strings.Replace(good, "hfkey1", "hfkey2", 1),
		"too short":       good[:len(good)-2],
		"too long":        good + "AAAA",
		"no base64":       good[:len(good)-1] + "!",
		"all zero":        seal.NewKey().RevealText()[:7] + strings.Repeat("A", 43),
		"two on one line": good + " " + good,
		"a long line":     strings.Repeat("x", 100_000),
	} {
		_, err := seal.ParseKeys([]byte(second.RevealText() + "\n" + bad))
		if name == "nothing" {
			_, err = seal.ParseKeys([]byte(bad))
		}
		require.Error(t, err, name)
		require.NotContains(t, err.Error(), good[7:20], name)
	}
}

func FuzzParseKeys(f *testing.F) {
	f.Add([]byte(seal.KeyFrom([32]byte{1}).RevealText()))
	f.Fuzz(func(t *testing.T, text []byte) {
		keys, err := seal.ParseKeys(text)
		if err != nil {
			return
		}
		var again strings.Builder
		for _, k := range keys {
			again.WriteString(k.RevealText() + "\n")
		}
		back, err := seal.ParseKeys([]byte(again.String()))
		require.NoError(t, err)
		require.Equal(t, keys, back)
	})
}
