//go:build linux

package main

import (
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/holdfastvpn/holdfast/internal/testnet"
	"github.com/holdfastvpn/holdfast/internal/testnet/vm"
)

// One series is really measured: the file has the lab's figures and the machine's facts.
func TestMeasured(t *testing.T) {
	testnet.Need(t, testnet.Netns, testnet.TUN, testnet.Nftables)
	file := filepath.Join(t.TempDir(), "slo.json")
	var stdout, stderr strings.Builder
	require.Equal(t, exitOK, run([]string{"-runs", "1", "-o", file, "failover-userspace"}, &stdout, &stderr), "%s%s", &stdout, &stderr)
	b, err := os.ReadFile(file)
	require.NoError(t, err)
	var r Report
	require.NoError(t, json.Unmarshal(b, &r))
	require.True(t, r.OK)
	require.Len(t, r.Series, 1)
	require.Equal(t, "userspace", r.Series[0].Backend)
	require.Positive(t, r.Series[0].Figures[takeover].Max)
	require.Positive(t, r.Series[0].Figures[outage].Max)
	require.Positive(t, r.Machine.CPUs)
	require.Positive(t, r.Machine.Memory)
	require.NotEmpty(t, r.Machine.Kernel)
	info, err := os.Stat(file)
	require.NoError(t, err)
	require.Equal(t, os.FileMode(0o644), info.Mode())
}

// The lab has every scenario that is measured.
func TestSeriesAreOfTheLab(t *testing.T) {
	lab, err := vm.Build(t.Context(), labPackage)
	require.NoError(t, err)
	list := said(t.Context(), lab, "-list")
	for _, s := range all() {
		require.Regexp(t, `(?m)^\s*`+s.scenario+` `, list, s.Name)
	}
}
