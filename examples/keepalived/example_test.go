//go:build linux

package keepalived_test

import (
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/holdfastvpn/holdfast/examples/keepalived"
	"github.com/holdfastvpn/holdfast/internal/testnet"
)

func TestMain(m *testing.M) { testnet.Main(m) }

// on is a machine with the links that the example names.
func on(t *testing.T) *testnet.Host {
	t.Helper()
	testnet.Need(t, testnet.Netns, testnet.Keepalived)
	n := testnet.ForTest(t)
	h, other := n.Host("gw"), n.Host("other")
	for _, link := range []string{"eth0", "eth1"} {
		require.NoError(t, n.Link(h, link, other, link))
	}
	require.NoError(t, h.Addr("eth0", netip.MustParsePrefix("192.0.2.11/24"), netip.MustParsePrefix("192.0.2.12/24")))
	return h
}

// check has keepalived test a configuration, as the operator is told to.
func check(t *testing.T, h *testnet.Host, machine, conf string) (out string, err error) {
	t.Helper()
	file := filepath.Join(t.TempDir(), "keepalived.conf")
	require.NoError(t, os.WriteFile(file, []byte(conf), 0o600))
	path, err := testnet.Command("keepalived")
	require.NoError(t, err)
	err = h.Do(func() error {
		b, err := exec.CommandContext(t.Context(), path, "-t", "-f", file, "--config-id", machine).CombinedOutput()
		out = string(b)
		return err
	})
	return out, err
}

// example is the configuration, for whom every machine has.
func example(t *testing.T) string {
	t.Helper()
	conf, err := keepalived.Conf(map[string]string{"ASKER": "root"})
	require.NoError(t, err)
	return conf
}

func TestKeepalivedAcceptsTheExample(t *testing.T) {
	h := on(t)
	for _, machine := range []string{"gw1", "gw2"} {
		out, err := check(t, h, machine, example(t))
		require.NoError(t, err, out)
		require.Empty(t, out, "not even a warning")
	}
}

// What is commented out has to be right, too.
func TestKeepalivedAcceptsWhatIsCommentedOut(t *testing.T) {
	h := on(t)
	conf := example(t)
	inner := strings.NewReplacer("# 10.99.0.10/32", "10.99.0.10/32", "# fd99::10/128", "fd99::10/128").Replace(conf)
	require.NotEqual(t, conf, inner)
	begin, end := strings.Index(conf, "    @gw1 unicast_src_ip"), strings.Index(conf, "    check_unicast_src\n")
	require.Positive(t, min(begin, end))
	for name, c := range map[string]string{
		"inner addresses": inner,
		"multicast":       conf[:begin] + conf[end+len("    check_unicast_src\n"):],
	} {
		out, err := check(t, h, "gw1", c)
		require.NoError(t, err, "%s: %s", name, out)
		require.Empty(t, out, name)
	}
}

// The check is one: keepalived refuses a machine that the example does not know, and
// what is not spelt right.
func TestKeepalivedRefusesWhatIsWrong(t *testing.T) {
	h := on(t)
	for name, c := range map[string]string{
		"a link that is not there": strings.Replace(example(t), "INNER=eth1", "INNER=eth7", 1),
		"a word":                   strings.Replace(example(t), "nopreempt", "noprempt", 1),
		"a parameter":              strings.Replace(example(t), "${PUBLIC4}", "${PUBLIC}", 1),
	} {
		out, err := check(t, h, "gw1", c)
		require.Error(t, err, "%s: %s", name, out)
	}
}

func TestParameters(t *testing.T) {
	conf, err := keepalived.Conf(map[string]string{"OUTER": "wan$1"})
	require.NoError(t, err)
	require.Contains(t, conf, "\n$OUTER=wan$1\n")
	require.Contains(t, conf, "\n$INNER=eth1\n")
	_, err = keepalived.Conf(map[string]string{"LEFT": "x"})
	require.ErrorContains(t, err, "LEFT")
	_, err = keepalived.Conf(map[string]string{"OUTER": "x\nscript y"})
	require.Error(t, err)
}
