package archtest

import (
	"path"
	"slices"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

// reasoned: a page of decisions says what forced it, what was chosen and what that
// costs, within a page, and has its number alone.
func reasoned(texts map[string][]byte) (c complaints) {
	numbers := map[string]string{}
	for name, text := range texts {
		if path.Dir(name) != "docs/decisions" || path.Base(name) == "README.md" {
			continue
		}
		n, _, _ := strings.Cut(path.Base(name), "-")
		if other := numbers[n]; other != "" {
			c.addf("docs/decisions: %s has two pages", n)
		}
		numbers[n] = name
		page := string(text)
		if len(n) != 4 || !strings.HasPrefix(page, "# "+n+". ") {
			c.addf("%s: its first line has to be \"# NNNN. Title\", with the number of its name", name)
		}
		for _, part := range []string{"**Context.**", "**Choice.**", "**Price.**"} {
			if !strings.Contains(page, part) {
				c.addf("%s: lacks %s", name, part)
			}
		}
		if lines := strings.Count(page, "\n"); lines > 60 {
			c.addf("%s: %d lines are more than a page (60)", name, lines)
		}
	}
	slices.Sort(c)
	return c
}

func TestDecisionsHaveTheirReasons(t *testing.T) {
	all, err := tree()
	require.NoError(t, err)
	holds(t, reasoned(all.texts))
}

func TestReasonedFindsWhatIsPlanted(t *testing.T) {
	good := "# 0001. A\n\n**Context.** b **Choice.** c **Price.** d\n"
	require.Empty(t, reasoned(map[string][]byte{"docs/decisions/0001-a.md": []byte(good), "docs/decisions/README.md": nil}))
	for want, page := range map[string]string{
		"lacks **Price.**":  strings.ReplaceAll(good, "**Price.**", ""),
		"first line":        strings.ReplaceAll(good, "0001", "0002"),
		"more than a page":  good + strings.Repeat("\n", 60),
		"lacks **Context.*": strings.ReplaceAll(good, "Context", "Why"),
	} {
		got := reasoned(map[string][]byte{"docs/decisions/0001-a.md": []byte(page)})
		require.Len(t, got, 1, want)
		require.Contains(t, got[0], want)
	}
	got := reasoned(map[string][]byte{"docs/decisions/0001-a.md": []byte(good), "docs/decisions/0001-b.md": []byte(good)})
	require.Equal(t, complaints{"docs/decisions: 0001 has two pages"}, got)
}
