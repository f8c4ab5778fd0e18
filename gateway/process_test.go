package gateway_test

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/holdfastvpn/holdfast/gateway"
	"github.com/holdfastvpn/holdfast/gateway/gatewaytest"
	"github.com/holdfastvpn/holdfast/gateway/memdevice"
	"github.com/holdfastvpn/holdfast/transport/memtransport"
)

// machine is a machine with an interface for each location.
type machine struct {
	mu      sync.Mutex
	devices map[gateway.LocationID]*memdevice.Device
	broken  map[gateway.LocationID]error
	open    int // handles that are not closed
}

func newMachine() *machine {
	return &machine{devices: map[gateway.LocationID]*memdevice.Device{}, broken: map[gateway.LocationID]error{}}
}

func (m *machine) at(at gateway.LocationID) *memdevice.Device {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.devices[at] == nil {
		m.devices[at] = memdevice.New()
	}
	return m.devices[at]
}

// handle counts how often it is closed.
type handle struct {
	gateway.Device

	m *machine
}

func (h handle) Close() error {
	h.m.mu.Lock()
	defer h.m.mu.Unlock()
	h.m.open--
	return h.Device.Close()
}

func (m *machine) Open(_ context.Context, at gateway.LocationID) (gateway.Device, error) {
	d := m.at(at)
	m.mu.Lock()
	defer m.mu.Unlock()
	if err := m.broken[at]; err != nil {
		return nil, err
	}
	m.open++
	return handle{d.Open(), m}, nil
}

func (m *machine) set(at gateway.LocationID, err error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.broken[at] = err
}

// shop is a Process on a machine, with a plane that has three locations.
type shop struct {
	*gateway.Process
	*machine

	t      *testing.T
	plane  *gatewaytest.Plane
	link   *memtransport.Link
	keeper *gatewaytest.Keeper // nil: none
	limit  time.Duration
	deaf   bool // the plane accepts no reports
	stop   func()
	around func(gateway.ControlPlane) gateway.ControlPlane // puts something between; nil: nothing

	keeping, clock time.Duration                             // how long Keep takes, and how wrong the clock is
	froms          map[gateway.LocationID][]gateway.Revision // where updates started
}

func inShop(t *testing.T, test func(t *testing.T, s *shop)) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		s := &shop{t: t, plane: gatewaytest.NewPlane(), machine: newMachine()}
		for i, at := range []gateway.LocationID{"a", "b", "c"} {
			c := gatewaytest.Config(i + 1)
			c.Interface.Port += uint16(i)
			s.plane.Put(at, c)
		}
		s.plane.Assign("gw1", "a", "b")
		s.link = memtransport.New(s.plane)
		s.start()
		test(t, s)
		s.stop()
		require.Zero(t, s.open, "devices were not closed")
	})
}

func (s *shop) start() {
	var plane gateway.ControlPlane = hearing{s.link, s}
	if s.around != nil {
		plane = s.around(plane)
	}
	c := gateway.ProcessConfig{ID: "gw1", Plane: plane, Open: s.Open, Version: "test", MaxAge: s.limit, Now: s.now}
	if s.keeper != nil {
		c.Keeper = slowKeeper{s.keeper, s}
	}
	c.Trace = func(at gateway.LocationID) gateway.Trace {
		return gateway.Trace{OnUpdate: func(from, _ gateway.Revision) {
			s.mu.Lock()
			defer s.mu.Unlock()
			if s.froms == nil {
				s.froms = map[gateway.LocationID][]gateway.Revision{}
			}
			s.froms[at] = append(s.froms[at], from)
		}}
	}
	p, err := gateway.NewProcess(c)
	require.NoError(s.t, err)
	s.Process = p
	ctx, cancel := context.WithCancel(s.t.Context())
	done := make(chan error, 1)
	go func() { done <- p.Run(ctx) }()
	s.stop = sync.OnceFunc(func() {
		cancel()
		require.NoError(s.t, <-done)
	})
	s.t.Cleanup(s.stop)
	s.after(time.Second)
}

func (s *shop) after(d time.Duration) {
	time.Sleep(d)
	synctest.Wait()
}

// serves requires exactly these locations to be there, as the plane says.
func (s *shop) has(at ...gateway.LocationID) {
	s.t.Helper()
	for _, l := range []gateway.LocationID{"a", "b", "c"} {
		want := gateway.Config{}
		for _, a := range at {
			if a == l {
				want = s.plane.Config(l)
			}
		}
		require.Empty(s.t, gateway.Diff(want, observe(s.t, s.at(l))).String(), "location %s", l)
	}
}

func TestProcessServesWhatIsAssigned(t *testing.T) {
	inShop(t, func(t *testing.T, s *shop) {
		s.has("a", "b")
		require.NoError(t, s.Ready())
		require.Equal(t, []gateway.LocationID{"a", "b"}, s.Locations())
		require.NotNil(t, s.Reconciler("a"))
		require.Nil(t, s.Reconciler("c"))
		require.ErrorContains(t, s.Run(t.Context()), "running already")

		before := observe(t, s.at("b"))
		s.plane.Assign("gw1", "b", "c")
		s.after(time.Second)
		s.has("b", "c")
		require.Equal(t, before, observe(t, s.at("b")), "who stays was touched")
		s.plane.Assign("gw1")
		s.after(time.Second)
		s.has()
		s.plane.Assign("gw1", "a", "b", "c")
		s.after(time.Second)
		s.has("a", "b", "c")
		for _, at := range s.Locations() {
			require.Equal(t, s.plane.Config(at).Revision, s.plane.Last("gw1", at).Applied)
			require.Equal(t, "test", s.plane.Last("gw1", at).Version)
		}
	})
}

// proves P2: a process that ends, and a plane that is away, leave all in place.
func TestAProcessThatStopsLeavesEverything(t *testing.T) {
	inShop(t, func(t *testing.T, s *shop) {
		before := observe(t, s.at("a"))
		s.link.Cut()
		s.after(time.Hour)
		s.has("a", "b")
		s.stop()
		s.has("a", "b")
		s.start() // the plane is still away
		require.ErrorContains(t, s.Ready(), "has not said what to serve")
		s.has("a", "b")
		s.link.Heal()
		s.after(12 * time.Second)
		s.has("a", "b")
		require.NoError(t, s.Ready())
		require.Equal(t, before, observe(t, s.at("a")))
	})
}

func TestRefusedIsNotUnassigned(t *testing.T) {
	for _, reason := range []error{gateway.ErrRevoked, gateway.ErrUnknown, gateway.ErrStale} {
		t.Run(reason.Error(), func(t *testing.T) {
			inShop(t, func(_ *testing.T, s *shop) {
				s.plane.Refuse("gw1", reason)
				s.after(time.Hour)
				s.has("a", "b")
			})
		})
	}
}

func TestALocationThatCanNotBeOpenedTouchesNoOther(t *testing.T) {
	inShop(t, func(t *testing.T, s *shop) {
		began := time.Now()
		s.set("c", errors.New("no /dev/net/tun: modprobe tun"))
		s.plane.Assign("gw1", "a", "b", "c")
		s.after(time.Minute)
		s.has("a", "b")
		last := s.plane.Last("gw1", "c")
		require.False(t, last.Ready)
		require.Len(t, last.Failed, 1)
		require.Contains(t, last.Failed[0].What, "modprobe tun")
		require.WithinRange(t, last.Failed[0].At, began, began.Add(time.Second))
		require.ErrorContains(t, s.Ready(), "modprobe tun")
		require.NoError(t, s.Reconciler("a").Ready())
		rev := s.plane.RemovePeer("b", gatewaytest.Peer(1).Key)
		s.after(time.Second)
		require.Equal(t, rev, s.plane.Last("gw1", "b").Applied)

		s.set("c", nil)
		s.after(10 * time.Second)
		s.has("a", "b", "c")
		require.NoError(t, s.Ready())
		require.Empty(t, s.plane.Last("gw1", "c").Failed)
	})
}

func TestOpenHasToReturnADevice(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		plane := gatewaytest.NewPlane()
		plane.Assign("gw1", office)
		p, err := gateway.NewProcess(gateway.ProcessConfig{
			ID: "gw1", Plane: plane,
			Open: func(context.Context, gateway.LocationID) (gateway.Device, error) { return nil, nil },
		})
		require.NoError(t, err)
		ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
		defer cancel()
		require.NoError(t, p.Run(ctx))
		require.Contains(t, plane.Last("gw1", office).Failed[0].What, "no device")
	})
}

func TestALocationThatNeverOpenedCanGo(t *testing.T) {
	inShop(t, func(t *testing.T, s *shop) {
		s.set("c", errors.New("no"))
		s.plane.Assign("gw1", "a", "b", "c")
		s.after(time.Minute)
		s.plane.Assign("gw1", "a", "b")
		s.after(time.Second)
		require.NoError(t, s.Ready())
	})
}

func TestEndingIsTriedAgain(t *testing.T) {
	inShop(t, func(t *testing.T, s *shop) {
		s.at("b").FailSteps(func(gateway.Step) error { return errors.New("busy") })
		s.plane.Assign("gw1", "a")
		s.after(time.Minute)
		s.has("a", "b")
		require.NoError(t, s.Ready(), "what is not assigned makes nobody unready")
		s.at("b").FailSteps(nil)
		s.after(11 * time.Second)
		s.has("a")

		// Assigned again before it has ended, it is served again.
		require.True(t, s.at("a").Hear(gatewaytest.Peer(1).Key, memdevice.Traffic{Rx: 32}))
		s.at("a").FailSteps(func(gateway.Step) error { return errors.New("busy") })
		s.plane.Assign("gw1")
		s.after(time.Minute)
		s.plane.Assign("gw1", "a")
		s.after(time.Minute)
		s.at("a").FailSteps(nil)
		s.after(11 * time.Second)
		s.has("a")
		require.NotNil(t, s.Reconciler("a"))
		require.Equal(t, uint64(32), observe(t, s.at("a")).Peers[0].Rx, "it was ended all the same")
	})
}

func TestNewProcessNamesWhatIsMissing(t *testing.T) {
	whole := gateway.ProcessConfig{ID: "gw1", Plane: gatewaytest.NewPlane(), Open: newMachine().Open}
	_, err := gateway.NewProcess(whole)
	require.NoError(t, err)
	for field, change := range map[string]func(*gateway.ProcessConfig){
		"ID":    func(c *gateway.ProcessConfig) { c.ID = "" },
		"Plane": func(c *gateway.ProcessConfig) { c.Plane = nil },
		"Open":  func(c *gateway.ProcessConfig) { c.Open = nil },
		"Poll":  func(c *gateway.ProcessConfig) { c.Poll = -1 },
	} {
		c := whole
		change(&c)
		_, err := gateway.NewProcess(c)
		require.ErrorContains(t, err, "ProcessConfig."+field)
	}
}

func ExampleProcess() {
	applied := make(chan gateway.Plan, 1)
	plane := gatewaytest.NewPlane() // in a program: a core, or the client end of a transport
	plane.Put("office", gatewaytest.Config(2))
	plane.Assign("gw1", "office")

	process, err := gateway.NewProcess(gateway.ProcessConfig{
		ID:    "gw1",
		Plane: plane,
		Open: func(context.Context, gateway.LocationID) (gateway.Device, error) {
			return memdevice.New(), nil // in a program: wgdevice.Open
		},
		Trace: func(gateway.LocationID) gateway.Trace {
			return gateway.Trace{OnApply: func(p gateway.Plan, _ time.Duration, _ error) { applied <- p }}
		},
	})
	if err != nil {
		fmt.Println(err)
		return
	}
	ctx, stop := context.WithCancel(context.Background())
	running := make(chan error)
	go func() { running <- process.Run(ctx) }()
	fmt.Println("peers:", len((<-applied).Only(gateway.Set)))
	stop()
	fmt.Println("stopped:", <-running)
	// Output:
	// peers: 2
	// stopped: <nil>
}
