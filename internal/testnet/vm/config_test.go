//go:build linux

package vm_test

import (
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/holdfastvpn/holdfast/internal/testnet"
	"github.com/holdfastvpn/holdfast/internal/testnet/vm"
)

func TestConfigIsChecked(t *testing.T) {
	for want, c := range map[string]vm.Config{
		"Config.Program": {},
		"Config.Clock":   {Program: "p", Clock: "sun"},
		"Config.Memory":  {Program: "p", Memory: 64},
		"Config.Limit":   {Program: "p", Limit: -time.Second},
		"Config.Within":  {Program: "p", Within: -1},
		`"data"`:         {Program: "p", Files: map[string]string{"data": "."}},
		`"/a/../b"`:      {Program: "p", Dir: "/a/../b"},
		"Config.Env":     {Program: "p", Env: []string{"WORD"}},
	} {
		_, err := vm.Run(t.Context(), c)
		require.ErrorContains(t, err, "vm: Config")
		require.ErrorContains(t, err, want)
	}
}

func TestCommandLine(t *testing.T) {
	virtual := vm.Command("/k", vm.Config{Clock: vm.Virtual, Memory: 512}, 2_600_000)
	require.Subset(t, virtual, []string{"-icount", "shift=0,sleep=off", "-rtc", "clock=vm", "512", "/k"})
	wall := vm.Command("/k", vm.Config{Clock: vm.Wall, Memory: 512}, 2_600_000)
	require.Subset(t, wall, []string{"tcg,thread=multi", "2"})
	require.NotContains(t, wall, "-icount")
	require.Contains(t, strings.Join(virtual, " "), "tsc_early_khz=1000000 ")
	require.Contains(t, strings.Join(wall, " "), "tsc_early_khz=2600000 ")
	require.Contains(t, strings.Join(vm.Command("/k", vm.Config{Clock: vm.Wall}, 0), " "), "clocksource=hpet ")
}

func TestNoEmulator(t *testing.T) {
	if _, err := os.Stat("/usr/sbin/qemu-system-x86_64"); err == nil {
		t.Fatal("nobody installs it there")
	}
	t.Setenv("PATH", t.TempDir())
	err := vm.Check()
	missing, ok := errors.AsType[*testnet.MissingError](err)
	require.True(t, ok, "%v", err)
	require.ErrorContains(t, missing, "apt-get install --no-install-recommends qemu-system-x86")
	_, err = vm.Run(t.Context(), vm.Config{Program: "p"})
	require.ErrorIs(t, err, exec.ErrNotFound)

	t.Setenv(testnet.RequireEnv, "")
	var s skipper
	vm.Need(&s)
	require.Equal(t, skipper{skipped: 1}, s)
	t.Setenv(testnet.RequireEnv, "all")
	vm.Need(&s)
	require.Equal(t, skipper{skipped: 1, failed: 1}, s)
}

// skipper counts what Need does with a test.
type skipper struct{ skipped, failed int }

func (*skipper) Helper()        {}
func (s *skipper) Skip(...any)  { s.skipped++ }
func (s *skipper) Fatal(...any) { s.failed++ }

// What a machine cannot be given is told before it boots.
func TestNotToBeHad(t *testing.T) {
	c := role(t, "chat")
	for want, change := range map[string]func(*vm.Config){
		"put the command no-such-command into the machine": func(c *vm.Config) { c.Tools = []string{"no-such-command"} },
		"the list wants no_such_module":                    func(c *vm.Config) { c.Modules = []string{"no-such-module"} },
		"put /x into the machine: lstat":                   func(c *vm.Config) { c.Files = map[string]string{"/x": "/no/such/file"} },
		"/dev/null is neither a file nor a folder":         func(c *vm.Config) { c.Files = map[string]string{"/x": "/dev/null"} },
		"look at the program /no/such/file":                func(c *vm.Config) { c.Program = "/no/such/file" },
		"needs shared libraries":                           func(c *vm.Config) { c.Program = "/bin/sh" },
	} {
		c := c
		change(&c)
		_, err := vm.Run(t.Context(), c)
		require.ErrorContains(t, err, want)
	}
}

func TestBuild(t *testing.T) {
	gocache, err := exec.CommandContext(t.Context(), "go", "env", "GOCACHE").Output()
	require.NoError(t, err)
	t.Setenv("GOCACHE", strings.TrimSpace(string(gocache))) // it is in the same place
	t.Setenv("XDG_CACHE_HOME", t.TempDir())
	guest, err := vm.Build(t.Context(), thisPackage+"/guest")
	require.NoError(t, err)
	killed := filepath.Join(filepath.Dir(guest), "build-1")
	require.NoError(t, os.Mkdir(killed, 0o755))
	require.NoError(t, os.Chtimes(killed, time.Time{}, time.Now().Add(-2*time.Hour)))
	again, err := vm.Build(t.Context(), thisPackage+"/guest")
	require.NoError(t, err)
	require.Equal(t, guest, again)
	require.Len(t, entries(t, filepath.Dir(guest)), 1)

	_, err = vm.Build(t.Context(), thisPackage+"/none")
	require.ErrorContains(t, err, "vm: build "+thisPackage+"/none: go build: exit status 1: ")
	_, err = vm.Build(t.Context(), thisPackage+"/cpio")
	require.ErrorContains(t, err, "is it a main package")
	require.Len(t, entries(t, filepath.Dir(guest)), 1)
}
