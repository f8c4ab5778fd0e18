//go:build linux

package main

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"sync"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"github.com/holdfastvpn/holdfast/internal/testnet/vm/wire"
)

// line is the stream to the host.
type line struct {
	mu sync.Mutex
	f  *os.File
}

// open finds the port to the host. The driver makes it on its own time.
func open() (*line, error) {
	const patience = 30 * time.Second
	for start := time.Now(); ; {
		ports, err := filepath.Glob("/dev/vport*p*")
		if err != nil {
			return nil, err
		}
		if len(ports) > 0 {
			fd, err := unix.Open(ports[0], unix.O_WRONLY|unix.O_CLOEXEC, 0)
			if err != nil {
				return nil, fmt.Errorf("open the port to the host: %w", err)
			}
			return &line{f: os.NewFile(uintptr(fd), ports[0])}, nil
		}
		if time.Since(start) > patience {
			return nil, errors.New("there is no port to the host")
		}
		time.Sleep(time.Millisecond)
	}
}

// send sends one frame whole.
func (l *line) send(b []byte) error {
	l.mu.Lock()
	defer l.mu.Unlock()
	_, err := l.f.Write(b)
	return err
}

// relay sends what comes from r, as it comes.
func (l *line) relay(k wire.Kind, r *os.File) {
	buf := make([]byte, wire.MaxFrame)
	var frame []byte
	for {
		n, err := r.Read(buf)
		if n > 0 {
			frame = wire.Append(frame[:0], k, buf[:n])
			if err := l.send(frame); err != nil {
				fmt.Fprintf(os.Stderr, "guest: send to the host: %v\n", err)
			}
		}
		if err != nil {
			return
		}
	}
}

// end says how it ended, and takes the machine down. The host does not wait for
// that. It does not return.
func (l *line) end(e wire.End) error {
	b, err := wire.AppendEnd(nil, e)
	if err == nil {
		err = l.send(b)
	}
	if err != nil {
		return err
	}
	if err := unix.Reboot(unix.LINUX_REBOOT_CMD_RESTART); err != nil {
		return err
	}
	select {}
}

// lastWords is how long a program may write before it is killed.
const lastWords = 3 * time.Second

// play runs the program to its end, and all that it left behind.
func play(t wire.Task, l *line) wire.End {
	var relays sync.WaitGroup
	files := make([]*os.File, 0, 3)
	null, err := os.Open(os.DevNull)
	if err != nil {
		return wire.End{Trouble: err.Error()}
	}
	files = append(files, null)
	for _, k := range []wire.Kind{wire.Stdout, wire.Stderr} {
		r, w, err := os.Pipe()
		if err != nil {
			return wire.End{Trouble: err.Error()}
		}
		files = append(files, w)
		relays.Go(func() { l.relay(k, r) })
	}
	if err := l.send(wire.Append(nil, wire.Started, nil)); err != nil {
		return wire.End{Trouble: err.Error()}
	}
	e := wire.End{Boot: uptime()}
	pid, err := syscall.ForkExec(t.Program, append([]string{t.Program}, t.Args...), &syscall.ProcAttr{
		Dir: t.Dir, Env: t.Env,
		Files: []uintptr{files[0].Fd(), files[1].Fd(), files[2].Fd()},
		Sys:   &syscall.SysProcAttr{Setsid: true},
	})
	if err != nil {
		return wire.End{Trouble: fmt.Sprintf("start %s in %s: %v", t.Program, t.Dir, err)}
	}
	for _, f := range files {
		_ = f.Close()
	}
	var late sync.Once
	over := time.AfterFunc(t.Limit, func() {
		late.Do(func() { e.Limit = true })
		_ = unix.Kill(pid, unix.SIGQUIT) // a program in Go writes where it stands
		time.Sleep(lastWords)
		_ = unix.Kill(-1, unix.SIGKILL) // all but this process
	})
	e.Exit = reap(pid)
	over.Stop()
	late.Do(func() {}) // from here on nobody writes to e.Limit
	e.Took = uptime() - e.Boot
	_ = unix.Kill(-1, unix.SIGKILL) // children hold the pipes
	relays.Wait()
	return e
}

// reap waits for all children until that one ends.
func reap(pid int) int {
	for {
		var status unix.WaitStatus
		got, err := unix.Wait4(-1, &status, 0, nil)
		switch {
		case errors.Is(err, unix.EINTR):
		case err != nil:
			return 255 // there is no child: cannot be
		case got != pid:
		case status.Signaled():
			return 128 + int(status.Signal())
		default:
			return status.ExitStatus()
		}
	}
}
