package wgkey_test

import (
	"bytes"
	"encoding/gob"
	"encoding/json"
	"encoding/xml"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"strings"
	"testing"
	"text/template"

	"github.com/stretchr/testify/require"

	"github.com/holdfastvpn/holdfast/vpn/wgkey"
)

// lacking skips, and says what is missing; where nothing may be skipped it fails.
func lacking(t *testing.T, what, how string) {
	t.Helper()
	if os.Getenv("HOLDFAST_REQUIRE") == "all" {
		t.Fatalf("missing: %s (%s)", what, how)
	}
	t.Skipf("missing: %s (%s)", what, how)
}

// closed has secrets where fmt may not call their methods.
type closed struct {
	private   wgkey.Private
	preshared *wgkey.Preshared
	list      []wgkey.Preshared
	byName    map[string]wgkey.Private
	any       any
}

// The bytes of the secrets are all 'P' but for what clamping changes, so that
// every way to write them is easy to look for.
func secrets() (wgkey.Private, wgkey.Preshared) {
	b := [wgkey.Size]byte(bytes.Repeat([]byte("P"), wgkey.Size))
	return wgkey.PrivateFrom(b), wgkey.PresharedFrom(b)
}

func requireHidden(t *testing.T, text, how string) {
	t.Helper()
	for _, trace := range []string{"PPP", "UFBQ", "50505050", "80 80", "80, 80", "0x50 0x50", "0x50, 0x50", "1010000 1010000", "120 120", "'P'", "U+0050"} {
		require.NotContains(t, strings.ReplaceAll(text, "\n", ""), trace, how)
	}
}

// proves P15: a secret shows under no verb, wherever it stands.
func TestSecretsDoNotPrint(t *testing.T) {
	private, preshared := secrets()
	for name, v := range map[string]any{
		"private":   private,
		"preshared": preshared,
		"pointer":   &private,
		"slice":     []wgkey.Preshared{preshared, preshared},
		"array":     [1]wgkey.Private{private},
		"map":       map[string]wgkey.Private{"k": private},
		"as a key":  map[wgkey.Private]int{private: 1},
		"field":     struct{ Key wgkey.Private }{private},
		"interface": struct{ Key any }{private},
		"closed":    closed{private, &preshared, []wgkey.Preshared{preshared}, map[string]wgkey.Private{"k": private}, private},
		"closed in": []any{&closed{private: private}},
		"error":     fmt.Errorf("key %v: %w", private, errors.New("bad")),
	} {
		for _, verb := range []string{"%v", "%+v", "%#v", "%s", "%q", "%x", "%X", "% x", "%#x", "%d", "%b", "%o", "%c", "%U", "%t", "%e", "%p", "%08.3f", "%!"} {
			requireHidden(t, fmt.Sprintf(verb, v), name+" with "+verb)
		}
		requireHidden(t, fmt.Sprint(v)+fmt.Sprintln(v), name)
	}
	require.Equal(t, "(secret)", private.String())
	require.Equal(t, "(secret)", fmt.Sprintf("%#v", preshared))
	require.Equal(t, "(secret)", private.GoString())
}

// proves P15: a log has no secret, whatever it is given.
func TestSecretsDoNotLog(t *testing.T) {
	private, preshared := secrets()
	for name, handler := range map[string]func(*bytes.Buffer) slog.Handler{
		"text": func(b *bytes.Buffer) slog.Handler { return slog.NewTextHandler(b, nil) },
		"json": func(b *bytes.Buffer) slog.Handler { return slog.NewJSONHandler(b, nil) },
	} {
		var out bytes.Buffer
		log := slog.New(handler(&out))
		log.Info("keys", "private", private, "preshared", preshared, "pointer", &private,
			"field", struct{ Key wgkey.Private }{private}, "closed", closed{private: private}, "list", []wgkey.Preshared{preshared})
		require.Contains(t, out.String(), "(secret)")
		requireHidden(t, out.String(), name)
	}
	var out bytes.Buffer
	err := template.Must(template.New("t").Parse("{{.}} {{printf \"%v\" .}}")).Execute(&out, private)
	require.NoError(t, err)
	requireHidden(t, out.String(), "template")
}

// proves P15: what would store a redacted key, and so lose it, fails instead.
func TestSecretsDoNotMarshal(t *testing.T) {
	private, preshared := secrets()
	for name, v := range map[string]any{
		"private": private, "preshared": preshared, "pointer": &private, "zero": wgkey.Private{},
		"field": struct{ Key wgkey.Private }{private}, "map": map[string]wgkey.Preshared{"k": preshared},
	} {
		_, err := json.Marshal(v)
		require.ErrorIs(t, err, wgkey.ErrSecret, name+" as JSON")
		_, err = xml.Marshal(v)
		require.Error(t, err, name+" as XML") // of nameless types it has an error of its own
		require.ErrorIs(t, gob.NewEncoder(&bytes.Buffer{}).Encode(v), wgkey.ErrSecret, name+" as gob")
	}
	_, err := private.MarshalText()
	require.ErrorIs(t, err, wgkey.ErrSecret)
	_, err = private.MarshalBinary()
	require.ErrorIs(t, err, wgkey.ErrSecret)
}

// A secret is not read from a row either: there is no form to read.
func TestSecretsDoNotUnmarshal(t *testing.T) {
	private, _ := secrets()
	var row struct {
		Key wgkey.Private `json:"key"`
	}
	require.Error(t, json.Unmarshal([]byte(`{"key":"`+private.RevealText()+`"}`), &row))
	require.True(t, row.Key.IsZero())
}

// proves P15: an error never has the text that was given for a secret.
func TestErrorsDoNotQuoteSecrets(t *testing.T) {
	private, _ := secrets()
	text := private.RevealText()
	for _, s := range []string{text[:43], text + "=", text[:42] + "!=", "x" + text} {
		_, err := wgkey.ParsePrivate(s)
		require.Error(t, err)
		requireHidden(t, err.Error(), s)
		_, err = wgkey.ParsePreshared(s)
		require.Error(t, err)
		requireHidden(t, err.Error(), s)
	}
}
