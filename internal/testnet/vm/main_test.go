//go:build linux

package vm_test

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"strings"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/holdfastvpn/holdfast/internal/testnet/vm"
)

// roleEnv makes the test program play one of the roles below instead, most of
// them in a machine.
const roleEnv = "VM_ROLE"

func TestMain(m *testing.M) {
	roles := map[string]func() (int, error){
		"chat": chat, "panic": panics, "glutton": glutton, "crash": crash, "off": off, "spin": spin, "sleep": sleep,
		"host": host,
	}
	if role, ok := roles[os.Getenv(roleEnv)]; ok {
		code, err := role()
		if err != nil {
			fmt.Fprintln(os.Stderr, err)
		}
		os.Exit(code)
	}
	os.Exit(m.Run())
}

// lines is how much chat writes.
const lines = 3000

// chat writes whole lines to both files, leaves a child behind that holds them
// open, and ends with the code that it was given.
func chat() (int, error) {
	for i := range lines {
		fmt.Fprintf(os.Stdout, "{\"line\":%d,\"text\":%q}\n", i, strings.Repeat("x", i%200))
		if i%10 == 0 {
			fmt.Fprintf(os.Stderr, "note %d\n", i)
		}
	}
	here, err := os.Getwd()
	if err != nil {
		return 1, err
	}
	text, err := os.ReadFile("/data/given/word")
	if err != nil {
		return 1, err
	}
	fmt.Fprintln(os.Stdout, here, string(text), os.Args[1:], os.Getenv("WORD"), vm.Inside())
	child := exec.CommandContext(context.Background(), "/proc/self/exe")
	child.Env = []string{roleEnv + "=sleep"}
	child.Stdout, child.Stderr = os.Stdout, os.Stderr
	return 3, child.Start()
}

func panics() (int, error) { panic("on purpose") }

// glutton takes memory until it is killed.
func glutton() (int, error) {
	for {
		b, err := unix.Mmap(-1, 0, 16<<20, unix.PROT_READ|unix.PROT_WRITE, unix.MAP_PRIVATE|unix.MAP_ANON|unix.MAP_POPULATE)
		if err != nil {
			return 1, fmt.Errorf("%d: %w", len(b), err)
		}
	}
}

// crash takes the kernel down.
func crash() (int, error) {
	fmt.Fprintln(os.Stdout, "last words")
	return 0, os.WriteFile("/proc/sysrq-trigger", []byte("c"), 0)
}

// off ends the machine in good order before the program.
func off() (int, error) { return 0, unix.Reboot(unix.LINUX_REBOOT_CMD_RESTART) }

// spin says that it is there, and never ends.
func spin() (int, error) {
	fmt.Fprintln(os.Stdout, "spinning")
	for {
		_ = syscall.Getppid()
	}
}

func sleep() (int, error) {
	fmt.Fprintln(os.Stdout, "sleeping")
	<-time.After(100 * time.Hour) // time itself: a program that hangs
	return 0, errors.New("slept enough")
}

// host runs a machine in which a program spins.
func host() (int, error) {
	_, err := vm.Run(context.Background(), vm.Config{
		Program: os.Getenv("VM_PROGRAM"), Env: []string{roleEnv + "=spin"}, Stdout: os.Stdout,
	})
	return 1, err
}
