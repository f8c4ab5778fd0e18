//go:build linux

package vm

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"runtime"
	"strings"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"github.com/holdfastvpn/holdfast/internal/testnet/vm/wire"
)

// guestPackage is the program that is first in a machine.
const guestPackage = "github.com/holdfastvpn/holdfast/internal/testnet/vm/guest"

// Run boots a machine, runs the program in it, and returns when the program has
// ended and the machine is gone. What the program writes comes out while it runs,
// in its order, by one goroutine. An exit code other than 0 is no error; an error
// means that the program did not come to its end, and has the end of what the
// kernel said. A limit is a [*LimitError], something that this machine lacks a
// *testnet.MissingError. Any number may run at once.
func Run(ctx context.Context, c Config) (Result, error) {
	start := now()
	c, err := c.complete()
	if err != nil {
		return Result{}, err
	}
	limit := &LimitError{Limit: c.Limit, Clock: "this machine's"}
	ctx, cancel := context.WithTimeoutCause(ctx, c.Limit, limit)
	defer cancel()
	program, err := lookup()
	if err != nil {
		return Result{}, err
	}
	k, err := obtain(ctx, c.Log)
	if err != nil {
		return Result{}, err
	}
	guest, err := Build(ctx, guestPackage)
	if err != nil {
		return Result{}, err
	}
	t, err := plant(c, k, guest)
	if err != nil {
		return Result{}, err
	}
	image, size, err := pack(t)
	if err != nil {
		return Result{}, err
	}
	defer func() { _ = image.Close() }()
	c.Log.Info("booting", "kernel", k.name, "clock", c.Clock, "image_bytes", size)
	end, err := boot(ctx, program, command(k.image, c, kilohertz(start, now())), image, c)
	res := Result{Exit: end.Exit, Boot: end.Boot, Took: end.Took, Wall: time.Since(start.at), Size: size}
	if err != nil {
		return res, fmt.Errorf("vm: run %s: %w", c.Program, err)
	}
	c.Log.Info("program ended", "exit", res.Exit, "boot", res.Boot, "took", res.Took, "wall", res.Wall)
	return res, nil
}

// pack writes the tree into memory that has no name.
func pack(t tree) (*os.File, int64, error) {
	fd, err := unix.MemfdCreate("image", unix.MFD_CLOEXEC)
	if err != nil {
		return nil, 0, fmt.Errorf("vm: make an image: %w", err)
	}
	f := os.NewFile(uintptr(fd), "image")
	if err := t.write(f); err != nil {
		return nil, 0, errors.Join(fmt.Errorf("vm: make an image: %w", err), f.Close())
	}
	size, err := f.Seek(0, io.SeekEnd)
	if err != nil {
		return nil, 0, errors.Join(fmt.Errorf("vm: make an image: %w", err), f.Close())
	}
	return f, size, nil
}

// boot runs the emulator until the last frame, and ends it then.
func boot(ctx context.Context, program string, args []string, image *os.File, c Config) (wire.End, error) {
	ctx, stop := context.WithCancelCause(ctx)
	defer stop(nil)
	console, consoleEnd, err := os.Pipe()
	if err != nil {
		return wire.End{}, err
	}
	line, lineEnd, err := os.Pipe()
	if err != nil {
		return wire.End{}, errors.Join(err, console.Close(), consoleEnd.Close())
	}
	var said, complained tail
	cmd := exec.CommandContext(ctx, program, args...)
	cmd.Env = append(os.Environ(), "LC_ALL=C")
	cmd.ExtraFiles = []*os.File{image, consoleEnd, lineEnd}
	cmd.Stdout, cmd.Stderr = &complained, &complained
	cmd.WaitDelay = time.Second
	cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: unix.SIGKILL, Setpgid: true} // Ctrl-C is ours to act on
	finished := make(chan error, 1)
	go func() {
		// The kernel takes the thread that starts the child for its parent.
		runtime.LockOSThread()
		defer runtime.UnlockOSThread()
		err := cmd.Start()
		_, _ = consoleEnd.Close(), lineEnd.Close()
		if err == nil {
			err = cmd.Wait()
		}
		finished <- err
	}()
	read := make(chan error, 1)
	go func() {
		_, err := io.Copy(io.MultiWriter(&said, c.Console), console)
		read <- errors.Join(err, console.Close())
	}()
	end, failed := listen(line, c)
	if failed != nil && !errors.Is(failed, io.EOF) {
		stop(failed)
	}
	if end != nil {
		stop(nil) // the machine has nothing more to say
	}
	ended := <-finished
	_, _ = <-read, line.Close()
	switch {
	case end != nil && end.Trouble != "":
		return *end, errors.New(end.Trouble)
	case end != nil && end.Limit:
		return *end, &LimitError{Limit: c.Within, Clock: "the virtual machine's"}
	case end != nil:
		return *end, failed
	case ctx.Err() != nil:
		return wire.End{}, fmt.Errorf("%w%s", context.Cause(ctx), said.quote())
	case cmd.ProcessState == nil:
		return wire.End{}, fmt.Errorf("start %s: %w", program, ended)
	default:
		return wire.End{}, fmt.Errorf("the machine went down before the program ended (%s%s)%s", cmd.ProcessState, complained.quote(), said.quote())
	}
}

// listen hands on what comes over the line, until the last frame. Without one the
// error is io.EOF.
func listen(line io.Reader, c Config) (*wire.End, error) {
	buf := make([]byte, wire.MaxFrame)
	started := time.Now()
	for {
		k, payload, err := wire.Read(line, buf)
		if err != nil {
			return nil, err
		}
		switch k {
		case wire.Stdout:
			_, err = c.Stdout.Write(payload)
		case wire.Stderr:
			_, err = c.Stderr.Write(payload)
		case wire.Started:
			started = time.Now()
		case wire.Finished:
			end, err := wire.ParseEnd(payload)
			if err != nil {
				return nil, err
			}
			return &end, c.drift(end.Took, time.Since(started))
		}
		if err != nil {
			return nil, fmt.Errorf("hand on what the program wrote: %w", err)
		}
	}
}

// drift tells when the clock of a machine that should have ours went wrong: then
// no figure is worth anything, and a limit was another one.
func (c Config) drift(theirs, ours time.Duration) error {
	// This machine may be busy, and the caller slow to take what it is handed.
	fast := theirs > ours+ours/10+2*time.Second
	slow := ours > theirs+theirs/2+10*time.Second
	if c.Clock == Wall && (fast || slow) {
		return fmt.Errorf("the clock of the machine went wrong: by it the program took %v, by ours %v; run it again, with less beside it", theirs, ours)
	}
	return nil
}

// tail keeps the end of what is written to it.
type tail struct{ b bytes.Buffer }

const tailBytes = 4 << 10

// Write keeps p, or the end of it.
func (t *tail) Write(p []byte) (int, error) {
	n := len(p)
	t.b.Write(p)
	if over := t.b.Len() - tailBytes; over > tailBytes {
		t.b.Next(over)
	}
	return n, nil
}

// quote is what was kept, for the end of a sentence.
func (t *tail) quote() string {
	text := strings.TrimSpace(t.b.String())
	if text == "" {
		return ""
	}
	if over := len(text) - tailBytes; over > 0 {
		text = "…" + text[over:]
	}
	return "; it said last:\n" + text
}
