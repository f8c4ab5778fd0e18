package gatewayrpc_test

import (
	"context"
	"iter"
	"net/netip"
	"sync"
	"time"

	"github.com/holdfastvpn/holdfast/gateway"
	"github.com/holdfastvpn/holdfast/gateway/gatewaytest"
)

// steps is a control plane that says what it is given, and notes what it is told.
type steps struct {
	next chan gateway.Update
	err  error // ends streams at once, and refuses reports

	mu       sync.Mutex
	reported []gateway.Status
	at       []time.Time // when, by the plane's own clock
	now      func() time.Time
}

func (s *steps) Assigned(ctx context.Context, _ gateway.ID) iter.Seq2[[]gateway.Assignment, error] {
	return func(yield func([]gateway.Assignment, error) bool) {
		if s.err != nil {
			yield(nil, s.err)
			return
		}
		<-ctx.Done()
	}
}

func (s *steps) Watch(ctx context.Context, _ gateway.ID, _ gateway.LocationID, _ gateway.Revision,
) iter.Seq2[gateway.Update, error] {
	return func(yield func(gateway.Update, error) bool) {
		if s.err != nil {
			yield(gateway.Update{}, s.err)
			return
		}
		for {
			select {
			case u := <-s.next:
				if !yield(u, nil) {
					return
				}
			case <-ctx.Done():
				return
			}
		}
	}
}

func (s *steps) Report(_ context.Context, _ gateway.ID, _ gateway.LocationID, st gateway.Status) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.now != nil {
		s.at = append(s.at, s.now())
	}
	s.reported = append(s.reported[max(0, len(s.reported)-99):], st)
	return s.err
}

// last is the report that came last.
func (s *steps) last() gateway.Status {
	s.mu.Lock()
	defer s.mu.Unlock()
	if len(s.reported) == 0 {
		return gateway.Status{}
	}
	return s.reported[len(s.reported)-1]
}

// seen is a full status with sightings of n peers, now and before.
func seen(n int, now time.Time) gateway.Status {
	now = now.Round(0)
	s := gateway.Status{Epoch: 1, Full: true, Ready: true, Version: "1", Seen: make([]gateway.Sighting, n)}
	for i, p := range gatewaytest.Peers(n) {
		s.Seen[i] = gateway.Sighting{
			Key: p.Key, By: "gw", Heard: now.Add(-time.Duration(i) * time.Millisecond),
			Handshake: now.Add(-time.Duration(i) * 2 * time.Millisecond),
			Endpoint:  netip.AddrPortFrom(p.AllowedIPs[0].Addr(), 51820), Rx: uint64(i) << 20, Tx: uint64(i) << 18,
		}
	}
	return s
}
