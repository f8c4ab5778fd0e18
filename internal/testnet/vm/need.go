//go:build linux

package vm

import (
	"errors"
	"runtime"

	"github.com/holdfastvpn/holdfast/internal/testnet"
)

// emulator is what runs machines.
const emulator = "qemu-system-x86_64"

// Native reports whether this kernel has WireGuard and this process may use it,
// so that no machine is needed.
func Native() bool { return testnet.Check(testnet.Netns, testnet.KernelWireGuard) == nil }

// Check says what this machine lacks to run another: a *testnet.MissingError, or
// nil. It does not find out whether a kernel can be fetched.
func Check() error {
	_, err := lookup()
	return err
}

// lookup finds the emulator.
func lookup() (string, error) {
	file, err := find(emulator)
	if err == nil && runtime.GOARCH != "amd64" {
		err = errors.New("programs are built for amd64 only, this is " + runtime.GOARCH)
	}
	if err != nil {
		return "", &testnet.MissingError{
			What: "virtual machines", Why: err,
			Fix: "as root: apt-get install --no-install-recommends qemu-system-x86 (other systems: the package that has " + emulator + ")",
		}
	}
	return file, nil
}
