package main

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"net"
	"os"

	"github.com/prometheus/client_golang/prometheus"
	"go.uber.org/fx"

	"github.com/holdfastvpn/holdfast/cmd/internal/daemon"
	"github.com/holdfastvpn/holdfast/gateway"
	"github.com/holdfastvpn/holdfast/gateway/runstate"
	"github.com/holdfastvpn/holdfast/gateway/snapshot"
	"github.com/holdfastvpn/holdfast/gateway/wgdevice"
	"github.com/holdfastvpn/holdfast/transport"
	"github.com/holdfastvpn/holdfast/transport/join"
	"github.com/holdfastvpn/holdfast/transport/siblingrpc"
	"github.com/holdfastvpn/holdfast/transport/statedir"
)

type runCmd struct{}

// Run serves until ctx ends.
func (*runCmd) Run(ctx context.Context, c *cli) error {
	log := c.Logger(os.Stderr)
	return daemon.Run(
		ctx, log,
		fx.Supply(&c.options),
		fx.Provide(openState, readPlace, newHolder, newKeep, newRelay, newClient, newCores, newMemory, newProcess, newMesh, daemon.NewRegistry),
		fx.Invoke(serveLinks, serveProcess, serveSiblings, serveHealth),
	)
}

func openState(lc fx.Lifecycle, o *options) (*statedir.Dir, error) {
	return daemon.OpenState(lc, o.StateDir)
}

func newHolder(dir *statedir.Dir) (*transport.Holder, error) {
	c, err := dir.Credentials()
	if errors.Is(err, fs.ErrNotExist) {
		return nil, fmt.Errorf("this machine has not joined (%s has no identity): make a token with 'holdfast gateway token LOCATION --at ADDR' "+
			"and run the command that it prints", dir.Path())
	}
	if err != nil {
		return nil, err
	}
	return transport.NewHolder(c), nil
}

func newKeep(h *transport.Holder, dir *statedir.Dir, log *slog.Logger) *join.Keep {
	return &join.Keep{Holder: h, Save: dir.SaveCredentials, Log: log}
}

func newClient(h *transport.Holder, keep *join.Keep, relay *relay, log *slog.Logger) (*transport.Client, error) {
	client, err := transport.NewClient(transport.Config{
		Holder: h, Roles: []transport.Role{transport.Core}, Roots: keep.Roots, Relay: relay.dial,
		Software: "gateway " + daemon.Version(), Log: log,
	})
	if err == nil {
		keep.Links = client.Links
	}
	return client, err
}

// listen is where the machine takes links; "" nowhere.
func (p place) listen(o *options) string { return cmp.Or(o.Listen, p.Listen) }

// told is where siblings are told that the machine takes links: nowhere if it dials its
// cores, since they do not know.
func (p place) told(o *options) string {
	if len(p.Cores) > 0 {
		return ""
	}
	return p.listen(o)
}

// serveLinks keeps links to cores, those that dial us and those that we dial, and takes
// those of siblings.
func serveLinks(o *options, p place, client *transport.Client, mesh *siblingrpc.Mesh, keep *join.Keep, tasks *daemon.Tasks, log *slog.Logger) error {
	listen := p.listen(o)
	if listen == "" && len(p.Cores) == 0 {
		return errors.New("--listen: cores dial this gateway: say at which address it listens, such as --listen :7946")
	}
	if listen != "" {
		port, err := daemon.OpenPort(context.Background(), "listen", listen)
		if err != nil {
			return err
		}
		log.Info("cores may dial", "addr", port.Addr())
		tasks.Go("listen", port.Serve(func(ctx context.Context, ln net.Listener) error {
			return transport.Listen(ctx, ln, client, mesh.Acceptor())
		}))
	}
	for _, addr := range p.Cores {
		tasks.Go("core "+addr, func(ctx context.Context) error { return client.Dial(ctx, transport.Target{Addr: addr}) })
	}
	tasks.Go("renewal", keep.Run)
	return nil
}

func newProcess(
	o *options, h *transport.Holder, dir *statedir.Dir, cores *cores, memory gateway.Memory, boot gateway.BootClock, log *slog.Logger,
) (*gateway.Process, error) {
	id := gateway.ID(h.Get().Identity().ID)
	kept, err := snapshot.New(snapshot.Config{Gateway: id, Files: dir})
	if err != nil {
		return nil, err
	}
	var synced func() bool // nil: nobody knows
	if clock, ok := boot.(*runstate.Clock); ok {
		synced = clock.Synced
	}
	return gateway.NewProcess(gateway.ProcessConfig{
		ID:      id,
		Plane:   cores.pool,
		Keeper:  kept,
		MaxAge:  o.maxAge(),
		Version: daemon.Version(),
		Log:     log,
		Memory:  memory,
		Boot:    boot,
		Synced:  synced,
		Open: func(_ context.Context, at gateway.LocationID) (gateway.Device, error) {
			process, err := deviceCommand(o)
			if err != nil {
				return nil, err
			}
			return wgdevice.Open(wgdevice.Config{
				Name: interfaceName(o.Prefix, at), Backend: o.backend(), Process: process, Sockets: o.Sockets, Stderr: os.Stderr, Log: log,
			})
		},
	})
}

// interfaceName is the name of a location's interface: as much of its ID as fits.
func interfaceName(prefix string, at gateway.LocationID) string {
	name := prefix + string(at)
	return name[:min(len(name), nameMax)]
}

func serveProcess(p *gateway.Process, cores *cores, relay *relay, tasks *daemon.Tasks) {
	relay.process.Store(p)
	tasks.Go("cores", cores.follow)
	tasks.Go("locations", p.Run)
}

// newMesh links the gateway with those that serve the same locations.
func newMesh(o *options, p place, h *transport.Holder, process *gateway.Process, log *slog.Logger) (*siblingrpc.Mesh, error) {
	return siblingrpc.NewMesh(siblingrpc.MeshConfig{
		Links:  transport.Config{Holder: h, Software: "gateway " + daemon.Version(), Log: log},
		Addr:   p.told(o),
		Talker: process,
		Talks:  siblingrpc.Config{Log: log},
	})
}

func serveSiblings(mesh *siblingrpc.Mesh, p *gateway.Process, tasks *daemon.Tasks) {
	tasks.Go("siblings", mesh.Run)
	tasks.Go("assignments", func(ctx context.Context) error {
		for {
			list, changed := p.Assignments()
			mesh.Assign(list)
			select {
			case <-ctx.Done():
				return nil
			case <-changed:
			}
		}
	})
}

func serveHealth(o *options, p *gateway.Process, cores *cores, metrics *prometheus.Registry, tasks *daemon.Tasks, log *slog.Logger) error {
	metrics.MustRegister(newMetrics(p, cores))
	tasks.Go("watchdog", func(ctx context.Context) error { return daemon.Watchdog(ctx, func() error { return nil }) })
	return daemon.Serve(o.HTTP, tasks, metrics, daemon.Health{Ready: p.Ready}, log)
}
