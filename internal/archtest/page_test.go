package archtest

import (
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

//go:generate go test -count=1 -run ^TestArchitecturePageIsFresh$ . -update

// page is the page that shows the tables of this package.
const page = "docs/architecture.md"

var update = flag.Bool("update", false, "write the tables into "+page)

// importTable shows the rows that are there, then those that are planned.
func importTable(rows []row) string {
	var b strings.Builder
	for _, planned := range []bool{false, true} {
		if planned {
			b.WriteString("\nPlanned, not in the tree yet:\n\n")
		}
		b.WriteString("| Package | What it is | May import (of ours) |\n|---|---|---|\n")
		for _, r := range rows {
			if r.planned != planned {
				continue
			}
			may := "nothing"
			if len(r.may) > 0 {
				may = "`" + strings.Join(r.may, "`, `") + "`"
			}
			fmt.Fprintf(&b, "| `%s` | %s | %s |\n", r.path, r.what, may)
		}
	}
	return b.String()
}

// put replaces what stands between the marks of a part of a page.
func put(text, part, table string) (string, error) {
	begin, end := "<!-- begin "+part+" -->\n", "<!-- end "+part+" -->\n"
	before, rest, ok := strings.Cut(text, begin)
	_, after, closed := strings.Cut(rest, end)
	if !ok || !closed {
		return "", fmt.Errorf("the page lacks the marks %q and %q", strings.TrimSpace(begin), strings.TrimSpace(end))
	}
	return before + begin + table + end + after, nil
}

func TestArchitecturePageIsFresh(t *testing.T) {
	file := filepath.Join(root, page)
	old, err := os.ReadFile(file)
	require.NoError(t, err)
	by, _ := proven(sources(t))

	text := string(old)
	for part, table := range map[string]string{"imports": importTable(table), "promises": promiseTable(by)} {
		before := text
		text, err = put(text, part, table)
		require.NoError(t, err)
		if text != before && !*update {
			t.Errorf("%s: the table of %s is stale; make generate writes it", page, part)
		}
	}
	if *update {
		require.NoError(t, os.WriteFile(file, []byte(text), 0o644))
	}
}

func TestPutChangesOnlyItsPart(t *testing.T) {
	text := "a\n<!-- begin x -->\nold\n<!-- end x -->\nb\n"
	got, err := put(text, "x", "new\n")
	require.NoError(t, err)
	require.Equal(t, "a\n<!-- begin x -->\nnew\n<!-- end x -->\nb\n", got)

	_, err = put(text, "y", "new\n")
	require.ErrorContains(t, err, "begin y")

	table := importTable([]row{{path: "a", what: "one"}, {path: "b", what: "two", may: []string{"a"}, planned: true}})
	require.Contains(t, table, "| `a` | one | nothing |\n\nPlanned")
	require.Contains(t, table, "| `b` | two | `a` |\n")
}
