package manual

import (
	"os/exec"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

// The table "stop this, expect that" promises what scenarios of the lab show: each
// row is one, and each scenario is in it.
func TestEveryScenarioIsInTheTable(t *testing.T) {
	cmd := exec.CommandContext(t.Context(), "go", "run", "./internal/testnet/lab", "-list")
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
	for _, m := range regexp.MustCompile("(?m)^\\| .* \\| `([a-z-]+)` \\|$").FindAllStringSubmatch(table, -1) {
		told = append(told, m[1])
	}
	slices.Sort(have)
	slices.Sort(told)
	require.NotEmpty(t, have)
	require.Equal(t, have, told)
}

// Flags that the pages for operators name are flags of a program.
func TestFilesOfTheUnitsAreThere(t *testing.T) {
	text := page(t, "examples/systemd/README.md")
	for _, m := range regexp.MustCompile(`(?m)^install .* (\S+) /etc/`).FindAllStringSubmatch(text, -1) {
		for file := range strings.FieldsSeq(m[1]) {
			require.NotEmpty(t, page(t, "examples/systemd/"+file))
		}
	}
}
