package archtest

import (
	"testing"

	"github.com/stretchr/testify/require"
)

// holds fails with one complaint a line.
func holds(t *testing.T, c complaints) {
	t.Helper()
	for _, line := range c {
		t.Error(line)
	}
}

func TestImportsFollowTheTable(t *testing.T) { holds(t, imports(table, sources(t))) }

func TestTablePointsOneWay(t *testing.T) { holds(t, order(table)) }

func TestNobodyLinksWhatIsNotTheirs(t *testing.T) {
	sources(t) // go list reads them where go test does not see it; now the result is not kept when they change
	deps, err := linked(t.Context())
	require.NoError(t, err)
	require.NotEmpty(t, deps)
	holds(t, reached(reaches, deps))
}

func TestEveryExportedNameIsDocumented(t *testing.T) { holds(t, documented(sources(t))) }

func TestInterfacesAreSmall(t *testing.T) { holds(t, small(sources(t))) }

func TestDecidingFilesReadNoClock(t *testing.T) { holds(t, timeless(pure, sources(t))) }

func TestLibrariesAreSilent(t *testing.T) { holds(t, silent(sources(t))) }

func TestNobodySleeps(t *testing.T) { holds(t, awake(sources(t))) }

func TestSkipsAreTyped(t *testing.T) { holds(t, typed(sources(t))) }

func TestNoFolderOfOneMachine(t *testing.T) {
	all, err := tree()
	require.NoError(t, err)
	require.Contains(t, all.texts, "go.mod")
	holds(t, homeless(all.texts))
}
