package gatewaytest

import (
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/holdfastvpn/holdfast/gateway"
)

func reportCases() []originCase {
	return []originCase{
		{"the first report of a process has to be full", fullFirst},
		{"a report may be repeated", reportAgain},
		{"a report of a process that was is ignored", oldProcess},
	}
}

func fullFirst(tb testing.TB, o Origin) {
	id, at := office(o, 1)
	part, full := gateway.Status{Epoch: 5}, gateway.Status{Epoch: 5, Full: true}
	require.ErrorIs(tb, o.Report(tb.Context(), id, at, part), gateway.ErrGap)
	require.NoError(tb, o.Report(tb.Context(), id, at, full))
	require.NoError(tb, o.Report(tb.Context(), id, at, part))
	part.Epoch++ // the process was started again
	require.ErrorIs(tb, o.Report(tb.Context(), id, at, part), gateway.ErrGap)
	full.Epoch++
	require.NoError(tb, o.Report(tb.Context(), id, at, full))
	require.NoError(tb, o.Report(tb.Context(), id, at, part))
}

func reportAgain(tb testing.TB, o Origin) {
	id, at := office(o, 1)
	s := gateway.Status{Epoch: 5, Full: true, Applied: o.Config(at).Revision, Ready: true}
	for range 3 {
		require.NoError(tb, o.Report(tb.Context(), id, at, s))
	}
}

func oldProcess(tb testing.TB, o Origin) {
	id, at := office(o, 1)
	require.NoError(tb, o.Report(tb.Context(), id, at, gateway.Status{Epoch: 5, Full: true}))
	require.NoError(tb, o.Report(tb.Context(), id, at, gateway.Status{Epoch: 4, Full: true}), "stale is no error")
	require.NoError(tb, o.Report(tb.Context(), id, at, gateway.Status{Epoch: 5}), "the old process took over")
}
