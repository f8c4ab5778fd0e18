//go:build linux

package manual_test

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/holdfastvpn/holdfast/internal/input"
	"github.com/holdfastvpn/holdfast/internal/testnet"
)

// site is the machines of a page, each with its own network, /var/lib and /run.
type site struct {
	dir     string
	net     *testnet.Net
	wire    *testnet.Switch
	all     map[string]*machine
	token   string // the command that was printed last for a machine to join
	profile string // and the wg-quick text
}

// machine is one of them.
type machine struct {
	*testnet.Host

	dir string
}

func newSite(t *testing.T) *site {
	t.Helper()
	s := &site{dir: t.TempDir(), net: testnet.ForTest(t), all: map[string]*machine{}}
	s.wire = s.net.Switch("internet")
	return s
}

// host is the machine of a name of the page.
func (s *site) host(t *testing.T, name string) *machine {
	t.Helper()
	if m := s.all[name]; m != nil {
		return m
	}
	at, ok := addresses()[name]
	require.True(t, ok, "the page names a machine that it does not have: %s", name)
	m := &machine{Host: s.net.Host(name), dir: filepath.Join(s.dir, name)}
	require.NoError(t, s.wire.Attach(m.Host, "eth0", at))
	for _, d := range []string{"lib", "run"} {
		require.NoError(t, os.MkdirAll(filepath.Join(m.dir, d), 0o700))
	}
	s.all[name] = m
	return m
}

// build makes the programs, elsewhere than the page says.
func (s *site) build(t *testing.T, text string) string {
	t.Helper()
	bin := filepath.Join(s.dir, "bin")
	require.Contains(t, text, "/usr/local/bin")
	require.NoError(t, input.Declare(t.Context(), root, "./cmd/..."))
	cmd := exec.CommandContext(t.Context(), "bash", "-euo", "pipefail", "-c", strings.ReplaceAll(text, "/usr/local/bin", bin+"/"))
	cmd.Dir = root
	out, err := cmd.CombinedOutput()
	require.NoError(t, err, "%s", out)
	return string(out)
}

// command is a script of the page as a process of a machine. Its /var/lib and /run
// are the machine's own, and its PATH begins with the programs.
func (s *site) command(m *machine, text string) *exec.Cmd {
	const own = `mount --bind "$0/lib" /var/lib && mount --bind "$0/run" /run && exec bash -euo pipefail -c "$1"`
	cmd := exec.Command("unshare", "-m", "sh", "-c", own, m.dir, text) //nolint:noctx // ended by hand
	cmd.Dir = m.dir
	cmd.Env = append(os.Environ(), "PATH="+filepath.Join(s.dir, "bin")+":"+os.Getenv("PATH"))
	cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	return cmd
}

// typed runs a script to its end, and returns what it said.
func (s *site) typed(t *testing.T, name, text string) string {
	t.Helper()
	out, err := s.try(t, name, text)
	require.NoError(t, err)
	if at := regexp.MustCompile(`gateway join .*'holdfast://.*'`).FindString(out); at != "" {
		s.token = at
	}
	if i := strings.Index(out, "[Interface]"); i >= 0 {
		s.profile = out[i:]
	}
	return out
}

func (s *site) try(t *testing.T, name, text string) (string, error) {
	t.Helper()
	m := s.host(t, name)
	cmd := s.command(m, text)
	var out bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &out
	err := m.Do(cmd.Run)
	if err != nil {
		err = fmt.Errorf("on %s: %s: %w:\n%s", name, text, err, out.String())
	}
	return out.String(), err
}

// start runs what serves until the test ends, and waits until it says something. A
// token that the page leaves out is the one that was printed last.
func (s *site) start(t *testing.T, name, text, until string) string {
	t.Helper()
	if strings.Contains(text, "…") {
		join, _, _ := strings.Cut(s.token, " 'holdfast:")
		require.Contains(t, text, join+" 'holdfast://…'", "what was printed is not what the page types")
		text = s.token
	}
	m := s.host(t, name)
	cmd := s.command(m, "exec "+text)
	var out said
	cmd.Stdout, cmd.Stderr = &out, &out
	started, ended := make(chan error, 1), make(chan error, 1)
	go func() { // a process ends with the thread that started it, so that one waits
		err := m.Do(func() error {
			err := cmd.Start()
			started <- err
			if err != nil {
				return err
			}
			return cmd.Wait()
		})
		ended <- err
	}()
	require.NoError(t, <-started)
	t.Cleanup(func() { stop(t, m, cmd, ended) })
	testnet.Eventually(t, 30*time.Second, func() error {
		select {
		case err := <-ended:
			ended <- err
			t.Fatalf("on %s: %s ended: %v:\n%s", name, text, err, out.String())
		default:
		}
		if !strings.Contains(out.String(), until) {
			return fmt.Errorf("on %s: %s does not say %q:\n%s", name, text, until, out.String())
		}
		return nil
	})
	return out.String()
}

// stop ends a daemon as Ctrl-C would, and then what it leaves running on purpose.
func stop(t *testing.T, m *machine, cmd *exec.Cmd, ended <-chan error) {
	t.Helper()
	require.NoError(t, errors.Join(cmd.Process.Signal(syscall.SIGINT), <-ended))
	nl := m.Netlink()
	links, err := nl.LinkList()
	require.NoError(t, err)
	for _, l := range links {
		if strings.HasPrefix(l.Attrs().Name, "hf-") {
			require.NoError(t, nl.LinkDel(l))
		}
	}
}

// said is what a process said so far.
type said struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (s *said) Write(b []byte) (int, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.b.Write(b)
}

func (s *said) String() string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.b.String()
}
