package join_test

import (
	"encoding/json"
	"fmt"
	"log/slog"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"

	"github.com/holdfastvpn/holdfast/transport"
	"github.com/holdfastvpn/holdfast/transport/join"
)

func sample() join.Token {
	return join.NewToken(join.Token{
		Identity:  transport.Identity{Deployment: "acme", Role: transport.Gateway, ID: "gw1"},
		Locations: []string{"office", "lab"}, Expires: time.Unix(1_900_000_000, 0).UTC(), Root: [32]byte{1, 2, 3},
		Cores: []string{"core.example.org:7946"},
	})
}

func TestTokenThereAndBack(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		in := join.NewToken(join.Token{
			Identity:  transport.Identity{Deployment: "acme", Role: transport.Proxy, ID: rapid.StringMatching(`[a-z0-9]{1,63}`).Draw(t, "id")},
			Locations: rapid.SliceOfN(rapid.String(), 0, 5).Draw(t, "locations"),
			Cores:     rapid.SliceOfN(rapid.StringMatching(`[a-z.]+:[0-9]+`), 0, 3).Draw(t, "cores"),
			Expires:   time.Unix(rapid.Int64Range(0, 1<<40).Draw(t, "expires"), 0).UTC(),
			Root:      [32]byte(rapid.SliceOfN(rapid.Byte(), 32, 32).Draw(t, "root")),
		})
		text := in.Reveal()
		require.Regexp(t, `^holdfast://join/[A-Za-z0-9_-]+$`, text, "one word in any shell")
		out, err := join.ParseToken(" " + text + "\n")
		require.NoError(t, err)
		require.Equal(t, in.Secret(), out.Secret())
		require.Equal(t, in.Identity, out.Identity)
		require.ElementsMatch(t, in.Locations, out.Locations)
		require.ElementsMatch(t, in.Cores, out.Cores)
		require.Equal(t, in.Expires, out.Expires)
		require.Equal(t, in.Root, out.Root)
		require.Equal(t, text, out.Reveal())
	})
}

func TestADamagedTokenIsNone(t *testing.T) {
	text := sample().Reveal()
	for i := range text {
		for _, bad := range []string{text[:i], text[:i] + text[i+1:], text[:i] + "\n" + text[i:], text[:i] + flip(text[i]) + text[i+1:]} {
			if strings.TrimSpace(bad) == text {
				continue
			}
			_, err := join.ParseToken(bad)
			require.ErrorIs(t, err, join.ErrToken, bad)
			require.NotContains(t, err.Error(), text[40:60])
		}
	}
}

func flip(c byte) string {
	if c == 'A' {
		return "B"
	}
	return "A"
}

// proves P15: a token does not print.
func TestTokensDoNotPrint(t *testing.T) {
	tok := sample()
	var log strings.Builder
	slog.New(slog.NewJSONHandler(&log, nil)).Info("x", "token", tok)
	for _, verb := range []string{"%v", "%+v", "%#v", "%s", "%x", "%q", "%d"} {
		for _, v := range []any{tok, &tok, []join.Token{tok}, join.VerifierOf(tok.Secret()), struct{ T join.Token }{tok}, join.Config{Token: tok}} {
			_, _ = fmt.Fprintf(&log, verb, v)
		}
	}
	secret := tok.Secret()
	require.Contains(t, log.String(), "holdfast://acme/gateway/gw1")
	require.NotContains(t, log.String(), tok.Reveal()[20:])
	require.NotContains(t, log.String(), fmt.Sprintf("%x", secret[:4]))
	require.NotContains(t, log.String(), fmt.Sprintf("%d %d %d", secret[0], secret[1], secret[2]))
	_, err := json.Marshal(tok)
	require.Error(t, err)
}

func FuzzParseToken(f *testing.F) {
	f.Add(sample().Reveal())
	f.Add("holdfast://join/")
	f.Fuzz(func(t *testing.T, s string) {
		tok, err := join.ParseToken(s)
		if err != nil {
			require.ErrorIs(t, err, join.ErrToken)
			return
		}
		again, err := join.ParseToken(tok.Reveal())
		require.NoError(t, err)
		require.Equal(t, tok.Reveal(), again.Reveal())
	})
}
