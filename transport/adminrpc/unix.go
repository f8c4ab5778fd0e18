package adminrpc

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"net/http"
	"os"
	"os/user"
	"strconv"
	"time"
)

// ListenUnix listens on a unix socket that only its own user and root can open. A
// socket that a process left behind is replaced, one that somebody answers on is
// not: that is an error. The folder has to be there.
func ListenUnix(ctx context.Context, path string) (net.Listener, error) {
	fail := func(err error) (net.Listener, error) { return nil, fmt.Errorf("adminrpc: listen on %s: %w", path, err) }
	switch info, err := os.Lstat(path); {
	case errors.Is(err, fs.ErrNotExist):
	case err != nil:
		return fail(err)
	case info.Mode().Type() != fs.ModeSocket:
		return fail(errors.New("there is something else, which is no socket: remove it, or choose another path"))
	default:
		c, err := (&net.Dialer{Timeout: time.Second}).DialContext(ctx, "unix", path)
		if err == nil {
			_ = c.Close()
			return fail(errors.New("another process answers there: stop it, or choose another path"))
		}
		if err := os.Remove(path); err != nil {
			return fail(err)
		}
	}
	l, err := (&net.ListenConfig{}).Listen(ctx, "unix", path)
	if err != nil {
		return fail(err)
	}
	if err := os.Chmod(path, 0o600); err != nil {
		return fail(errors.Join(err, l.Close()))
	}
	return l, nil
}

// NewServer makes a server for a handler of NewHandler, with limits, that knows
// who is at the other end of a unix socket. It serves TCP as well, for which the
// caller adds TLS.
func NewServer(h http.Handler) *http.Server {
	return &http.Server{
		Handler: h, ConnContext: ConnContext,
		ReadHeaderTimeout: 10 * time.Second, IdleTimeout: 2 * time.Minute, MaxHeaderBytes: 16 << 10,
	}
}

type uidKey struct{}

// ConnContext is for http.Server.ConnContext: it keeps who is at the other end of
// a unix socket, as the system says.
func ConnContext(ctx context.Context, c net.Conn) context.Context {
	if u, ok := c.(*net.UnixConn); ok {
		if uid, known := uidOf(u); known {
			return context.WithValue(ctx, uidKey{}, uid)
		}
	}
	return ctx
}

// local returns the name of an operator on this machine: root, or the user that
// this process runs as.
func (a *api) local(r *http.Request) (name string, ok bool) {
	uid, known := r.Context().Value(uidKey{}).(uint32)
	if !known || uid != 0 && int64(uid) != int64(os.Geteuid()) {
		return "", false
	}
	if u, err := user.LookupId(strconv.FormatUint(uint64(uid), 10)); err == nil && u.Username != "" {
		return u.Username, true
	}
	if uid == 0 {
		return "root", true
	}
	return fmt.Sprintf("uid %d", uid), true
}
