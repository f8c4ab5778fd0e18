//go:build linux

// Package clients has many WireGuard clients in one process: the real thing in user space,
// each with a key and a socket of its own, and nothing behind it. They say nothing but
// handshakes and keepalives, and know what came when.
package clients

import (
	"encoding/hex"
	"fmt"
	"net/netip"
	"sync"
	"time"

	"golang.zx2c4.com/wireguard/device"

	"github.com/holdfastvpn/holdfast/internal/testnet"
	"github.com/holdfastvpn/holdfast/vpn/wgkey"
)

// The kinds of messages of WireGuard: the first byte of each.
const (
	initiation = 1
	response   = 2
	transport  = 4
)

// Client is one of them. Close it. It is safe for concurrent use.
type Client struct {
	key    wgkey.Private
	device *device.Device

	mu          sync.Mutex
	heard       []time.Time // when data or keepalives came
	responses   []time.Time // when handshakes were answered that the client began
	initiations []time.Time // when handshakes came that the other end began
}

// New makes a client on a host, with a new key. It says nothing before Connect.
func New(h *testnet.Host) (*Client, error) {
	c := &Client{key: wgkey.NewPrivate()}
	c.device = device.NewDevice(newHole(), &bind{host: h, came: c.came}, device.NewLogger(device.LogLevelSilent, ""))
	private := c.key.Reveal()
	err := c.device.IpcSet("private_key=" + hex.EncodeToString(private[:]) + "\n")
	if err == nil {
		err = c.device.Up()
	}
	if err != nil {
		c.device.Close()
		return nil, fmt.Errorf("clients: new client: %w", err)
	}
	return c, nil
}

// Key is the client's public key.
func (c *Client) Key() wgkey.Public { return c.key.Public() }

// Connect begins a handshake with a location, and keeps it alive by a keepalive as often
// as said, at least 1 s.
func (c *Client) Connect(location wgkey.Public, at netip.AddrPort, keepalive time.Duration) error {
	err := c.device.IpcSet(fmt.Sprintf("public_key=%s\nendpoint=%s\nallowed_ip=0.0.0.0/0\npersistent_keepalive_interval=%d\n",
		hex.EncodeToString(location[:]), at, int(keepalive.Seconds())))
	if err != nil {
		return fmt.Errorf("clients: connect: %w", err)
	}
	return nil
}

// Quiet ends the keepalives.
func (c *Client) Quiet(location wgkey.Public) error {
	err := c.device.IpcSet(fmt.Sprintf("public_key=%s\nupdate_only=true\npersistent_keepalive_interval=0\n", hex.EncodeToString(location[:])))
	if err != nil {
		return fmt.Errorf("clients: end keepalives: %w", err)
	}
	return nil
}

// Heard is when something came first, since an instant, by which the client knows that
// there is a session: what was sent in one, or the answer to a handshake that it began;
// false: nothing has.
func (c *Client) Heard(since time.Time) (time.Time, bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	at, ok := first(c.heard, since)
	if answer, answered := first(c.responses, since); answered && (!ok || answer.Before(at)) {
		return answer, true
	}
	return at, ok
}

// Answered is when a handshake was answered that the client began, since an instant;
// false: none was.
func (c *Client) Answered(since time.Time) (time.Time, bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	return first(c.responses, since)
}

// Dialled is how many handshakes the other end has begun since an instant.
func (c *Client) Dialled(since time.Time) (n int) {
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, at := range c.initiations {
		if !at.Before(since) {
			n++
		}
	}
	return n
}

func first(list []time.Time, since time.Time) (time.Time, bool) {
	for _, at := range list {
		if !at.Before(since) {
			return at, true
		}
	}
	return time.Time{}, false
}

// came notes a message.
func (c *Client) came(message []byte) {
	if len(message) == 0 {
		return
	}
	now := time.Now()
	c.mu.Lock()
	defer c.mu.Unlock()
	switch message[0] {
	case initiation:
		c.initiations = append(c.initiations, now)
	case response:
		c.responses = append(c.responses, now)
	case transport:
		c.heard = append(c.heard, now)
	}
}

// Close ends the client.
func (c *Client) Close() { c.device.Close() }
