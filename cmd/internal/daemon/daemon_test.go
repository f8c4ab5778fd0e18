package daemon_test

import (
	"bytes"
	"context"
	"errors"
	"io"
	"log/slog"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"go.uber.org/fx"
	"go.uber.org/goleak"

	"github.com/holdfastvpn/holdfast/cmd/internal/daemon"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// program is a command line such as those of the daemons.
type program struct {
	daemon.Common

	Name  string   `default:"nobody"`
	Hosts []string `name:"hosts"`
	Run   run      `cmd:"" default:"1"`

	ran bool
}

type run struct{}

func (*run) Run(ctx context.Context, p *program) error {
	p.ran = true
	if p.Name == "fail" {
		return errors.New("as told")
	}
	return ctx.Err()
}

func call(args ...string) (p program, code int, said string) {
	var out bytes.Buffer
	code = daemon.Main("prog", "A program.", &p, args, &out, &out)
	return p, code, out.String()
}

func TestCommandLine(t *testing.T) {
	p, code, _ := call("--name", "somebody", "--log-level", "debug")
	require.Equal(t, daemon.ExitOK, code)
	require.True(t, p.ran)
	require.Equal(t, "somebody", p.Name)
	require.Equal(t, slog.LevelDebug, p.LogLevel)

	_, code, said := call("--name", "fail")
	require.Equal(t, daemon.ExitFailed, code)
	require.Contains(t, said, "prog: as told")
	_, code, said = call("--nome", "x")
	require.Equal(t, daemon.ExitUsage, code)
	require.Contains(t, said, "--nome")
	p, code, said = call("--help")
	require.Equal(t, daemon.ExitOK, code)
	require.False(t, p.ran)
	require.Contains(t, said, "$PROG_NAME"[1:])
	p, code, said = call("--version")
	require.Equal(t, daemon.ExitOK, code)
	require.False(t, p.ran)
	require.Contains(t, said, "prog ")
}

func TestConfigurationFile(t *testing.T) {
	file := filepath.Join(t.TempDir(), "prog.yaml")
	write := func(text string) { require.NoError(t, os.WriteFile(file, []byte(text), 0o600)) }
	write("name: somebody\nhosts: [a, b]\nlog-level: warn\n")
	p, code, said := call("--config", file)
	require.Equal(t, daemon.ExitOK, code, said)
	require.Equal(t, "somebody", p.Name)
	require.Equal(t, []string{"a", "b"}, p.Hosts)
	require.Equal(t, slog.LevelWarn, p.LogLevel)
	t.Setenv("HOLDFAST_PROG_NAME", "environment")
	p, _, _ = call("--config", file)
	require.Equal(t, "environment", p.Name, "the environment is nearer than a file")
	p, _, _ = call("--config", file, "--name", "flag")
	require.Equal(t, "flag", p.Name, "and a flag is nearer still")

	for text, want := range map[string]string{
		"nome: x\n": `there is no flag "nome"`, "- a\n": "configuration file", "name: [": "configuration file", "log-level: loud\n": "log-level",
	} {
		write(text)
		_, code, said = call("--config", file)
		require.Equal(t, daemon.ExitUsage, code, text)
		require.Contains(t, said, want, text)
	}
	_, code, said = call("--config", file+".not")
	require.Equal(t, daemon.ExitUsage, code)
	require.Contains(t, said, "--config")
}

// A task that fails, ends or panics runs again, is shown, and ends nothing else.
func TestTasks(t *testing.T) {
	tasks, end := wire(t, fx.Options())
	var runs atomic.Int32
	tasks.Go("shaky", func(ctx context.Context) error {
		switch runs.Add(1) {
		case 1:
			panic("at the disco")
		case 2:
			return nil
		default:
			<-ctx.Done()
			return errors.New("too late to matter")
		}
	})
	require.Eventually(t, func() bool { return tasks.Failing()["shaky"] != nil }, 5*time.Second, time.Millisecond)
	require.Eventually(t, func() bool { return runs.Load() == 3 }, 10*time.Second, time.Millisecond)
	require.Empty(t, tasks.Failing())
	end()
}

// What tasks work with is closed when they have ended, whenever it was opened.
func TestTasksEndFirst(t *testing.T) {
	ended, closed := make(chan struct{}), false
	tasks, end := wire(t, fx.Invoke(func(lc fx.Lifecycle, _ *daemon.Tasks) {
		lc.Append(fx.StopHook(func() {
			closed = true
			select {
			case <-ended:
			default:
				t.Error("it was closed under a task")
			}
		}))
	}))
	tasks.Go("last words", func(ctx context.Context) error {
		<-ctx.Done()
		<-time.After(50 * time.Millisecond) // time itself: the task needs some to end
		close(ended)
		return nil
	})
	end()
	require.True(t, closed)
}

// wire runs a process, and hands out its tasks when it has started.
func wire(t *testing.T, options fx.Option) (tasks *daemon.Tasks, end func()) {
	t.Helper()
	ctx, cancel := context.WithCancel(t.Context())
	started, done := make(chan struct{}), make(chan error, 1)
	go func() {
		done <- daemon.Run(
			ctx, slog.New(slog.NewTextHandler(t.Output(), nil)), options, fx.Populate(&tasks),
			fx.Invoke(func(lc fx.Lifecycle) { lc.Append(fx.StartHook(func() { close(started) })) }),
		)
	}()
	select {
	case <-started:
	case err := <-done:
		require.NoError(t, err, "it did not start")
	}
	return tasks, func() {
		cancel()
		require.NoError(t, <-done)
	}
}

func TestHealth(t *testing.T) {
	log := slog.New(slog.NewTextHandler(t.Output(), nil))
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	var sick atomic.Bool
	addr := free(t)
	done := make(chan error, 1)
	go func() {
		done <- daemon.Run(ctx, log, fx.Invoke(func(tasks *daemon.Tasks) error { //nolint:contextcheck // wiring has none
			return daemon.Serve(addr, tasks, daemon.NewRegistry(), daemon.Health{Ready: func() error {
				if sick.Load() {
					return errors.New("location x: no configuration yet")
				}
				return nil
			}}, log)
		}))
	}()
	get := func(path string) (code int, body string) {
		require.Eventually(t, func() bool {
			req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, "http://"+addr+path, http.NoBody)
			require.NoError(t, err)
			res, err := http.DefaultClient.Do(req)
			if err != nil {
				return false
			}
			defer func() { _ = res.Body.Close() }()
			b, err := io.ReadAll(res.Body)
			code, body = res.StatusCode, string(b)
			return err == nil
		}, 5*time.Second, 10*time.Millisecond)
		return code, body
	}
	code, body := get("/readyz")
	require.Equal(t, http.StatusOK, code)
	require.Equal(t, "ok\n", body)
	sick.Store(true)
	code, body = get("/readyz")
	require.Equal(t, http.StatusServiceUnavailable, code)
	require.Contains(t, body, "no configuration yet")
	code, _ = get("/livez")
	require.Equal(t, http.StatusOK, code)
	_, body = get("/metrics")
	require.Contains(t, body, "go_goroutines")

	err := daemon.Run(t.Context(), log, fx.Invoke(func(tasks *daemon.Tasks) error {
		return daemon.Serve(addr, tasks, daemon.NewRegistry(), daemon.Health{}, log)
	}))
	require.ErrorContains(t, err, "--http")
	require.NotContains(t, err.Error(), "could not build arguments", "the wiring is nobody's business")
	cancel()
	require.NoError(t, <-done)
	http.DefaultClient.CloseIdleConnections()
}

func free(t *testing.T) string {
	t.Helper()
	var c net.ListenConfig
	ln, err := c.Listen(t.Context(), "tcp", "127.0.0.1:0")
	require.NoError(t, err)
	defer func() { require.NoError(t, ln.Close()) }()
	return ln.Addr().String()
}

// systemd is told when the process is ready, alive and about to stop.
func TestNotices(t *testing.T) {
	path := filepath.Join(t.TempDir(), "notify")
	conn, err := net.ListenUnixgram("unixgram", &net.UnixAddr{Name: path, Net: "unixgram"})
	require.NoError(t, err)
	defer func() { _ = conn.Close() }()
	t.Setenv("NOTIFY_SOCKET", path)
	t.Setenv("WATCHDOG_USEC", "30000")
	hear := func() string {
		require.NoError(t, conn.SetReadDeadline(time.Now().Add(5*time.Second)))
		b := make([]byte, 100)
		n, err := conn.Read(b)
		require.NoError(t, err)
		return string(b[:n])
	}
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() {
		done <- daemon.Run(ctx, slog.New(slog.DiscardHandler), fx.Invoke(func(tasks *daemon.Tasks) {
			tasks.Go("watchdog", func(ctx context.Context) error { return daemon.Watchdog(ctx, func() error { return nil }) })
		}))
	}()
	heard := map[string]int{}
	for range 4 {
		heard[hear()]++
	}
	require.Equal(t, 1, heard["READY=1"])
	require.Equal(t, 3, heard["WATCHDOG=1"])
	cancel()
	require.NoError(t, <-done)
	last := hear()
	for strings.HasPrefix(last, "WATCHDOG") {
		last = hear()
	}
	require.Equal(t, "STOPPING=1", last)
}
