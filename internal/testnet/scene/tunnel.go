//go:build linux

package scene

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/netip"

	"github.com/holdfastvpn/holdfast/gateway"
	"github.com/holdfastvpn/holdfast/gateway/wgdevice"
	"github.com/holdfastvpn/holdfast/internal/testnet"
	"github.com/holdfastvpn/holdfast/peer"
)

// clientPort is what the client's end listens on: any free one would do.
const clientPort = 51821

// Tunnel is a client's end, set up from wg-quick text as a user would do it.
type Tunnel struct {
	dev *wgdevice.Device
}

// TunnelConfig holds what Up needs.
type TunnelConfig struct {
	Host    *testnet.Host    // required
	Name    string           // of the interface; "" means "wg0"
	Text    string           // wg-quick text; required
	Backend wgdevice.Backend // zero: what there is
	Log     *slog.Logger     // nil discards
}

// Up makes the interface that the text asks for. Resolvers are left as they
// are: a namespace has none of its own. Nothing is sent before the first packet
// wants through, but for keepalives.
func Up(ctx context.Context, c TunnelConfig) (*Tunnel, error) {
	if c.Name == "" {
		c.Name = "wg0"
	}
	profile, key, err := peer.ParseWGQuick(c.Text)
	if err != nil {
		return nil, fmt.Errorf("scene: tunnel %s: %w", c.Name, err)
	}
	host, err := netip.ParseAddr(profile.Host)
	if err != nil {
		return nil, fmt.Errorf("scene: tunnel %s: endpoint %q: there is no DNS here, want an address", c.Name, profile.Host)
	}
	dev, err := wgdevice.Open(wgdevice.Config{Name: c.Name, NetNS: Path(c.Host), Backend: c.Backend, Log: c.Log})
	if err != nil {
		return nil, err
	}
	want := gateway.Config{
		Interface: gateway.Interface{Key: key, Port: clientPort, Addrs: profile.Addresses, MTU: profile.MTU},
		Peers: []gateway.Peer{{
			Key:        profile.Peer,
			Preshared:  profile.Preshared,
			AllowedIPs: profile.AllowedIPs,
			Keepalive:  profile.Keepalive,
			Endpoint:   netip.AddrPortFrom(host, profile.Port),
		}},
	}.Canonical()
	var have gateway.State
	err = dev.Observe(ctx, &have)
	if err == nil {
		err = dev.Apply(ctx, gateway.Diff(want, have))
	}
	if err != nil {
		return nil, errors.Join(err, dev.Close())
	}
	return &Tunnel{dev: dev}, nil
}

// State returns what the client's end knows.
func (t *Tunnel) State(ctx context.Context) (gateway.State, error) {
	var s gateway.State
	err := t.dev.Observe(ctx, &s)
	return s, err
}

// Down ends the interface.
func (t *Tunnel) Down(ctx context.Context) error {
	return errors.Join(End(ctx, t.dev), t.dev.Close())
}

// End takes down whatever interface the device is, peers first.
func End(ctx context.Context, dev gateway.Device) error {
	var have gateway.State
	if err := dev.Observe(ctx, &have); err != nil {
		return err
	}
	return dev.Apply(ctx, gateway.Diff(gateway.Config{}, have))
}

// Path names a host's namespace for wgdevice.Config.NetNS.
func Path(h *testnet.Host) string { return fmt.Sprintf("/proc/self/fd/%d", int(h.NS())) }
