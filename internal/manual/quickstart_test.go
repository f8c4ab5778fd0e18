//go:build linux

package manual_test

import (
	"context"
	"errors"
	"net/netip"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/holdfastvpn/holdfast/internal/testnet"
	"github.com/holdfastvpn/holdfast/internal/testnet/scene"
)

func TestMain(m *testing.M) { testnet.Main(m) }

// masks are what differs from run to run.
var masks = []struct {
	of  *regexp.Regexp
	now string
}{
	{regexp.MustCompile(`'holdfast://[^']+'`), "'TOKEN'"},
	{regexp.MustCompile(`[A-Za-z0-9+/]{43}=|…`), "KEY"},
	{regexp.MustCompile(`\b20\d\d-\d\d-\d\d[ T]\d\d:\d\d:\d\d(\.\d+)?Z`), "TIME"},
	{regexp.MustCompile(`\b[a-z][a-z2-7]{19,25}\b`), "ID"},
	{regexp.MustCompile(`\b[0-9a-f]{4}\.\d+\b`), "REVISION"},
	{regexp.MustCompile(`\d+(\.\d+)? (B|KiB)\b`), "SIZE"},
	{regexp.MustCompile(`\d+ s\b`), "AGE"},
	{regexp.MustCompile(`(192\.0\.2\.\d+:)\d{5}\b`), "${1}PORT"},
	{regexp.MustCompile(`\b(userspace|kernel)\b`), "BACKEND"},
	{regexp.MustCompile(`skew=\S+|software="[^"]*"`), "VERSION"},
	{regexp.MustCompile(` {2,}`), "  "},
}

func masked(s string) string {
	for _, m := range masks {
		s = m.of.ReplaceAllString(s, m.now)
	}
	return s
}

// What docs/quickstart.md tells to type is typed, on machines that have nothing but
// the binaries, and prints what the page shows.
func TestQuickstart(t *testing.T) {
	testnet.Need(t, testnet.Netns, testnet.TUN, testnet.Nftables)
	text := page(t, "docs/quickstart.md")
	s := newSite(t)
	var did []string
	said, last := "", ""
	for _, b := range blocks(text) {
		words := strings.SplitN(b.info, " ", 4)
		switch {
		case b.info == "text":
			for line := range strings.Lines(masked(b.text)) {
				require.Contains(t, masked(said), strings.TrimSpace(line), "what the page shows of %v", did)
			}
		case len(words) < 3 || words[1] != "quickstart":
			said = ""
			continue
		case words[2] == "build":
			said = s.build(t, b.text)
			did = append(did, "build")
		case words[2] == "laptop":
			s.laptop(t)
			did = append(did, "laptop")
		case len(words) == 4:
			said = s.start(t, words[2], b.text, strings.TrimPrefix(words[3], "until "))
			did = append(did, words[2]+" runs")
		default:
			said = s.typed(t, words[2], b.text)
			last = said
			did = append(did, words[2])
		}
	}
	require.Equal(t, []string{
		"build", "core runs", "core", "core", "gw1 runs", "core", "gw2 runs", "core", "laptop", "core",
	}, did, "the parts of the page")
	require.Contains(t, last, "2/2 gateways, 1 of 1 peers active", "the overview is the last thing on the page")
	require.Equal(t, 2, strings.Count(last, " connected "))
	s.metrics(t)
}

// laptop sets up a tunnel from the profile that was printed.
func (s *site) laptop(t *testing.T) {
	t.Helper()
	require.NotEmpty(t, s.profile, "no profile was printed")
	up, err := scene.Up(t.Context(), scene.TunnelConfig{
		Host: s.host(t, "laptop").Host, Text: strings.Replace(s.profile, "vpn.example.org", "192.0.2.7", 1), // there is no DNS
	})
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, up.Down(context.WithoutCancel(t.Context()))) })
	testnet.Eventually(t, 20*time.Second, func() error {
		now, err := s.try(t, "core", "holdfast overview")
		if err == nil && (!strings.Contains(now, "2/2 gateways, 1 of 1 peers active") || strings.Count(now, "✓") != 2) {
			err = errors.New(now)
		}
		return err
	})
}

// addresses are those of the page.
func addresses() map[string]netip.Prefix {
	return map[string]netip.Prefix{
		"core":   netip.MustParsePrefix("192.0.2.1/24"),
		"gw1":    netip.MustParsePrefix("192.0.2.7/24"),
		"gw2":    netip.MustParsePrefix("192.0.2.8/24"),
		"laptop": netip.MustParsePrefix("192.0.2.40/24"),
	}
}

// The tables of docs/operating.md have the metrics that the daemons serve, and no
// others.
func (s *site) metrics(t *testing.T) {
	t.Helper()
	served := s.typed(t, "core", "curl -sS http://127.0.0.1:7945/metrics") + s.typed(t, "gw1", "curl -sS http://127.0.0.1:7947/metrics")
	var have []string
	for line := range strings.Lines(served) {
		if f := strings.Fields(line); strings.HasPrefix(line, "# TYPE holdfast_") {
			have = append(have, f[2])
		}
	}
	var told []string
	for _, m := range regexp.MustCompile("(?m)^\\| `(holdfast_[a-z_]+)`").FindAllStringSubmatch(page(t, "docs/operating.md"), -1) {
		told = append(told, m[1])
	}
	slices.Sort(have)
	slices.Sort(told)
	require.NotEmpty(t, have)
	require.Equal(t, have, told, "the metrics of docs/operating.md")
}
