//go:build linux

package wgdevice

import (
	"bytes"
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"syscall"

	"golang.org/x/sys/unix"
	"golang.zx2c4.com/wireguard/device"

	"github.com/holdfastvpn/holdfast/gateway"
)

// user is WireGuard in user space, wherever it runs.
type user interface {
	wireguard
	// setMTU says that the link has another MTU now.
	setMTU(mtu int) error
}

var (
	_ user = (*engine)(nil)
	_ user = (*remote)(nil)
)

// engine is WireGuard in this process, with its TUN device.
type engine struct {
	ns  *namespace // its own handle
	tun *tunnel
	dev *device.Device

	mu   sync.Mutex // guards what follows, and puts changes one after another
	port uint16     // the last one that could be opened
	buf  []byte
}

// newEngine makes the link and starts WireGuard on it, with settings as lines,
// which it forgets. Only the sockets of a thread in the namespace will do, so
// here and in open they are opened, and nowhere else.
func newEngine(ns *namespace, name string, mtu int, lines []byte, log *slog.Logger) (*engine, error) {
	own, err := ns.clone()
	if err != nil {
		return nil, err
	}
	e := &engine{ns: own}
	err = own.do(func() (err error) {
		if e.tun, err = newTunnel(name, mtu); err != nil {
			return err
		}
		// A Bind of ours: that of the library mixes up IPv4 and IPv6.
		e.dev = device.NewDevice(e.tun, newBind(), logger(log, name))
		port, _ := portOf(lines)
		if err = tellUAPI(e.dev, lines); err != nil {
			return unwrap(err)
		}
		return portError(port, e.dev.Up())
	})
	if err != nil {
		e.end()
		return nil, err
	}
	var have gateway.State
	if err := e.read(&have); err != nil {
		e.end()
		return nil, err
	}
	e.port = have.Interface.Port
	return e, nil
}

// end ends WireGuard and the link.
func (e *engine) end() {
	if e.dev != nil {
		e.dev.Close()
	}
	_ = e.ns.Close()
}

// ended says whether WireGuard has ended, as it does by itself when somebody
// deletes its link.
func (e *engine) ended() bool {
	select {
	case <-e.dev.Wait():
		return true
	default:
		return false
	}
}

func (e *engine) read(s *gateway.State) error {
	if e.ended() {
		return errEnded
	}
	return unwrap(askUAPI(e.dev, s))
}

var errEnded = fmt.Errorf("WireGuard in user space has ended: %w", unix.ENODEV)

// set changes what is not nil.
func (e *engine) set(s settings) error { return e.open(appendSettings(nil, s)) }

// open sends lines that may have a port. When that cannot be opened, the one
// before is opened again.
func (e *engine) open(lines []byte) error {
	e.mu.Lock()
	defer e.mu.Unlock()
	port, has := portOf(lines)
	return e.ns.do(func() error {
		err := e.tell(lines)
		switch {
		case !has:
		case err == nil:
			e.port = port
		default:
			if again := e.tell(appendSettings(e.buf[:0], settings{port: &e.port})); again != nil {
				err = errors.Join(err, fmt.Errorf("open port %d again: %w", e.port, again))
			}
		}
		return err
	})
}

// portOf is the port that lines set, if they do.
func portOf(lines []byte) (uint16, bool) {
	for line := range bytes.Lines(lines) {
		if bytes.HasPrefix(line, []byte("public_key=")) {
			break // peers have none
		}
		if value, ok := bytes.CutPrefix(line, []byte("listen_port=")); ok {
			n, err := number(bytes.TrimSuffix(value, []byte{'\n'}), 16)
			return uint16(n), err == nil
		}
	}
	return 0, false
}

func (e *engine) setMTU(mtu int) error {
	e.tun.setMTU(mtu)
	return nil
}

func (e *engine) change(c []change) error {
	e.mu.Lock()
	defer e.mu.Unlock()
	return e.tell(appendChanges(e.buf[:0], c))
}

func (e *engine) wipe() error {
	e.mu.Lock()
	defer e.mu.Unlock()
	return e.tell(append(e.buf[:0], "replace_peers=true\n"...))
}

// close does nothing: the engine runs on without the Device.
func (e *engine) close() error { return nil }

// tell sends lines to WireGuard, and forgets them: there are keys in them.
func (e *engine) tell(lines []byte) error {
	if e.ended() {
		return errEnded
	}
	err := tellUAPI(e.dev, lines)
	e.buf = lines[:0]
	return unwrap(err)
}

// unwrap takes the number of the text protocol off the words of an error.
func unwrap(err error) error {
	ipc := new(device.IPCError)
	if !errors.As(err, &ipc) || ipc.Unwrap() == nil {
		return err
	}
	err = ipc.Unwrap()
	if n := syscall.Errno(0); errors.As(err, &n) {
		return err
	}
	n := ipc.ErrorCode()
	return &refusal{syscall.Errno(max(n, -n)), err.Error()}
}

// logger has WireGuard's own complaints logged. They come with every packet
// that goes wrong, so they are for looking for trouble.
func logger(log *slog.Logger, name string) *device.Logger {
	return &device.Logger{
		Verbosef: device.DiscardLogf,
		Errorf: func(format string, args ...any) {
			log.Debug("wireguard complains", "interface", name, "what", fmt.Sprintf(format, args...))
		},
	}
}
