//go:build linux

package main

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/netip"
	"os"
	"path/filepath"
	"time"

	"github.com/vishvananda/netlink"

	"github.com/holdfastvpn/holdfast/examples/keepalived"
	"github.com/holdfastvpn/holdfast/internal/testnet"
	"github.com/holdfastvpn/holdfast/internal/testnet/scene"
)

// healthPort is where a gateway says how it is, to its own machine.
const healthPort = 7947

// front is what moves the public address: keepalived on each gateway, with the
// configuration of examples/keepalived.
type front struct {
	dir string
	run *Run
	on  map[*testnet.Host]*process
}

// advert is how often keepalived gives a sign of life. By the wall clock of a machine
// that others use too it has more time, or else the address would move for nothing.
func (r *Run) advert() time.Duration {
	if r.Clock == clockWall {
		return 300 * time.Millisecond
	}
	return 100 * time.Millisecond
}

// unheard is how long keepalived has to hear nothing to take the address: three
// advertisements, and up to one more, the longer the lower its priority.
func (r *Run) unheard() time.Duration { return 4 * r.advert() }

// newFront makes keepalived ready on the gateways of the scene, and starts none.
func newFront(r *Run, gateways []*testnet.Host) (*front, error) {
	file, err := testnet.Command("keepalived")
	if err != nil {
		return nil, err
	}
	dir, err := os.MkdirTemp("", "holdfast-lab-front-")
	if err != nil {
		return nil, err
	}
	f := &front{dir: dir, run: r, on: map[*testnet.Host]*process{}}
	text, err := keepalived.Conf(map[string]string{
		"GW1": "203.0.113.11", "GW2": "203.0.113.12", "OUTER": scene.WAN, "INNER": scene.LAN,
		"PUBLIC4": scene.Public4.String(), "PUBLIC6": scene.Public6.String(),
		"ADVERT": fmt.Sprint(r.advert().Seconds()),
		"ASKER":  "root", // there is nobody else in a user namespace, or in the machine
		"READY":  fmt.Sprintf("http://127.0.0.1:%d/readyz", healthPort),
	})
	if err == nil {
		err = os.WriteFile(f.path("keepalived.conf"), []byte(text), 0o600)
	}
	if err != nil {
		return nil, errors.Join(err, os.RemoveAll(dir))
	}
	for _, h := range gateways {
		f.on[h] = &process{name: "keepalived", file: file, host: h, group: true, args: []string{
			"--dont-fork", "--vrrp", "--log-console", "--no-syslog", "--log-detail",
			"--config-id", h.Name(), "--use-file", f.path("keepalived.conf"),
			"--pid", f.path(h.Name() + ".pid"), "--vrrp_pid", f.path(h.Name() + "-vrrp.pid"),
		}}
	}
	return f, nil
}

func (f *front) path(name string) string { return filepath.Join(f.dir, name) }

// start starts keepalived on a gateway, which gets the address if no other one has it.
func (f *front) start(h *testnet.Host) error { return f.on[h].start() }

// kill ends keepalived on a machine that has lost its power, and with it what was in
// /run: nobody is left who would tidy up.
func (f *front) kill(h *testnet.Host) error {
	err := f.on[h].kill()
	for _, name := range []string{h.Name() + ".pid", h.Name() + "-vrrp.pid"} {
		if gone := os.Remove(f.path(name)); !errors.Is(gone, os.ErrNotExist) {
			err = errors.Join(err, gone)
		}
	}
	return err
}

// begin starts keepalived on all gateways, the first of which gets the address.
func (f *front) begin(ctx context.Context, a netip.Addr, hosts ...*testnet.Host) error {
	for n, h := range hosts {
		if err := f.start(h); err != nil {
			return err
		}
		if n == 0 {
			if err := f.comes(ctx, h, a); err != nil {
				return err
			}
		}
	}
	return nil
}

// comes waits until the address is on the host.
func (f *front) comes(ctx context.Context, h *testnet.Host, a netip.Addr) error {
	return eventually(ctx, 30*time.Second, func() error {
		there, err := owns(h, a)
		if err == nil && !there {
			err = fmt.Errorf("%s has not got %s; keepalived said:\n%s", h.Name(), a, indent(f.on[h].text()))
		}
		return err
	})
}

// owns says whether an address is on the host.
func owns(h *testnet.Host, a netip.Addr) (bool, error) {
	all, err := h.Netlink().AddrList(nil, netlink.FAMILY_ALL)
	if errors.Is(err, netlink.ErrDumpInterrupted) {
		err = nil
	}
	for _, have := range all {
		if have.IP.Equal(a.AsSlice()) {
			return true, err
		}
	}
	return false, err
}

// arrival tells when an address comes to the host the next time, by a channel that
// gets one instant. stop ends it.
func arrival(h *testnet.Host, a netip.Addr) (came <-chan time.Time, stop func(), err error) {
	done, updates, at := make(chan struct{}), make(chan netlink.AddrUpdate, 64), make(chan time.Time, 1)
	ns := h.NS()
	if err := netlink.AddrSubscribeWithOptions(updates, done, netlink.AddrSubscribeOptions{Namespace: &ns}); err != nil {
		return nil, nil, fmt.Errorf("follow the addresses of %s: %w", h.Name(), err)
	}
	go func() {
		told := false
		for u := range updates { // to its end, or else the sender would wait
			if !told && u.NewAddr && u.LinkAddress.IP.Equal(a.AsSlice()) {
				at <- time.Now()
				told = true
			}
		}
	}()
	return at, func() { close(done) }, nil
}

// close ends keepalived everywhere.
func (f *front) close() error {
	if f == nil {
		return nil
	}
	var errs []error
	for _, p := range f.on {
		errs = append(errs, p.kill())
	}
	return errors.Join(append(errs, os.RemoveAll(f.dir))...)
}

// explain writes what keepalived said.
func (f *front) explain() {
	if f == nil {
		return
	}
	for h, p := range f.on {
		fmt.Fprintf(os.Stderr, "keepalived on %s said:\n%s\n", h.Name(), indent(p.text()))
	}
}

// health answers /readyz on the gateway's machine, as the daemon does, for as long as
// the gateway runs.
func (g *gw) health() error {
	ln, err := g.host.ListenTCP(netip.AddrPortFrom(netip.AddrFrom4([4]byte{127, 0, 0, 1}), healthPort))
	if err != nil {
		return err
	}
	process, end := g.process, g.stop
	mux := http.NewServeMux()
	mux.HandleFunc("GET /readyz", func(w http.ResponseWriter, _ *http.Request) {
		if err := process.Ready(); err != nil {
			http.Error(w, err.Error(), http.StatusServiceUnavailable)
		}
	})
	srv := &http.Server{Handler: mux, ReadHeaderTimeout: time.Second}
	serve := background(func(ctx context.Context) error {
		stop := context.AfterFunc(ctx, func() { _ = srv.Close() })
		defer stop()
		if err := srv.Serve(ln); !errors.Is(err, http.ErrServerClosed) {
			return err
		}
		return nil
	})
	g.stop = func() error { return errors.Join(serve(), end()) }
	return nil
}
