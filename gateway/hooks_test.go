package gateway_test

import (
	"context"
	"fmt"
	"net/netip"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/holdfastvpn/holdfast/gateway"
	"github.com/holdfastvpn/holdfast/gateway/gatewaytest"
	"github.com/holdfastvpn/holdfast/gateway/memdevice"
)

// diary is what hooks were called with.
type diary struct {
	mu    sync.Mutex
	lines []string
	slow  time.Duration
	state func() string // what is so at that moment
}

func (d *diary) write(what string) {
	d.mu.Lock()
	if d.state != nil {
		what += ", " + d.state()
	}
	d.lines = append(d.lines, what)
	slow := d.slow
	d.mu.Unlock()
	<-time.After(slow)
}

func (d *diary) take() (lines []string) {
	d.mu.Lock()
	defer d.mu.Unlock()
	lines, d.lines = d.lines, nil
	return lines
}

func (d *diary) tune(c *gateway.ReconcilerConfig) {
	c.OnOwn = func(_ context.Context, owned []netip.Addr) { d.write(fmt.Sprint("own ", owned)) }
	c.OnYield = func(context.Context) { d.write("yield") }
}

// slowly is a device that takes its time.
type slowly struct{ owner }

func (s slowly) Apply(ctx context.Context, p gateway.Plan) error {
	<-time.After(5 * time.Millisecond)
	return s.owner.Apply(ctx, p)
}

// Who wants to know is told of an address that came once handshakes are begun, and of
// one that went once sessions are forgotten.
func TestHooksOfFloatingAddresses(t *testing.T) {
	var d diary
	onStreet(t, 10, func(t *testing.T, s *street) {
		s.carrying()
		d.take()
		d.state = func() string {
			known := 0
			for _, p := range s.houses[1].state().Peers {
				if p.Endpoint.IsValid() {
					known++
				}
			}
			return fmt.Sprint(known, " of 10")
		}
		s.move(1)
		s.houses[1].after(time.Second)
		require.Equal(t, []string{"own [203.0.113.10], 10 of 10"}, d.take())
		s.houses[1].owns <- []netip.Addr{floating, floating.Next()}
		s.houses[1].after(time.Second)
		s.houses[1].owns <- []netip.Addr{floating}
		s.houses[1].after(time.Second)
		require.Equal(t, []string{"own [203.0.113.10 203.0.113.11], 10 of 10"}, d.take(), "one that went while another is there is no news")
		s.move(0)
		s.houses[1].after(time.Second)
		require.Equal(t, []string{"yield, 0 of 10"}, d.take())
		s.move(1)
		s.houses[1].after(time.Second)
		require.Equal(t, [2]int{0, 10}, s.sessions())
		d.take()
		s.plane.Edit(office, func(c *gateway.Config) { c.Interface.Floating = nil })
		s.houses[1].after(time.Second)
		require.Equal(t, []string{"yield, 10 of 10"}, d.take(), "which takes no session")
		s.houses[1].stop()
		require.Empty(t, d.take())
		s.houses[1].start()
	}, func(i int, c *gateway.ReconcilerConfig) {
		if i == 1 {
			d.tune(c)
			if o, ok := c.Device.(owner); ok {
				c.Device = slowly{o}
			}
		}
	})
}

// A hook that takes its time holds up no takeover, and is called next for what is then.
func TestASlowHookHoldsUpNothing(t *testing.T) {
	d := diary{slow: 9 * time.Second}
	onStreet(t, 10, func(t *testing.T, s *street) {
		s.carrying()
		for n := range 4 {
			to := (n + 1) % 2
			s.move(to)
			s.houses[0].after(100 * time.Millisecond)
			require.Equal(t, 10, s.sessions()[to], "move %d", n)
			s.houses[0].after(900 * time.Millisecond)
		}
		s.houses[0].after(30 * time.Second)
		require.Equal(t, []string{"own [203.0.113.10]", "yield"}, d.take())
	}, func(i int, c *gateway.ReconcilerConfig) {
		if i == 1 {
			d.tune(c)
		}
	})
}

// A process says which location it is about.
func TestHooksOfAProcess(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		type call struct {
			at    gateway.LocationID
			owned []netip.Addr
		}
		plane := gatewaytest.NewPlane()
		plane.Assign("gw1", office)
		c := gatewaytest.Config(1)
		c.Interface.Floating, c.Interface.Mark = []netip.Addr{floating}, 77
		plane.Put(office, c)
		owns, calls := make(chan []netip.Addr, 1), make(chan call)
		p, err := gateway.NewProcess(gateway.ProcessConfig{
			ID: "gw1", Plane: plane,
			Open: func(context.Context, gateway.LocationID) (gateway.Device, error) {
				return owner{memdevice.New(), owns}, nil
			},
			OnOwn:   func(_ context.Context, at gateway.LocationID, owned []netip.Addr) { calls <- call{at, owned} },
			OnYield: func(_ context.Context, at gateway.LocationID) { calls <- call{at, nil} },
		})
		require.NoError(t, err)
		ctx, cancel := context.WithCancel(t.Context())
		done := make(chan error, 1)
		go func() { done <- p.Run(ctx) }()
		owns <- []netip.Addr{floating}
		require.Equal(t, call{office, []netip.Addr{floating}}, <-calls)
		owns <- nil
		require.Equal(t, call{office, nil}, <-calls)
		cancel()
		require.NoError(t, <-done)
	})
}

// An embedder announces an address to the routers around while the machine has it.
func ExampleReconcilerConfig_hooks() {
	plane, device := gatewaytest.NewPlane(), memdevice.New()
	plane.Assign("gw1", "office")
	config := gatewaytest.Config(1)
	config.Interface.Floating = []netip.Addr{netip.MustParseAddr("203.0.113.10")}
	config.Interface.Mark = 77 // by which WireGuard's packets are told
	plane.Put("office", config)

	said := make(chan string)
	r, err := gateway.NewReconciler(gateway.ReconcilerConfig{
		ID: "gw1", Location: "office", Plane: plane, Device: device,
		OnOwn:   func(_ context.Context, owned []netip.Addr) { said <- fmt.Sprint("announce ", owned) },
		OnYield: func(context.Context) { said <- "withdraw" },
	})
	if err != nil {
		panic(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error)
	go func() { done <- r.Run(ctx) }()
	device.SetOwned(config.Interface.Floating...)
	fmt.Println(<-said)
	device.SetOwned()
	fmt.Println(<-said)
	cancel()
	if err := <-done; err != nil {
		panic(err)
	}
	// Output:
	// announce [203.0.113.10]
	// withdraw
}
