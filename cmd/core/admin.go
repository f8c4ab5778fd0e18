package main

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"net"
	"net/http"
	"os"
	"path/filepath"

	"github.com/holdfastvpn/holdfast/cmd/internal/daemon"
	"github.com/holdfastvpn/holdfast/transport/adminrpc"
	"github.com/holdfastvpn/holdfast/transport/statedir"
	"github.com/holdfastvpn/holdfast/vpn"
)

// adminToken is the file with the first token, for operators who are not root here.
const adminToken = "admin.token"

func newTokens(stores vpn.Stores) (*adminrpc.Tokens, error) {
	return adminrpc.NewTokens(adminrpc.TokensConfig{Records: stores.Records()})
}

// serveAdmin serves operators on a socket of this machine, and elsewhere if asked to.
func serveAdmin(o *options, dir *statedir.Dir, core *vpn.Core, j *joining, k *keeping, tokens *adminrpc.Tokens, tasks *daemon.Tasks, log *slog.Logger) error {
	ctx := context.Background()
	if err := firstToken(ctx, dir, tokens, log); err != nil {
		return err
	}
	h, err := adminrpc.NewHandler(adminrpc.Config{Core: core, Joining: j, Tokens: tokens, Keeping: k, Log: log})
	if err != nil {
		return err
	}
	if o.Socket != "" {
		if err := serveSocket(ctx, o.Socket, h, tasks, log); err != nil {
			return err
		}
	}
	if o.AdminListen == "" {
		return nil
	}
	port, err := daemon.OpenPort(ctx, "admin-listen", o.AdminListen)
	if err != nil {
		return err
	}
	if _, err := tls.LoadX509KeyPair(o.AdminCert, o.AdminKey); err != nil {
		return fmt.Errorf("--admin-cert, --admin-key: %w", err)
	}
	log.Info("operators with a token may connect", "addr", port.Addr())
	tasks.Go("admin", port.Serve(func(ctx context.Context, ln net.Listener) error {
		return serveAPI(ctx, adminrpc.NewServer(h), func(s *http.Server) error {
			s.TLSConfig = &tls.Config{MinVersion: tls.VersionTLS13, GetCertificate: func(*tls.ClientHelloInfo) (*tls.Certificate, error) {
				c, err := tls.LoadX509KeyPair(o.AdminCert, o.AdminKey) // each time, so that renewing needs no restart
				return &c, err
			}}
			return s.ServeTLS(ln, "", "")
		})
	}))
	return nil
}

// serveSocket listens on the unix socket. Its folder is made if only the last part
// is missing, as of /run/holdfast after a boot.
func serveSocket(ctx context.Context, path string, h http.Handler, tasks *daemon.Tasks, log *slog.Logger) error {
	if err := os.Mkdir(filepath.Dir(path), 0o755); err != nil && !errors.Is(err, fs.ErrExist) { //nolint:gosec // the socket has its own rights
		return fmt.Errorf("--socket: %w", err)
	}
	ln, err := adminrpc.ListenUnix(ctx, path)
	if err != nil {
		return fmt.Errorf("--socket: %w", err)
	}
	log.Info("operators on this machine may connect", "socket", path)
	tasks.Go("socket", func(ctx context.Context) error {
		if ln == nil { // it was closed when the task failed
			if ln, err = adminrpc.ListenUnix(ctx, path); err != nil {
				return err
			}
		}
		this := ln
		ln = nil
		return serveAPI(ctx, adminrpc.NewServer(h), func(s *http.Server) error { return s.Serve(this) })
	})
	return nil
}

// serveAPI serves until ctx ends.
func serveAPI(ctx context.Context, s *http.Server, serve func(*http.Server) error) error {
	stop := context.AfterFunc(ctx, func() { _ = s.Close() })
	defer stop()
	if err := serve(s); !errors.Is(err, http.ErrServerClosed) {
		return err
	}
	return nil
}

// firstToken makes a token when there is none, in a file that only its owner reads.
func firstToken(ctx context.Context, dir *statedir.Dir, tokens *adminrpc.Tokens, log *slog.Logger) error {
	have, err := tokens.List(ctx)
	if err != nil || len(have) > 0 {
		return err
	}
	_, secret, err := tokens.Create(ctx, adminrpc.Token{Name: "first", Role: adminrpc.Admin}, 0)
	if err != nil {
		return err
	}
	if err := dir.Write(adminToken, []byte(secret.Reveal()+"\n")); err != nil {
		return err
	}
	log.Info("a token was made for operators who are not root on this machine", "file", filepath.Join(dir.Path(), adminToken))
	return nil
}
