package sim

import (
	"fmt"
	"time"

	"github.com/holdfastvpn/holdfast/gateway"
	"github.com/holdfastvpn/holdfast/vpn"
	"github.com/holdfastvpn/holdfast/vpn/kvstore"
)

// Config says which history to play.
type Config struct {
	Seed     uint64
	Steps    int          // how many things happen; 0 means 100
	Cores    int          // 0 means 2
	Gateways int          // 0 means 3
	Devices  int          // that come and go; 0 means 10
	Parts    Parts        // to put something broken in
	Echo     func(string) // gets each line of the history as it happens; nil: nobody does
}

// Parts replace parts of the system with others that stand on them: each function
// gets the right part, and returns what is used instead. Nil ones replace nothing.
type Parts struct {
	DB     func(core string, db kvstore.DB) kvstore.DB
	Stores func(core string, start int, s vpn.Stores) vpn.Stores // start counts from 0
	Plane  func(gateway, core string, p gateway.ControlPlane) gateway.ControlPlane
	Pool   func(gateway string, p gateway.ControlPlane) gateway.ControlPlane
	Device func(gateway string, d gateway.Device) gateway.Device
	Talker func(gateway string, t gateway.Talker) gateway.Talker
	Guard  func(gateway.Clocks) error // of all gateways
	Early  time.Duration              // so long before a machine has an address its gateway is told of it
}

// Result is what came of a history.
type Result struct {
	Violations []Violation // in the order in which they were found
	History    []string    // one line an event
	Virtual    time.Duration
	Count      Count
}

// Count says how much was looked at: a history in which nothing can be wrong
// proves nothing.
type Count struct {
	Acked, Refused, Unknown int // what came of operators' changes
	Applies                 int // of gateways to devices
	Known                   int // of these, how many were held against the stories row by row
	Stands                  int // looks at devices that nobody and nothing had touched for 10 s
	Looks                   int // at devices of gateways that had been connected for 30 s
	Siblings                int // that gateways were asked for in the end
	Moves                   int // of floating addresses to a gateway
	Taken                   int // clients that had to be back at once after one
	Reached                 int // looks at clients that had to have answers
	Kicks                   int // that gateways gave
	Skewed                  int // machines that were started with a wrong clock
}

// Violation is a promise that was broken.
type Violation struct {
	Promise string // such as "P8"
	At      time.Duration
	What    string
}

// String returns the promise and what was seen.
func (v Violation) String() string { return fmt.Sprintf("%s: %s", v.Promise, v.What) }

func (c Config) withDefaults() Config {
	for _, d := range []struct {
		field *int
		value int
	}{{&c.Steps, 100}, {&c.Cores, 2}, {&c.Gateways, 3}, {&c.Devices, 10}} {
		if *d.field == 0 {
			*d.field = d.value
		}
	}
	return c
}

// Run plays a history to its end, or to the first violation. It has to be called
// in a bubble of testing/synctest; all that it starts has ended when it returns.
// An error means that it could not be played.
func Run(c Config) (Result, error) {
	c = c.withDefaults()
	w := newWorld(c)
	err := w.play(c)
	w.close()
	return Result{
		Violations: w.log.faults, History: w.log.lines, Virtual: time.Since(w.log.began), Count: w.count,
	}, err
}
