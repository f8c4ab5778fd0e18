//go:build linux

package main

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"net/netip"
	"time"

	"golang.org/x/sys/unix"

	"github.com/holdfastvpn/holdfast/gateway"
	"github.com/holdfastvpn/holdfast/internal/testnet"
	"github.com/holdfastvpn/holdfast/internal/testnet/scene"
	"github.com/holdfastvpn/holdfast/vpn/wgkey"
)

// initiation is the length of WireGuard's first message, which is of type 1.
const initiation = 148

// sniffer records the initiations that a host gets.
type sniffer struct{ fd int }

func sniff(h *testnet.Host) (s *sniffer, err error) {
	err = h.Do(func() error {
		const ip = unix.ETH_P_IP<<8&0xff00 | unix.ETH_P_IP>>8 // in network order
		fd, err := unix.Socket(unix.AF_PACKET, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC|unix.SOCK_NONBLOCK, ip)
		s = &sniffer{fd}
		return err
	})
	if err != nil {
		return nil, fmt.Errorf("record packets at %s: %w", h.Name(), err)
	}
	return s, nil
}

// next waits for an initiation from an address.
func (s *sniffer) next(ctx context.Context, from netip.Addr) (message []byte, err error) {
	err = eventually(ctx, 10*time.Second, func() error {
		var b [1500]byte
		for {
			n, _, err := unix.Recvfrom(s.fd, b[:], 0)
			if err != nil {
				return fmt.Errorf("no initiation was recorded: %w", err)
			}
			if m, ok := payload(b[:n], from); ok && len(m) == initiation && binary.LittleEndian.Uint32(m) == 1 {
				message = append([]byte(nil), m...)
				return nil
			}
		}
	})
	return message, err
}

func (s *sniffer) close() error { return unix.Close(s.fd) }

// payload is what an IPv4 packet with UDP from an address carries.
func payload(b []byte, from netip.Addr) ([]byte, bool) {
	const udp, header = 17, 8
	if len(b) < 20 || b[0]>>4 != 4 || b[9] != udp || netip.AddrFrom4([4]byte(b[12:16])) != from {
		return nil, false
	}
	head, total := int(b[0]&15)*4, int(binary.BigEndian.Uint16(b[2:]))
	if total > len(b) || head+header > total {
		return nil, false
	}
	return b[head+header : total], true
}

// Where the client is seen, and who else is on the internet.
//
//nolint:gochecknoglobals // they are constants, of which Go has none of these types
var (
	homeAddr     = netip.MustParseAddr("203.0.113.40")
	strangerAddr = netip.MustParsePrefix("203.0.113.66/24")
)

// stranger is a further host on the internet.
func (w *world) stranger() (*testnet.Host, error) {
	h := w.scene.Net.Host("stranger")
	return h, errors.Join(w.scene.Net.Err(), w.scene.Internet.Attach(h, scene.WAN, strangerAddr))
}

// own is the address of the nth gateway that nobody else gets.
func own(n int) netip.Addr { return netip.AddrFrom4([4]byte{203, 0, 113, byte(11 + n)}) }

// repeat sends a message again and again, from an address of the host to each of those.
func repeat(ctx context.Context, h *testnet.Host, message []byte, times int, pause time.Duration, to ...netip.AddrPort) error {
	for range times {
		for _, a := range to {
			c, err := h.DialUDP(ctx, netip.AddrPort{}, a)
			if err != nil {
				return err
			}
			_, err = c.Write(message)
			if err := errors.Join(err, c.Close()); err != nil && !errors.Is(err, unix.ECONNREFUSED) {
				return err
			}
		}
		if err := sleep(ctx, pause); err != nil {
			return err
		}
	}
	return nil
}

// known is what a gateway's device knows of the client.
func (g *gw) known(ctx context.Context, key wgkey.Public) (gateway.PeerState, error) {
	s, err := g.state(ctx)
	if err != nil {
		return gateway.PeerState{}, err
	}
	for _, p := range s.Peers {
		if p.Key == key {
			return p, nil
		}
	}
	return gateway.PeerState{}, fmt.Errorf("%s does not have the client", g.host.Name())
}

// saw is what a gateway tells of the client.
func (g *gw) saw(key wgkey.Public) gateway.Sighting {
	if r := g.process.Reconciler(gateway.LocationID(g.world.office.ID)); r != nil {
		for _, v := range r.Status().Seen {
			if v.Key == key {
				return v
			}
		}
	}
	return gateway.Sighting{}
}

// unmoved requires that the first gateway has the session with the client that it had,
// at the place where it was, and that the other one has none, and tells of none.
func (w *world) unmoved(ctx context.Context, before gateway.PeerState) error {
	here, err := w.gateways[0].known(ctx, before.Key)
	if err != nil {
		return err
	}
	there, err := w.gateways[1].known(ctx, before.Key)
	if err != nil {
		return err
	}
	saw := w.gateways[1].saw(before.Key)
	switch {
	case !here.Handshake.Equal(before.Handshake):
		return fmt.Errorf("gw1 had a session of %v, and has one of %v", before.Handshake, here.Handshake)
	case here.Endpoint.Addr() != before.Endpoint.Addr():
		return fmt.Errorf("gw1 had the client at %v, and has it at %v", before.Endpoint, here.Endpoint)
	case !there.Handshake.IsZero():
		return fmt.Errorf("gw2 has a session of %v", there.Handshake)
	case !saw.Heard.IsZero() || !saw.Handshake.IsZero() || saw.Endpoint.IsValid():
		return fmt.Errorf("gw2 tells that it heard the client at %v, and of a session at %v, at %v", saw.Heard, saw.Handshake, saw.Endpoint)
	}
	return nil
}
