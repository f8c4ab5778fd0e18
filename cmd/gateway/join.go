package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"log/slog"
	"net"
	"os"
	"slices"

	"golang.org/x/sys/unix"

	"github.com/holdfastvpn/holdfast/transport"
	"github.com/holdfastvpn/holdfast/transport/join"
	"github.com/holdfastvpn/holdfast/transport/statedir"
)

type joinCmd struct {
	Exit  bool   `help:"Do not serve afterwards: a service does."`
	Token string `arg:"" help:"What 'holdfast gateway token' printed, which works once; - reads it from standard input."`
}

// Run joins, and then serves.
func (j *joinCmd) Run(ctx context.Context, c *cli) error {
	log := c.Logger(os.Stderr)
	text, err := j.token()
	if err != nil {
		return err
	}
	token, err := join.ParseToken(text)
	if err != nil {
		return err
	}
	dir, err := statedir.Open(c.StateDir)
	if err != nil {
		return fmt.Errorf("--state-dir: %w", err)
	}
	err = c.join(ctx, token, dir, log)
	if err = errors.Join(err, dir.Close()); err != nil || j.Exit {
		return err
	}
	return c.Run.Run(ctx, c)
}

// token returns the token's text. One that is on the command line, where everybody
// on this machine can read it, is taken off there: the process starts itself again,
// and reads it from a pipe.
func (j *joinCmd) token() (string, error) {
	const most = 4096
	if j.Token == "-" {
		b, err := io.ReadAll(io.LimitReader(os.Stdin, most))
		return string(b), err
	}
	at := slices.Index(os.Args, j.Token)
	if at < 0 {
		return j.Token, nil // it came from elsewhere
	}
	self, err := os.Executable()
	if err != nil {
		return j.Token, nil //nolint:nilerr // then it stays
	}
	if _, err := join.ParseToken(j.Token); err != nil {
		return "", err
	}
	r, w, err := os.Pipe()
	if err != nil {
		return "", err
	}
	if _, err := w.WriteString(j.Token); err != nil { // far less than a pipe holds
		return "", err
	}
	args := slices.Clone(os.Args)
	args[at] = "-"
	if err := errors.Join(w.Close(), unix.Dup2(int(r.Fd()), 0)); err != nil {
		return "", err
	}
	return "", fmt.Errorf("start again without the token on the command line: %w", unix.Exec(self, args, os.Environ()))
}

func (c *cli) join(ctx context.Context, token join.Token, dir *statedir.Dir, log *slog.Logger) error {
	have, err := dir.Credentials()
	switch {
	case err == nil && have.Identity() == token.Identity:
		log.Info("joined already", "identity", have.Identity())
		return c.keep(dir, token)
	case err == nil:
		return fmt.Errorf("this machine is %s already: use another --state-dir, or remove %s to make it another one", have.Identity(), dir.Path())
	case !errors.Is(err, fs.ErrNotExist):
		return err
	}
	cfg := join.Config{Token: token, Role: transport.Gateway, Log: log}
	if cfg.Key, err = dir.JoinKey(); err != nil {
		return err
	}
	if len(token.Cores) == 0 {
		if c.Listen == "" {
			return errors.New("--listen: a core will dial this machine: say at which address it listens, such as --listen :7946")
		}
		var config net.ListenConfig
		if cfg.Listener, err = config.Listen(ctx, "tcp", c.Listen); err != nil {
			return fmt.Errorf("--listen: %w", err)
		}
		log.Info("waiting for a core to dial", "addr", cfg.Listener.Addr().String(), "until", token.Expires)
	}
	got, err := join.Run(ctx, cfg)
	if err != nil {
		return err
	}
	if err := c.keep(dir, token); err != nil {
		return err
	}
	if err := dir.SaveCredentials(got); err != nil {
		return err
	}
	log.Info("joined", "identity", got.Identity(), "until", got.Leaf().NotAfter)
	return nil
}

// keep remembers how cores and this gateway find each other.
func (c *cli) keep(dir *statedir.Dir, token join.Token) error {
	p, err := readPlace(dir)
	if err != nil {
		return err
	}
	if c.Listen != "" {
		p.Listen = c.Listen
	}
	if len(token.Cores) > 0 {
		p.Cores = token.Cores
	}
	return p.write(dir)
}
