//go:build linux

package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"sync"
	"syscall"

	"github.com/holdfastvpn/holdfast/internal/testnet"
)

// programsEnv is the folder with the daemons.
const programsEnv = "HOLDFAST_LAB_PROGRAMS"

// daemonPackages are the programs that scenarios with real processes run.
const daemonPackages = "github.com/holdfastvpn/holdfast/cmd/"

// daemons are their names.
func daemons() []string { return []string{"core", "gateway"} }

// programs is the folder with the daemons.
func programs() (string, error) {
	dir := os.Getenv(programsEnv)
	if dir == "" {
		return "", errors.New("nobody has built the daemons (" + programsEnv + ")")
	}
	return dir, nil
}

// process is a daemon on a host. It may be started again after its end.
type process struct {
	name string
	file string // "": the daemon of that name
	host *testnet.Host
	args []string
	// group says that it starts processes of its own, which are to be killed with it.
	group bool

	mu   sync.Mutex
	said bytes.Buffer
	cmd  *exec.Cmd
	end  chan error // gets how it ended
}

// start starts it. The thread that started it waits for its end: when that thread
// ends, as it does if the lab is killed, so does the process.
func (p *process) start() error {
	file := p.file
	if file == "" {
		dir, err := programs()
		if err != nil {
			return err
		}
		file = filepath.Join(dir, p.name)
	}
	p.cmd = exec.Command(file, p.args...) //nolint:noctx // ended by hand
	p.cmd.Stdout, p.cmd.Stderr = p, p
	p.cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL, Setpgid: p.group}
	started := make(chan error, 1)
	p.end = make(chan error, 1)
	go func() {
		var ended error
		inside := p.host.Do(func() error {
			err := p.cmd.Start()
			started <- err
			if err == nil {
				ended = p.cmd.Wait()
			}
			return nil
		})
		if inside != nil {
			started <- inside
		}
		p.end <- ended
	}()
	return <-started
}

// Write keeps what it says.
func (p *process) Write(b []byte) (int, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.said.Write(b)
}

// text is what it said, the last of it.
func (p *process) text() string {
	const most = 8 << 10
	p.mu.Lock()
	defer p.mu.Unlock()
	b := p.said.Bytes()
	return string(b[max(len(b)-most, 0):])
}

// running says whether it was started and has not been ended by hand.
func (p *process) running() bool { return p.cmd != nil }

// kill ends it by kill -9.
func (p *process) kill() error {
	if p.cmd == nil {
		return nil
	}
	err := p.signal(syscall.SIGKILL)
	if ended := <-p.end; ended == nil && err == nil {
		err = fmt.Errorf("%s on %s had ended by itself", p.name, p.host.Name())
	}
	p.cmd = nil
	return err
}

// stop ends it as systemd would, and says if it did not like that.
func (p *process) stop(ctx context.Context) error {
	if p.cmd == nil {
		return nil
	}
	if err := p.cmd.Process.Signal(syscall.SIGTERM); err != nil && !errors.Is(err, os.ErrProcessDone) {
		return err
	}
	select {
	case err := <-p.end:
		p.cmd = nil
		if err != nil {
			return fmt.Errorf("%s on %s: %w:\n%s", p.name, p.host.Name(), err, p.text())
		}
		return nil
	case <-ctx.Done():
		return errors.Join(fmt.Errorf("%s on %s does not stop:\n%s", p.name, p.host.Name(), p.text()), p.kill())
	}
}

// signal sends it a signal, and to its group if it has one.
func (p *process) signal(s syscall.Signal) error {
	switch {
	case p.cmd == nil:
		return fmt.Errorf("%s on %s does not run", p.name, p.host.Name())
	case p.group:
		return syscall.Kill(-p.cmd.Process.Pid, s)
	default:
		return p.cmd.Process.Signal(s)
	}
}
