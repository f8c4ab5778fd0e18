//go:build linux

package wgdevice

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"os"
	"os/signal"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// startFile is the file, open when the process starts, at whose other end is
// who started it.
const startFile = 3

// Serve is what the program of Config.Process does: it is WireGuard in user
// space for the interface of the name, in the network namespace that it was
// started in. It returns nil when the interface has ended, or ctx: then the
// interface ends. It has the process to itself, and takes from it the signals
// SIGPIPE and SIGHUP. It fails if the program was not started by a Device.
//
// A nil log discards.
func Serve(ctx context.Context, name string, log *slog.Logger) error {
	if err := checkName(name); err != nil {
		return fmt.Errorf("wgdevice: interface name %q: %w", name, err)
	}
	signal.Ignore(unix.SIGPIPE, unix.SIGHUP) // what we log to may end before us
	conn, err := starter(startFile)
	if err != nil {
		return fmt.Errorf("wgdevice: serve %s: %w", name, err)
	}
	if log == nil {
		log = slog.New(slog.DiscardHandler)
	}
	s := &server{name: name, log: log, stop: make(chan struct{}), conns: map[*net.UnixConn]struct{}{}}
	if err := s.run(ctx, conn); err != nil {
		return fmt.Errorf("wgdevice: serve %s: %w", name, err)
	}
	return nil
}

// starter returns the connection to who started this process.
func starter(fd int) (*net.UnixConn, error) {
	if domain, err := unix.GetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_DOMAIN); err != nil || domain != unix.AF_UNIX {
		return nil, errors.New("this is for the gateway to start, and not by hand: nobody is at the other end")
	}
	f := os.NewFile(uintptr(fd), "starter")
	defer f.Close() //nolint:errcheck // a copy goes on
	conn, err := net.FileConn(f)
	if err != nil {
		return nil, err
	}
	c, ok := conn.(*net.UnixConn)
	if !ok {
		return nil, errors.Join(errors.ErrUnsupported, conn.Close())
	}
	return c, nil
}

// server is WireGuard in user space that is spoken to on a socket.
type server struct {
	name string
	log  *slog.Logger
	wg   sync.WaitGroup

	engine *engine
	index  int // of its link
	path   string

	once sync.Once
	stop chan struct{} // closed: the process shall end

	mu      sync.Mutex // guards what follows
	claimed bool
	ended   bool
	at      place // the socket that is ours
	listen  *net.UnixListener
	conns   map[*net.UnixConn]struct{}
}

// run serves until the interface ends, or ctx.
func (s *server) run(ctx context.Context, conn *net.UnixConn) error {
	defer s.wg.Wait()
	defer s.close()
	in := bufio.NewReader(conn)
	_ = conn.SetDeadline(time.Now().Add(claimWithin))
	q, err := receive(in)
	if err == nil && q.op != opStart {
		err = fmt.Errorf("%q came first: %w", q.op, unix.EPROTO)
	}
	if err == nil {
		err = s.start(q.lines)
		clear(q.lines)
	}
	if err != nil {
		s.finish()
		return join(err, reply(conn, nil, err))
	}
	if err := reply(conn, nil, nil); err != nil {
		return err
	}
	s.keep(conn)
	s.wg.Go(func() {
		s.talk(conn, in)
		if s.mu.Lock(); !s.claimed {
			s.log.Warn("who started this process has gone, or does not go on: the interface ends", "interface", s.name)
			s.quit()
		}
		s.mu.Unlock()
	})
	tick := time.NewTicker(healEvery)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-s.stop:
			return nil
		case <-s.engine.dev.Wait(): // somebody has deleted the link
			return nil
		case <-tick.C:
			s.heal()
		}
	}
}

// start makes the interface and the socket.
func (s *server) start(lines []byte) error {
	mtu, lines, err := field(lines, "mtu")
	if err != nil {
		return err
	}
	path, lines, err := field(lines, "socket")
	if err != nil {
		return err
	}
	size, err := strconv.ParseUint(mtu, 10, 31)
	if err != nil {
		return fmt.Errorf("mtu: %w", errText)
	}
	ns, err := openNamespace("")
	if err != nil {
		return err
	}
	defer ns.Close() //nolint:errcheck // the engine has its own
	if s.engine, err = newEngine(ns, s.name, int(size), lines, s.log); err != nil {
		return err
	}
	link, err := net.InterfaceByName(s.name)
	if err != nil {
		return fmt.Errorf("make the interface: %w", err)
	}
	s.index, s.path = link.Index, path
	return s.open()
}

// field cuts the line off that lines begin with, which is of the name.
func field(lines []byte, name string) (value string, rest []byte, err error) {
	line, rest, _ := bytes.Cut(lines, []byte{'\n'})
	text, ok := bytes.CutPrefix(line, []byte(name+"="))
	if !ok {
		return "", nil, fmt.Errorf("there is no %s where it should be: %w", name, unix.EPROTO)
	}
	return string(text), rest, nil
}

// open listens at the path.
func (s *server) open() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.ended {
		return errEnded
	}
	l, at, err := listenAt(s.path)
	if err != nil {
		return err
	}
	if s.listen != nil {
		_ = s.listen.Close()
	}
	s.listen, s.at = l, at
	s.wg.Go(func() { s.accept(l) })
	return nil
}

// heal puts the socket back that somebody has taken away: without it the next
// gateway could not find us. If our link is not the one of its name any more,
// nobody needs us then.
func (s *server) heal() {
	at, there := placeAt(s.path)
	s.mu.Lock()
	ours := there && at == s.at
	s.mu.Unlock()
	switch {
	case ours:
	case !s.rightful():
		s.log.Warn("the interface was renamed or moved, and nobody can ask for it any more: it ends", "interface", s.name)
		s.quit()
	default:
		if err := s.open(); err != nil {
			s.log.Warn("the socket has gone, and cannot be made again", "interface", s.name, "err", err)
		}
	}
}

// rightful says whether the link of the name is ours.
func (s *server) rightful() bool {
	link, err := net.InterfaceByName(s.name)
	return err == nil && link.Index == s.index && !s.engine.ended()
}

// quit has the process end.
func (s *server) quit() { s.once.Do(func() { close(s.stop) }) }

// finish ends WireGuard and takes the socket away. When it returns, link, port
// and path are free.
func (s *server) finish() {
	if s.engine != nil {
		s.engine.end()
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if at, there := placeAt(s.path); there && at == s.at && !s.ended {
		_ = os.Remove(s.path)
	}
	s.ended = true
}

// close ends everything.
func (s *server) close() {
	s.finish()
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.listen != nil {
		_ = s.listen.Close()
	}
	for c := range s.conns {
		_ = c.Close()
	}
}

// keep has a connection closed with everything else.
func (s *server) keep(c *net.UnixConn) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.conns[c] = struct{}{}
	if s.ended {
		_ = c.Close()
	}
}

func (s *server) drop(c *net.UnixConn) {
	s.mu.Lock()
	defer s.mu.Unlock()
	delete(s.conns, c)
	_ = c.Close()
}

// accept serves those who connect.
func (s *server) accept(l *net.UnixListener) {
	for {
		c, err := l.AcceptUnix()
		switch {
		case errors.Is(err, net.ErrClosed):
			return
		case err != nil: // too many files are open
			select {
			case <-s.stop:
			case <-time.After(healEvery / 10):
			}
			continue
		}
		if _, err := credentials(c); err != nil {
			s.log.Warn("refused to talk", "interface", s.name, "err", err)
			_ = c.Close()
			continue
		}
		s.keep(c)
		s.wg.Go(func() { s.talk(c, bufio.NewReader(c)) })
	}
}

// talk answers what comes on a connection, until it ends.
func (s *server) talk(c *net.UnixConn, in *bufio.Reader) {
	defer s.drop(c)
	var out bytes.Buffer
	for {
		q, err := receive(in)
		if err != nil {
			return
		}
		err = s.do(c, q, &out)
		clear(q.lines)
		_ = c.SetWriteDeadline(time.Now().Add(answerWithin))
		sent := reply(c, &out, err)
		if q.op == opEnd || q.op == opYield && err == nil {
			s.quit()
		}
		if sent != nil {
			return
		}
	}
}

// do does what a request asks for.
func (s *server) do(c *net.UnixConn, q request, out *bytes.Buffer) error {
	switch q.op {
	case opGet:
		if s.engine.ended() {
			return errEnded
		}
		return unwrap(s.engine.dev.IpcGetOperation(out))
	case opSet:
		return s.engine.open(q.lines)
	case opMTU:
		mtu, _, err := field(q.lines, "mtu")
		if err != nil {
			return err
		}
		n, err := strconv.ParseUint(mtu, 10, 31)
		if err != nil {
			return fmt.Errorf("mtu: %w", errText)
		}
		return s.engine.setMTU(int(n))
	case opClaim:
		s.mu.Lock()
		defer s.mu.Unlock()
		s.claimed = true
		return c.SetReadDeadline(time.Time{})
	case opYield:
		if s.rightful() {
			return fmt.Errorf("process %d has the interface %s: %w", os.Getpid(), s.name, unix.EBUSY)
		}
		s.finish()
		return nil
	case opEnd:
		s.finish()
		return nil
	default:
		return fmt.Errorf("%q is not known here: %w", q.op, unix.EOPNOTSUPP)
	}
}

// request is what comes on a connection.
type request struct {
	op    string
	lines []byte
}

// requestMax is the size of the longest request: far more than one batch of
// peers.
const requestMax = 64 << 20

// receive reads a request.
func receive(in *bufio.Reader) (q request, err error) {
	q.op, err = in.ReadString('\n')
	q.op = strings.TrimSuffix(q.op, "\n")
	for err == nil {
		var line []byte
		line, err = in.ReadSlice('\n')
		if len(line) == 1 && err == nil {
			return q, nil
		}
		q.lines = append(q.lines, line...)
		if len(q.lines) > requestMax {
			err = unix.EMSGSIZE
		}
	}
	return q, err
}

// reply sends an answer with what is in out, which it forgets, and whether
// there is an error.
func reply(c *net.UnixConn, out *bytes.Buffer, no error) error {
	var all []byte
	if out != nil && no == nil {
		all = out.AvailableBuffer()
	}
	errno := 0
	if no != nil {
		all = append(strconv.AppendQuote(append(all, "message="...), no.Error()), '\n')
		errno = int(errnoOf(no))
	}
	all = append(strconv.AppendInt(append(all, "errno="...), int64(errno), 10), "\n\n"...)
	if out == nil || no != nil {
		_, err := c.Write(all)
		return err
	}
	out.Write(all)
	b := out.Bytes()
	_, err := c.Write(b)
	clear(b)
	out.Reset()
	return err
}

// errnoOf is the number of an error.
func errnoOf(err error) syscall.Errno {
	if n := syscall.Errno(0); errors.As(err, &n) && n != 0 {
		return n
	}
	return unix.EIO
}
