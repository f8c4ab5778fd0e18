//go:build linux

package vm_test

import (
	"os"
	"os/exec"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/holdfastvpn/holdfast/internal/testnet"
	"github.com/holdfastvpn/holdfast/internal/testnet/vm"
)

// eventsEnv names a recording for TestRelayed to play, as another process.
const eventsEnv = "VM_EVENTS"

// TestRelayed plays a recording for the test below; by itself it plays one in
// which all is well.
func TestRelayed(t *testing.T) {
	file := os.Getenv(eventsEnv)
	if file == "" {
		file = "testdata/well.json"
	}
	f, err := os.Open(file)
	require.NoError(t, err)
	defer func() { require.NoError(t, f.Close()) }()
	vm.Relay(t, f)
}

// What came of tests in a machine comes of the tests here.
func TestRelay(t *testing.T) {
	for name, c := range map[string]struct {
		file, require string
		ok            bool
		words         []string
	}{
		"well":   {"well.json", "all", true, []string{"PASS: TestRelayed/TestA/with/slash ", "PASS: TestRelayed/TestB "}},
		"skip":   {"skip.json", "", true, []string{"SKIP: TestRelayed/TestB", "no TUN here"}},
		"strict": {"skip.json", "all", false, []string{"FAIL: TestRelayed/TestB", "which is not allowed here", "no TUN here"}},
		"fail":   {"fail.json", "", false, []string{"FAIL: TestRelayed/TestA/with/slash ", "not equal", "PASS: TestRelayed/TestB "}},
		"cut":    {"cut.json", "", false, []string{"FAIL: TestRelayed/TestB", "it did not end", "PASS: TestRelayed/TestA "}},
	} {
		t.Run(name, func(t *testing.T) {
			cmd := exec.CommandContext(t.Context(), "/proc/self/exe", "-test.run=^TestRelayed$", "-test.v")
			cmd.Env = append(os.Environ(), eventsEnv+"=testdata/"+c.file, testnet.RequireEnv+"="+c.require)
			out, err := cmd.CombinedOutput()
			require.Equal(t, c.ok, err == nil, "%v\n%s", err, out)
			for _, w := range c.words {
				require.Contains(t, string(out), w)
			}
		})
	}
}
