package manual_test

import (
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/holdfastvpn/holdfast/internal/input"
)

// The table "stop this, expect that" promises what scenarios of the lab show: each
// row is one, and each scenario is in it.
func TestEveryScenarioIsInTheTable(t *testing.T) {
	const lab = "./internal/testnet/lab"
	require.NoError(t, input.Declare(t.Context(), root, lab))
	cmd := exec.CommandContext(t.Context(), "go", "run", lab, "-list")
	cmd.Dir = root
	out, err := cmd.Output()
	require.NoError(t, err)
	var have []string
	for line := range strings.Lines(string(out)) {
		have = append(have, strings.Fields(line)[0])
	}
	_, table, found := strings.Cut(page(t, "docs/operating.md"), "\n| Stop, break or do | Expect | Scenario |\n")
	require.True(t, found, "the table is not there")
	var told []string
	for _, m := range regexp.MustCompile("(?m)^\\| .* \\| `([a-z0-9-]+)` \\|$").FindAllStringSubmatch(table, -1) {
		told = append(told, m[1])
	}
	slices.Sort(have)
	slices.Sort(told)
	require.NotEmpty(t, have)
	require.Equal(t, have, told)
}

// A kind of event that the code has is explained.
func TestEveryEventIsExplained(t *testing.T) {
	text, kinds := page(t, "docs/operating.md"), 0
	for _, pattern := range []string{"vpn/*.go", "transport/adminrpc/*.go"} {
		files, err := filepath.Glob(filepath.Join(root, pattern))
		require.NoError(t, err)
		for _, file := range files {
			if strings.HasSuffix(file, "_test.go") {
				continue
			}
			code := page(t, strings.TrimPrefix(file, root))
			for _, m := range regexp.MustCompile(`(?m)^(?:const )?\t?\w+ += "((?:location|device|owner|gateway|token|core)\.[a-z-]+)"`).FindAllStringSubmatch(code, -1) {
				kinds++
				require.Contains(t, text, "`"+m[1]+"`", "%s has this event", file)
			}
		}
	}
	require.Greater(t, kinds, 15)
}

// What the page of the units installs is there, and the units say what they have to.
func TestUnits(t *testing.T) {
	files := regexp.MustCompile(`(?m)^install -m 0644 (\S+) /etc/`).FindAllStringSubmatch(page(t, "examples/systemd/README.md"), -1)
	require.Len(t, files, 3)
	for _, f := range files {
		require.NotEmpty(t, page(t, "examples/systemd/"+f[1]))
	}
	gateway := page(t, "examples/systemd/gateway.service")
	for _, line := range []string{"Type=notify", "KillMode=process", "RuntimeDirectoryPreserve=yes", "WatchdogSec=30"} {
		require.Contains(t, gateway, "\n"+line+"\n")
	}
	require.NotContains(t, gateway, "PrivateTmp=")
}
