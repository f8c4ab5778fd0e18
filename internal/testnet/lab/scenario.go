//go:build linux

package main

import (
	"context"
	"log/slog"
	"math/rand/v2"
	"time"

	"github.com/holdfastvpn/holdfast/gateway/wgdevice"
)

// Scenario is one story with an end that is right or wrong.
type Scenario struct {
	Name     string
	Does     string        // half a line for -list
	Promises []string      // which of the promises it is proof of
	Limit    time.Duration // of one run, on a perfect network
	// Processes says that it runs the daemons, as processes.
	Processes bool
	Lossless  string // why it cannot be right where packets are lost; "": it can
	// Play runs the story once, in a network of its own, and leaves nothing. It
	// returns what was wrong; figures go into r.Metrics.
	Play func(ctx context.Context, r *Run) error
}

// Run is one run of a scenario.
type Run struct {
	Seed    uint64
	Rand    *rand.Rand // from Seed; everything random comes from here
	Backend wgdevice.Backend
	Clock   string   // as in Result
	Line    line     // what the client's link is like
	Metrics *Metrics // shared by all runs of the scenario
	Log     *slog.Logger
}

// scenarios lists all, in the order in which they are played.
func scenarios() []Scenario {
	return []Scenario{
		twoGateways(), noReset(), drift(), refused(), floatingAddress(), failover(), failoverIdle(), pingPong(),
		tcpThroughFailover(), innerInitiated(), across(),
		joinScenario(), coreDown(), gatewayKilled(), reboot(), halfOpen(), revokedGateway(), rotate(), slowGateway(),
		lostHints(), twoLocations(),
	}
}
