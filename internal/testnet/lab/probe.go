//go:build linux

package main

import (
	"context"
	"fmt"
	"net/netip"
	"time"

	"github.com/holdfastvpn/holdfast/gateway"
	"github.com/holdfastvpn/holdfast/internal/testnet"
	"github.com/holdfastvpn/holdfast/internal/testnet/scene"
	"github.com/holdfastvpn/holdfast/vpn/wgkey"
)

// probe sends through the tunnel to the server in the office.
func (w *world) probe(every time.Duration) (*testnet.Probe, error) {
	return w.scene.Client.Probe(testnet.ProbeConfig{To: netip.AddrPortFrom(scene.Server4, scene.EchoPort), Every: every})
}

// connect joins and sends through the tunnel until the first answer is there.
func (w *world) connect(ctx context.Context, every time.Duration) (*testnet.Probe, error) {
	if _, err := w.join(ctx); err != nil {
		return nil, err
	}
	return w.talk(ctx, every)
}

// talk sends through the tunnel until the first answer is there.
func (w *world) talk(ctx context.Context, every time.Duration) (*testnet.Probe, error) {
	p, err := w.probe(every)
	if err != nil {
		return nil, err
	}
	if _, err := w.up(ctx, p); err != nil {
		return nil, err
	}
	return p, nil
}

// up waits for the first answer, and returns it. That one has waited for ARP and
// for the handshake too: the round trip that becomes a figure is that of the next
// packet that was sent, which need not be the next to come back.
func (w *world) up(ctx context.Context, p *testnet.Probe) (testnet.Reply, error) {
	first, err := p.WaitReply(ctx, time.Time{})
	if err != nil {
		return first, fmt.Errorf("the tunnel does not come up: %w", err)
	}
	if _, err := p.WaitReply(ctx, first.Received.Add(w.run.Line.overtaking())); err != nil {
		return first, err
	}
	rtt := trip(p.Replies(), first.Received)
	w.run.Metrics.Millis("rtt_ms", rtt)
	return first, w.run.Line.fits(rtt)
}

// trip is the round trip of the first packet sent later than after; there is one.
func trip(replies []testnet.Reply, after time.Time) time.Duration {
	var next testnet.Reply
	for _, r := range replies {
		if r.Sent.After(after) && (next.Sent.IsZero() || r.Number < next.Number) {
			next = r
		}
	}
	return next.Received.Sub(next.Sent)
}

// rearmed is how long after a handshake a client may make one more by itself, whatever
// the gateway does: it sends its initiation and only then sets the timer for the next
// try (SendHandshakeInitiation in device/send.go of wireguard-go,
// wg_packet_send_handshake_initiation in send.c of the kernel), so that a response which
// overtakes that leaves the timer set. It fires after REKEY_TIMEOUT, 5 s, and up to a
// third of a second; what is left is for a busy machine.
const rearmed = 6 * time.Second

// steady waits until nobody but a gateway that loses it ends the client's session, for
// the next 110 s: those who look for another handshake begin then.
func steady(ctx context.Context, p *testnet.Probe) error {
	_, err := p.WaitReply(ctx, p.Replies()[0].Received.Add(rearmed))
	return err
}

// lasting waits until the client's session is steady and the core knows that the first
// gateway carries it, and returns what that gateway has of it.
func (w *world) lasting(ctx context.Context, p *testnet.Probe, key wgkey.Public) (gateway.PeerState, error) {
	if err := steady(ctx, p); err != nil {
		return gateway.PeerState{}, err
	}
	if err := w.carriedBy(ctx, w.gateways[0]); err != nil {
		return gateway.PeerState{}, err
	}
	return w.gateways[0].known(ctx, key)
}

// gapless ends traffic of which no packet may be lost since the first answer.
func (w *world) gapless(ctx context.Context, p *testnet.Probe) error {
	lost, sent, err := w.run.Line.lost(ctx, p, p.Replies()[0].Number)
	if err != nil {
		return err
	}
	w.run.Metrics.Count("lost", int64(lost))
	w.run.Metrics.Count("sent", int64(sent))
	if lost > 0 {
		return fmt.Errorf("%d of %d packets were lost", lost, sent)
	}
	return nil
}

// lost says of how many packets, from number first to what was sent last, how many have
// not come back. What is under way it waits for: that has come, or is lost, once
// something has come that cannot have overtaken it.
func (l line) lost(ctx context.Context, p *testnet.Probe, first uint64) (lost, sent uint64, err error) {
	end := p.Sent()
	if _, err := p.WaitReply(ctx, time.Now().Add(l.overtaking())); err != nil {
		return 0, 0, err
	}
	return missing(p.Replies(), first, end), end - first, nil
}

// missing counts the packets with numbers from first to before end that have not
// come back, in whatever order. Those before the tunnel was up, and those under
// way when the probe ended, are not lost.
func missing(replies []testnet.Reply, first, end uint64) uint64 {
	lost := end - first
	for _, r := range replies {
		if r.Number >= first && r.Number < end {
			lost--
		}
	}
	return lost
}
