package main

import (
	"context"
	"crypto"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"strings"

	"github.com/prometheus/client_golang/prometheus"
	"go.uber.org/fx"

	"github.com/holdfastvpn/holdfast/cmd/internal/daemon"
	"github.com/holdfastvpn/holdfast/transport"
	"github.com/holdfastvpn/holdfast/transport/authority"
	"github.com/holdfastvpn/holdfast/transport/statedir"
	"github.com/holdfastvpn/holdfast/vpn"
	"github.com/holdfastvpn/holdfast/vpn/seal"
	"github.com/holdfastvpn/holdfast/vpn/sqlitestore"
)

type runCmd struct{}

// Run serves until ctx ends.
func (*runCmd) Run(ctx context.Context, c *cli) error {
	log := c.Logger(os.Stderr)
	return daemon.Run(
		ctx, log,
		fx.Supply(&c.options),
		fx.Provide(openState, openKeys, openStore, newSelf, newCore, newAuthority, newServer, newJoining, newKeeping, newTokens, daemon.NewRegistry),
		fx.Invoke(serveCore, serveLinks, serveAdmin, serveHealth),
	)
}

func openState(lc fx.Lifecycle, o *options) (*statedir.Dir, error) {
	return daemon.OpenState(lc, o.StateDir)
}

// openStore comes after the directory, which nobody else may have, and after the
// keys, which are made only where there is no store yet.
func openStore(lc fx.Lifecycle, o *options, _ *statedir.Dir, _ *seal.Keyring) (vpn.Stores, *sqlitestore.Store, error) {
	s, err := sqlitestore.Open(context.Background(), sqlitestore.Config{Path: o.database()})
	if err != nil {
		return nil, nil, err
	}
	lc.Append(fx.StopHook(s.Close))
	return s, s, nil
}

// newSelf is who this core is: its name is kept.
func newSelf(o *options, dir *statedir.Dir) (transport.Identity, error) {
	const file = "identity"
	b, err := dir.Read(file)
	if errors.Is(err, os.ErrNotExist) {
		name := strings.ToLower(rand20())
		self := transport.Identity{Deployment: o.Deployment, Role: transport.Core, ID: "c" + name}
		return self, dir.Write(file, []byte(self.String()+"\n"))
	}
	if err != nil {
		return transport.Identity{}, err
	}
	self, err := transport.ParseIdentity(strings.TrimSpace(string(b)))
	switch {
	case err != nil:
		return self, fmt.Errorf("the file %s in %s: %w", file, dir.Path(), err)
	case self.Deployment != o.Deployment:
		return self, fmt.Errorf("--deployment: %q: this state directory is of the deployment %q, and that cannot change", o.Deployment, self.Deployment)
	}
	return self, nil
}

func newCore(stores vpn.Stores, keys *seal.Keyring, self transport.Identity, log *slog.Logger) (*vpn.Core, error) {
	return vpn.New(vpn.Config{Stores: stores, Keys: keys, ID: self.ID, Log: log})
}

func newAuthority(o *options, lc fx.Lifecycle, stores vpn.Stores, keys *seal.Keyring, self transport.Identity, log *slog.Logger) (*authority.Authority, error) {
	ctx := context.Background()
	root, err := openRoot(ctx, stores.Records(), keys)
	if err != nil {
		return nil, err
	}
	a, err := authority.New(authority.Config{
		Self: self, Records: stores.Records(), Signers: []crypto.Signer{root.Signer()}, Lifetime: o.CertificateLifetime, Log: log,
	})
	if err != nil {
		return nil, err
	}
	lc.Append(fx.StartHook(a.Open))
	return a, a.Open(ctx)
}

func serveCore(core *vpn.Core, a *authority.Authority, tasks *daemon.Tasks) {
	tasks.Go("core", core.Run)
	tasks.Go("authority", a.Run)
}

func serveHealth(o *options, core *vpn.Core, metrics *prometheus.Registry, tasks *daemon.Tasks, log *slog.Logger) error {
	metrics.MustRegister(newMetrics(core))
	tasks.Go("watchdog", func(ctx context.Context) error { return daemon.Watchdog(ctx, func() error { return nil }) })
	return daemon.Serve(o.HTTP, tasks, metrics, daemon.Health{}, log)
}
