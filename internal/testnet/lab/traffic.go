//go:build linux

package main

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"time"

	"github.com/holdfastvpn/holdfast/internal/testnet"
	"github.com/holdfastvpn/holdfast/internal/testnet/scene"
	"github.com/holdfastvpn/holdfast/peer"
	"github.com/holdfastvpn/holdfast/vpn/wgkey"
)

// every is how often the client sends while processes die.
const every = 20 * time.Millisecond

// traffic is the client, which sends through the tunnel.
type traffic struct {
	plant  *plant
	probe  *testnet.Probe
	key    wgkey.Public
	before time.Time // when its session was confirmed
}

// traffic adds the client's device, sets the client up with its wg-quick text, and
// sends through the tunnel until it has answered for a while (see steady).
func (p *plant) traffic(ctx context.Context) (*traffic, error) {
	key := wgkey.NewPrivate()
	d, err := p.add(ctx, client, key.Public())
	if err != nil {
		return nil, err
	}
	profile, err := p.admin.Profile(ctx, d.ID, p.offices[0].ID)
	if err != nil {
		return nil, err
	}
	if err := p.settled(ctx); err != nil {
		return nil, err
	}
	tunnel, err := scene.Up(ctx, scene.TunnelConfig{
		Host: p.scene.Client, Text: profile.WGQuick(key), Backend: p.run.Backend, Log: p.run.Log.With("at", "client"),
	})
	if err != nil {
		return nil, err
	}
	p.tunnels = append(p.tunnels, tunnel)
	t := &traffic{plant: p, key: d.Key}
	t.probe, err = p.scene.Client.Probe(testnet.ProbeConfig{To: netip.AddrPortFrom(scene.Server4, scene.EchoPort), Every: every})
	if err != nil {
		return nil, err
	}
	if _, err := t.probe.WaitReply(ctx, time.Time{}); err != nil {
		return nil, fmt.Errorf("the tunnel does not come up: %w", err)
	}
	if err := steady(ctx, t.probe); err != nil {
		return nil, err
	}
	t.before, err = t.handshake(ctx)
	return t, err
}

// add adds a device with the next free addresses, in the first office.
func (p *plant) add(ctx context.Context, name string, key wgkey.Public) (peer.Device, error) {
	return p.admin.AddDevice(ctx, peer.NewDevice{
		Name: name, Owner: "lab", Key: key, Places: []peer.Place{{Location: p.offices[0].ID}},
	})
}

// handshake is when the client's session with the first gateway was confirmed.
func (t *traffic) handshake(ctx context.Context) (time.Time, error) {
	s, err := t.plant.sites[0].state(ctx, 0)
	if err != nil {
		return time.Time{}, err
	}
	for _, q := range s.Peers {
		if q.Key == t.key && !q.Handshake.IsZero() {
			return q.Handshake, nil
		}
	}
	return time.Time{}, errors.New("the carrying gateway has no session with the client")
}

// undisturbed ends the traffic, and says if packets were lost since it began, or if
// the session is another one than at first, but for those that a client makes every
// two minutes by itself.
func (t *traffic) undisturbed(ctx context.Context) error {
	now, err := t.handshake(ctx)
	if err != nil {
		return err
	}
	if age := now.Sub(t.before); age != 0 && age < 110*time.Second {
		return fmt.Errorf("another handshake after %v", age)
	}
	lost, sent, err := t.plant.run.Line.lost(ctx, t.probe, t.probe.Replies()[0].Number)
	if err = errors.Join(err, t.probe.Close()); err != nil {
		return err
	}
	t.plant.run.Metrics.Count("lost", int64(lost))
	t.plant.run.Metrics.Count("sent", int64(t.probe.Sent()))
	if lost > 0 {
		return fmt.Errorf("%d of %d packets were lost", lost, sent)
	}
	return nil
}
