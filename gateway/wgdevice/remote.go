//go:build linux

package wgdevice

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net"
	"time"

	"golang.org/x/sys/unix"

	"github.com/holdfastvpn/holdfast/gateway"
)

// remote is WireGuard in a process of its own, as seen from here.
type remote struct {
	pid   int
	index int // of its link
	conn  *net.UnixConn
	fd    int  // of the process; -1: the kernel has no such thing
	lost  bool // nothing more can be said on conn
	buf   []byte

	within time.Duration // for an answer
}

// newRemote takes a connection to process pid.
func newRemote(conn *net.UnixConn, pid int) *remote {
	fd, err := unix.PidfdOpen(pid, 0)
	if err != nil {
		fd = -1
	}
	return &remote{pid: pid, conn: conn, fd: fd, within: answerWithin}
}

// dial connects to the process that listens at path.
func dial(path string) (*remote, error) {
	conn, err := net.DialUnix("unix", nil, &net.UnixAddr{Name: path, Net: "unix"})
	if err != nil {
		return nil, err
	}
	who, err := credentials(conn)
	if err == nil && who.Pid <= 0 {
		err = errors.New("the other end is a process that cannot be seen from here")
	}
	if err != nil {
		_ = conn.Close()
		return nil, err
	}
	return newRemote(conn, int(who.Pid)), nil
}

// close lets go of the process, which runs on.
func (r *remote) close() error {
	if r.fd >= 0 {
		_ = unix.Close(r.fd)
		r.fd = -1
	}
	r.lost = true
	if err := r.conn.Close(); err != nil && !errors.Is(err, net.ErrClosed) {
		return err
	}
	return nil
}

// alive says whether the process was there a moment ago, and can be spoken to.
func (r *remote) alive() bool {
	return !r.lost && !r.exited(0)
}

// exited waits until the process has ended, with all that it had open, and says
// whether it has. Where the kernel cannot tell, it has not.
func (r *remote) exited(within time.Duration) bool {
	if r.fd < 0 {
		return false
	}
	for end := time.Now().Add(within); ; {
		n, err := unix.Poll([]unix.PollFd{{Fd: int32(r.fd), Events: unix.POLLIN}}, int(max(0, time.Until(end)).Milliseconds()))
		if err == nil || !errors.Is(err, unix.EINTR) {
			return n > 0
		}
	}
}

// kill ends the process the hard way.
func (r *remote) kill() {
	if r.fd >= 0 {
		_ = unix.PidfdSendSignal(r.fd, unix.SIGKILL, nil, 0)
		r.exited(answerWithin)
	}
}

// IpcGetOperation writes all that WireGuard tells of itself.
func (r *remote) IpcGetOperation(w io.Writer) error { return r.ask(opGet, nil, w) }

// IpcSetOperation sends all lines.
func (r *remote) IpcSetOperation(lines io.Reader) error { return r.ask(opSet, lines, nil) }

// order sends a request with an answer that says yes or no.
func (r *remote) order(op string, lines ...byte) error {
	return r.ask(op, bytes.NewReader(lines), nil)
}

// ask sends a request, and writes the answer to w, if any. An error is that of
// the other side (refusal), or that there is none.
func (r *remote) ask(op string, lines io.Reader, w io.Writer) error {
	if r.lost {
		return r.ended(nil)
	}
	var no gateway.State
	check := readState(&no)
	if w == nil {
		w = check
	}
	err := r.conn.SetDeadline(time.Now().Add(r.within))
	if err == nil {
		_, err = io.WriteString(r.conn, op+"\n")
	}
	if err == nil && lines != nil {
		_, err = io.Copy(r.conn, lines)
	}
	if err == nil {
		_, err = io.WriteString(r.conn, "\n")
	}
	if err == nil {
		err = r.receive(w)
	}
	if refused := (*refusal)(nil); err == nil || errors.As(err, &refused) {
		return err
	}
	r.lost = true
	if isTimeout(err) {
		return fmt.Errorf("process %d, which is WireGuard in user space here, does not answer: see what it does, or end it (kill -9 %d): %w",
			r.pid, r.pid, err)
	}
	return r.ended(err)
}

func isTimeout(err error) bool {
	t, ok := errors.AsType[net.Error](err)
	return ok && t.Timeout()
}

// ended is what is said of a process that is not there any more.
func (r *remote) ended(err error) error {
	if err == nil {
		err = io.EOF
	}
	return fmt.Errorf("process %d: %w (%w)", r.pid, errEnded, err)
}

// receive reads an answer, to its end, and forgets it: there are keys in it.
func (r *remote) receive(w io.Writer) error {
	if r.buf == nil {
		r.buf = make([]byte, 64<<10)
	}
	var bad error
	for last := byte(0); ; {
		n, err := r.conn.Read(r.buf)
		b := r.buf[:n]
		if n > 0 {
			if bad == nil {
				_, bad = w.Write(b) // what is left is still to be taken off the wire
			}
			// Nothing follows an answer, since nobody has asked for more.
			before := last
			if n > 1 {
				before = b[n-2]
			}
			last = b[n-1]
			clear(b)
			if before == '\n' && last == '\n' {
				return bad
			}
		}
		if err != nil {
			return err
		}
	}
}

// read, set, change, wipe and setMTU are those of a user.
func (r *remote) read(s *gateway.State) error { return askUAPI(r, s) }

func (r *remote) set(s settings) error { return tellUAPI(r, appendSettings(nil, s)) }

func (r *remote) change(c []change) error { return tellUAPI(r, appendChanges(nil, c)) }

func (r *remote) wipe() error { return r.order(opSet, []byte("replace_peers=true\n")...) }

func (r *remote) setMTU(mtu int) error {
	return r.order(opMTU, appendNumber(nil, "mtu", uint64(mtu))...)
}

// end ends the process, and returns when its link and its port are free; with
// yield only if it has not got the interface of its name any more.
func (r *remote) end(op string) error {
	defer func() { _ = r.close() }()
	err := r.order(op)
	if err == nil {
		return nil
	}
	if refused := (*refusal)(nil); errors.As(err, &refused) {
		return err
	}
	if isTimeout(err) {
		r.kill()
	}
	r.exited(answerWithin)
	return nil
}

// gone says whether the error is that nobody listens at a path.
func gone(err error) bool {
	return errors.Is(err, fs.ErrNotExist) || errors.Is(err, unix.ECONNREFUSED)
}
