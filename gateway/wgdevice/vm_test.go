//go:build linux

package wgdevice_test

import (
	"os"
	"testing"

	"github.com/holdfastvpn/holdfast/internal/testnet"
	"github.com/holdfastvpn/holdfast/internal/testnet/vm"
)

// TestOnKernel runs all tests of this package once more, on a kernel that has
// WireGuard, where the one at hand has none: those for both backends then run
// with the kernel's, and those for the kernel's alone run there only. What may
// go wrong between two CPUs runs on two.
func TestOnKernel(t *testing.T) {
	switch {
	case vm.Native():
		t.Log("this kernel has WireGuard: the other tests used it")
		return
	case testing.Short() && os.Getenv(testnet.RequireEnv) != "all":
		t.Skip("boots machines, which takes a minute: run it without -short")
	}
	for clock, args := range map[vm.Clock][]string{
		vm.Virtual: {"-test.short"},
		vm.Wall:    {"-test.run=Disturbed|ThousandGo|DeletedUnder|Changes|SessionsOutlive|TableFollows|NoDrift"},
	} {
		t.Run(string(clock), func(t *testing.T) {
			vm.GoTest(t, vm.Config{
				Clock:   clock,
				Memory:  2048,
				Modules: []string{"nlmon"},
				Tools:   []string{"ip", "nft", "wg", "sh", "sysctl"},
			}, "github.com/holdfastvpn/holdfast/gateway/wgdevice", args...)
		})
	}
}
