package sim

import (
	"context"
	"fmt"
	"slices"
	"sync/atomic"
	"time"

	"github.com/holdfastvpn/holdfast/gateway"
	"github.com/holdfastvpn/holdfast/internal/sim/wgmodel"
	"github.com/holdfastvpn/holdfast/location"
)

// machine has a gateway's process, devices that outlive it, and a disk that
// outlives those. The driver alone
// uses it.
type machine struct {
	w     *world
	n     int
	name  string
	id    gateway.ID
	host  *wgmodel.Host
	seats [sites]*seat
	disk  *disk

	proc   *gateway.Process // nil: it is down
	pool   *gateway.Pool
	alive  *atomic.Bool // of the process: false, it cannot do anything any more
	cancel context.CancelFunc
	well   well // while the process runs

	posted [sites]*story // whether it is assigned: "yes" or ""
	may    []duty        // one of these is what it is to do
	busy   bool

	power well          // while the machine has power
	skew  time.Duration // of its clock, while that is right
	wrong time.Duration // how far its clock is ahead, if it is not right
	aware atomic.Int64  // the same, once its gateway has to know that it is ahead; else 0
}

// ahead is how far its clock is ahead, if its gateway has to know.
func (m *machine) ahead() time.Duration { return time.Duration(m.aware.Load()) }

// uptime is a clock that nobody sets.
type uptime struct{ began time.Time }

// Boot implements gateway.BootClock.
func (uptime) Boot() string { return "only" }

// Since implements gateway.BootClock.
func (u uptime) Since() time.Duration { return time.Since(u.began) }

func (m *machine) start() error {
	w := m.w
	pool, alive := gateway.NewPool(), &atomic.Bool{}
	alive.Store(true)
	var plane gateway.ControlPlane = pool
	if w.parts.Pool != nil {
		plane = w.parts.Pool(m.name, plane)
	}
	m.host.SetClock(m.skew + m.wrong)
	right := m.wrong == 0
	proc, err := gateway.NewProcess(gateway.ProcessConfig{
		ID: m.id, Plane: plane, Version: "1.0.0", Trace: m.trace, Keeper: keeper{m.disk, alive}, Now: m.host.Clock, Boot: uptime{w.log.began},
		Synced: func() bool { return right }, Guard: w.parts.Guard,

		Open: func(_ context.Context, at gateway.LocationID) (gateway.Device, error) {
			i := slices.Index(w.ids[:], location.ID(at))
			if i < 0 {
				return nil, fmt.Errorf("sim: there is no location %q", at)
			}
			return m.seats[i].open(alive), nil
		},
	})
	if err != nil {
		return fmt.Errorf("sim: start %s: %w", m.name, err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	m.proc, m.pool, m.alive, m.cancel = proc, pool, alive, cancel
	m.well.better(w.log.now())
	for _, s := range m.seats {
		s.anew()
	}
	w.wg.Go(func() { _ = proc.Run(ctx) })
	for _, h := range w.hosts {
		w.link(m, h)
	}
	w.greet(m)
	return nil
}

// stop ends the process, with a kill at once: what it had begun is not finished.
func (m *machine) stop(kill, silent bool) {
	if kill {
		m.alive.Store(false)
	}
	for _, h := range m.w.hosts {
		m.w.unlink(m, h, silent)
	}
	m.w.depart(m, silent)
	m.cancel()
	m.proc = nil
	m.well.worse()
}

// reboot loses what the devices had, while the process is down.
func (m *machine) reboot() {
	for _, s := range m.seats {
		s.replace(m.host.NewDevice())
	}
}

// trace notes what the process hears of the cores.
func (m *machine) trace(l gateway.LocationID) gateway.Trace {
	at := slices.Index(m.w.ids[:], location.ID(l))
	return gateway.Trace{
		OnLink: func(err error) {
			if err != nil {
				m.w.log.notef("    %s at location %d hears nothing more: %v", m.name, at, err)
			}
		},
		OnUpdate: func(from, to gateway.Revision) {
			m.seats[at].hears()
			m.w.log.notef("    %s at location %d hears of revision %d, from %d", m.name, at, to.Number, from.Number)
		},
	}
}
