//go:build linux

package testnet

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"sync"
	"time"
)

// ProbeConfig holds what [Host.Probe] needs.
type ProbeConfig struct {
	To    netip.AddrPort // required: an [Echo], or anything that pongs
	From  netip.AddrPort // invalid: any address and port
	Every time.Duration  // interval between datagrams, the resolution of all figures; 0: 10 ms
}

// Probe sends numbered datagrams at a fixed interval and notes which come back,
// so that a silence can be measured. No error of the network stops it: while an
// address moves, sends may fail, and that counts as lost. Make one with
// [Host.Probe].
type Probe struct {
	net   *Net
	conn  *net.UDPConn
	to    netip.AddrPort
	every time.Duration
	start time.Time

	mu    sync.Mutex
	log   record
	waits []wait
	ended time.Time // zero while it runs

	stop chan struct{}
	done sync.WaitGroup
	once sync.Once
}

// Reply is a datagram of a [Probe] that came back.
type Reply struct {
	Number   uint64    // counted from 0
	Sent     time.Time // when it left
	Received time.Time // when its echo arrived
}

// wait is a caller of WaitReply.
type wait struct {
	after time.Duration
	reply chan Reply
}

// Probe starts to send. It runs until [Probe.Close] or [Net.Close].
func (h *Host) Probe(c ProbeConfig) (*Probe, error) {
	if !c.To.IsValid() {
		return nil, fmt.Errorf("testnet: host %s: probe without ProbeConfig.To", h.name)
	}
	if c.Every <= 0 {
		c.Every = 10 * time.Millisecond
	}
	if !c.From.IsValid() {
		c.From = netip.AddrPortFrom(unspecified(c.To.Addr()), 0)
	}
	p := &Probe{net: h.net, to: c.To, every: c.Every, start: time.Now(), stop: make(chan struct{})}
	err := h.Do(func() (err error) {
		p.conn, err = net.ListenUDP("udp", udpAddr(c.From))
		return err
	})
	if err != nil {
		return nil, fmt.Errorf("testnet: host %s: probe %s from %s: %w", h.name, c.To, c.From, err)
	}
	if err := h.net.employ(p); err != nil {
		return nil, errors.Join(err, p.conn.Close())
	}
	p.done.Go(p.send)
	p.done.Go(p.receive)
	return p, nil
}

// unspecified is the wildcard of a's family.
func unspecified(a netip.Addr) netip.Addr {
	if a.Unmap().Is4() {
		return netip.IPv4Unspecified()
	}
	return netip.IPv6Unspecified()
}

func (p *Probe) send() {
	tick := time.NewTicker(p.every)
	defer tick.Stop()
	b := make([]byte, datagram)
	copy(b, magic)
	for number := uint64(0); ; number++ {
		p.mu.Lock()
		p.log.sent = number + 1
		p.mu.Unlock()
		binary.BigEndian.PutUint64(b[4:], number)
		binary.BigEndian.PutUint64(b[12:], uint64(time.Since(p.start)))
		_, _ = p.conn.WriteToUDPAddrPort(b, p.to) // not sent is lost
		select {
		case <-p.stop:
			return
		case <-tick.C:
		}
	}
}

func (p *Probe) receive() {
	b := make([]byte, 2*datagram)
	for {
		n, _, err := p.conn.ReadFromUDPAddrPort(b)
		switch {
		case errors.Is(err, net.ErrClosed):
			return
		case err != nil:
			<-time.After(time.Millisecond) // never a busy loop
		case n == datagram && string(b[:4]) == magic:
			p.note(pong{
				number:   binary.BigEndian.Uint64(b[4:]),
				sent:     time.Duration(binary.BigEndian.Uint64(b[12:])),
				received: time.Since(p.start),
			})
		}
	}
}

// note records a reply and wakes those who wait for one like it.
func (p *Probe) note(e pong) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if !p.log.add(e) {
		return
	}
	left := p.waits[:0]
	for _, w := range p.waits {
		if e.sent > w.after {
			w.reply <- p.reply(e) // buffered
		} else {
			left = append(left, w)
		}
	}
	p.waits = left
}

func (p *Probe) reply(e pong) Reply {
	return Reply{Number: e.number, Sent: p.start.Add(e.sent), Received: p.start.Add(e.received)}
}

// WaitReply waits for the first reply to a datagram that was *sent* later than
// after, so that an echo which was under way at that moment proves nothing. It
// returns the cause of ctx if that ends first.
func (p *Probe) WaitReply(ctx context.Context, after time.Time) (Reply, error) {
	w := wait{after: after.Sub(p.start), reply: make(chan Reply, 1)}
	p.mu.Lock()
	e, ok := p.log.first(w.after)
	if !ok {
		p.waits = append(p.waits, w)
	}
	p.mu.Unlock()
	if ok {
		return p.reply(e), nil
	}
	select {
	case r := <-w.reply:
		return r, nil
	case <-ctx.Done():
		return Reply{}, fmt.Errorf("testnet: no reply from %s: %w", p.to, context.Cause(ctx))
	case <-p.stop:
		return Reply{}, fmt.Errorf("testnet: no reply from %s: %w", p.to, ErrClosed)
	}
}

// Outage returns the longest time without a reply that ended after since, the
// silence that goes on now included. Even without any fault that is about one
// interval: "12 ms at an interval of 10 ms" means that nothing was lost.
func (p *Probe) Outage(since time.Time) time.Duration {
	p.mu.Lock()
	defer p.mu.Unlock()
	end := p.ended
	if end.IsZero() {
		end = time.Now()
	}
	return p.log.silence(since.Sub(p.start), end.Sub(p.start))
}

// Sent returns how many datagrams have been sent, or tried.
func (p *Probe) Sent() uint64 {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.log.sent
}

// Lost returns how many datagrams have not come back; those still under way
// count.
func (p *Probe) Lost() uint64 {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.log.sent - min(p.log.received, p.log.sent)
}

// Replies returns the replies in the order of their arrival. Of a very long run
// only the newest are kept, at least 131,072.
func (p *Probe) Replies() []Reply {
	p.mu.Lock()
	defer p.mu.Unlock()
	all := make([]Reply, len(p.log.pongs))
	for i, e := range p.log.pongs {
		all[i] = p.reply(e)
	}
	return all
}

// Close stops the probe; its figures stay readable. Closing again is no error.
func (p *Probe) Close() (err error) {
	p.once.Do(func() {
		close(p.stop)
		err = p.conn.Close()
		p.done.Wait()
		p.mu.Lock()
		p.ended = time.Now()
		p.mu.Unlock()
		p.net.dismiss(p)
	})
	return err
}
