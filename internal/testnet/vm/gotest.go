//go:build linux

package vm

import (
	"bytes"
	"cmp"
	"context"
	"errors"
	"fmt"
	"maps"
	"os"
	"os/exec"
	"path"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/holdfastvpn/holdfast/internal/testnet"
)

// Need skips the test, saying what to do, unless machines can be run here; with
// testnet.RequireEnv set to "all" it fails.
func Need(t testnet.Skipper) {
	t.Helper()
	err := Check()
	switch {
	case err == nil:
	case strict():
		t.Fatal(fmt.Sprintf("%v (%s=all allows no skip)", err, testnet.RequireEnv))
	default:
		t.Skip(err.Error())
	}
}

// strict reports whether skips are forbidden.
func strict() bool { return os.Getenv(testnet.RequireEnv) == "all" }

// GoTest runs the tests of a package of this module in a machine, with these
// arguments ("-test.run=Kernel"), and relays what came of each as a test of t:
// pass, failure with what it wrote, skip (in there as well, testnet.RequireEnv
// makes it a failure). The package's folder testdata is there. Of c, Program,
// Args, Dir and Stdout are not taken. The run ends before the deadline of t.
// Where no machine can be run, t is skipped (see [Need]).
func GoTest(t *testing.T, c Config, pkg string, args ...string) {
	t.Helper()
	Need(t)
	if at, ok := t.Deadline(); ok {
		left := max(time.Until(at)-5*time.Second, time.Second)
		if c.Limit == 0 || c.Limit > left {
			c.Limit = left
		}
	}
	c, err := Test(t.Context(), c, pkg, append([]string{"-test.v=test2json"}, args...)...)
	if err != nil {
		t.Fatal(err)
	}
	var out bytes.Buffer
	c.Stdout = &out
	res, failed := Run(t.Context(), c)
	events, err := convert(context.WithoutCancel(t.Context()), &out)
	if err != nil {
		t.Fatal(errors.Join(failed, err))
	}
	all, err := gather(events)
	if err != nil {
		t.Fatal(errors.Join(failed, err))
	}
	relay(t, all)
	switch {
	case failed != nil:
		t.Fatal(failed)
	case res.Exit != 0 && !t.Failed():
		t.Fatalf("exit code %d:\n%s", res.Exit, all.text())
	case len(all.subs) == 0:
		t.Fatalf("no test ran:\n%s", all.text())
	}
	t.Logf("booted in %v, ran for %v on its clock (%q), %v in all", res.Boot, res.Took, cmp.Or(c.Clock, Virtual), res.Wall)
}

// Test returns c so that [Run] runs the tests of a package of this module, with
// these arguments. GoTest is made of it.
func Test(ctx context.Context, c Config, pkg string, args ...string) (Config, error) {
	var err error
	if c.Program, err = compile(ctx, pkg, "test", "-c", "-ldflags=-s -w"); err != nil {
		return c, err
	}
	at, err := golang(ctx, "list", "-f", "{{.ImportPath}}\n{{.Dir}}", pkg)
	if err != nil {
		return c, fmt.Errorf("vm: find the folder of %s: %w", pkg, err)
	}
	name, dir, _ := strings.Cut(at, "\n")
	c.Dir = path.Join("/src", name)
	data := filepath.Join(dir, "testdata")
	if _, err := os.Stat(data); err == nil {
		files := map[string]string{path.Join(c.Dir, "testdata"): data}
		maps.Copy(files, c.Files)
		c.Files = files
	}
	c.Args = append([]string{"-test.paniconexit0"}, args...)
	if strict() {
		c.Env = append(slices.Clip(c.Env), testnet.RequireEnv+"=all")
	}
	return c, nil
}

// convert makes events of what a test binary wrote.
func convert(ctx context.Context, out *bytes.Buffer) (*bytes.Buffer, error) {
	cmd := exec.CommandContext(ctx, "go", "tool", "test2json")
	var events, said bytes.Buffer
	cmd.Stdin, cmd.Stdout, cmd.Stderr = out, &events, &said
	if err := cmd.Run(); err != nil {
		return nil, fmt.Errorf("vm: go tool test2json: %w: %s", err, said.String())
	}
	return &events, nil
}

// relay plays the outcomes below o as tests of t.
func relay(t *testing.T, o *outcome) {
	t.Helper()
	for _, sub := range o.subs {
		t.Run(sub.name, func(t *testing.T) {
			relay(t, sub)
			switch {
			case sub.action == "skip" && !strict():
				t.Skip(sub.text())
			case sub.action == "pass":
				if testing.Verbose() {
					t.Log(sub.text())
				}
			default: // failed, skipped where it may not be, or cut off
				t.Fatalf("%s\n%s", sub.end(), sub.text())
			}
		})
	}
}
