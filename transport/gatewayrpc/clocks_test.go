package gatewayrpc_test

import (
	"context"
	"net"
	"net/http"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/holdfastvpn/holdfast/gateway"
	"github.com/holdfastvpn/holdfast/transport/gatewayrpc"
)

// held is a connection whose writes wait while it is held.
type held struct {
	net.Conn

	mu   sync.Mutex
	gate chan struct{} // nil: open
}

func (h *held) hold() {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.gate = make(chan struct{})
}

func (h *held) release() {
	h.mu.Lock()
	defer h.mu.Unlock()
	close(h.gate)
	h.gate = nil
}

func (h *held) Write(b []byte) (int, error) {
	h.mu.Lock()
	gate := h.gate
	h.mu.Unlock()
	if gate != nil {
		<-gate
	}
	return h.Conn.Write(b)
}

// machines are those of a gateway and a core, in one bubble. Each has its clocks.
type machines struct {
	plane *steps
	near  gateway.ControlPlane
	line  *held
	wall  func() time.Time // the gateway's
	core  func() time.Time
}

func onMachines(t *testing.T, ahead, upFor time.Duration) *machines {
	t.Helper()
	m := &machines{plane: &steps{}}
	began := time.Now()
	m.core = time.Now
	m.wall = func() time.Time { return time.Now().Round(0).Add(ahead) }
	m.plane.now = m.core
	w := onPipes(t, m.plane, config{
		handler: gatewayrpc.HandlerConfig{
			Now:   m.core,
			Clock: gatewayrpc.NewClock(func() time.Duration { return time.Since(began) + time.Hour }),
		},
		client: gatewayrpc.ClientConfig{
			Now:   m.wall,
			Clock: gatewayrpc.NewClock(func() time.Duration { return time.Since(began) + upFor }),
		},
	})
	transport, ok := w.c.Transport.(*http.Transport)
	require.True(t, ok)
	dial := transport.DialContext
	transport.DialContext = func(ctx context.Context, network, addr string) (net.Conn, error) {
		c, err := dial(ctx, network, addr)
		m.line = &held{Conn: c}
		return m.line, err
	}
	m.near = w.is("gw")
	return m
}

// report says that a peer was heard just now, and had its handshake a minute ago.
func (m *machines) report(ctx context.Context) error {
	s := seen(1, m.wall())
	s.Seen[0].Handshake = m.wall().Add(-time.Minute)
	s.Failed = []gateway.Problem{{What: "x", At: m.wall().Add(-time.Hour)}}
	return m.near.Report(ctx, "gw", "office", s)
}

// heard requires the last report to say, by the core's clock, what really was.
func (m *machines) heard(t *testing.T, at time.Time, slack time.Duration) {
	t.Helper()
	s := m.plane.last()
	for _, c := range []struct {
		got  time.Time
		want time.Time
	}{{s.Seen[0].Heard, at}, {s.Seen[0].Handshake, at.Add(-time.Minute)}, {s.Failed[0].At, at.Add(-time.Hour)}} {
		require.WithinRange(t, c.got, c.want.Add(-slack-time.Microsecond), c.want.Add(slack), "too old, or too young")
	}
}

// A gateway's clock may say anything, and its reports may take their time or wait until
// it has slept: a peer looks as old as it is.
func TestClocksAndSleep(t *testing.T) {
	const year = 365 * 24 * time.Hour
	for name, ahead := range map[string]time.Duration{"same": 0, "a year ahead": year, "a year behind": -year} {
		for uptime, upFor := range map[string]time.Duration{"just started": 0, "up for long": 2 * year} {
			t.Run(name+", "+uptime, func(t *testing.T) {
				synctest.Test(t, func(t *testing.T) {
					m := onMachines(t, ahead, upFor)
					for range 5 {
						require.NoError(t, m.report(t.Context()))
						m.heard(t, time.Now(), time.Millisecond)
						time.Sleep(2 * time.Second)
					}
					for _, late := range []time.Duration{3 * time.Second, 8 * time.Hour} {
						at := time.Now()
						m.line.hold() // the network is slow, or the machine sleeps
						done := make(chan error)
						go func() { done <- m.report(t.Context()) }()
						time.Sleep(late)
						m.line.release()
						require.NoError(t, <-done)
						m.heard(t, at, time.Millisecond+late/10_000)
						time.Sleep(2 * time.Second)
						at = time.Now()
						require.NoError(t, m.report(t.Context()))
						m.heard(t, at, time.Millisecond+late/10_000)
					}
				})
			})
		}
	}
}

// A new process of the gateway has another clock.
func TestAnotherClockIsAnotherMeasure(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		plane := &steps{}
		w := onPipes(t, plane, config{})
		for _, up := range []time.Duration{time.Hour, 0, 5 * time.Hour} {
			w.cfg.Clock = gatewayrpc.NewClock(func() time.Duration { return up })
			require.NoError(t, w.Report(t.Context(), "gw", "office", seen(1, time.Now())))
			require.WithinDuration(t, time.Now(), plane.last().Seen[0].Heard, time.Millisecond)
		}
	})
}

func TestInstantsThatMakeNoSense(t *testing.T) {
	now := time.Now()
	s := gateway.Status{Seen: []gateway.Sighting{
		{Heard: now.Add(time.Hour), Handshake: time.Unix(0, 0)},
		{Heard: time.Date(1, 1, 1, 0, 0, 1, 0, time.UTC), Handshake: time.Date(9999, 1, 1, 0, 0, 0, 0, time.UTC)},
	}}
	b, err := gatewayrpc.AppendStatus(nil, s, now)
	require.NoError(t, err)
	got, err := gatewayrpc.ParseStatus(b, now)
	require.NoError(t, err)
	require.WithinDuration(t, now, got.Seen[0].Heard, 0, "what is yet to be counts as now")
	require.WithinDuration(t, time.Unix(0, 0), got.Seen[0].Handshake, time.Microsecond)
	require.True(t, got.Seen[1].Heard.Before(now.Add(-250*365*24*time.Hour)))
	require.WithinDuration(t, now, got.Seen[1].Handshake, 0)
}
