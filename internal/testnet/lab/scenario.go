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
	// Keepalived says that it runs keepalived on the gateways.
	Keepalived bool
	Lossless   string // why it cannot be right where packets are lost; "": it can
	// Play runs the story once, in a network of its own, and leaves nothing. It
	// returns what was wrong; figures go into r.Metrics.
	Play func(ctx context.Context, r *Run) error
	// Judge says what is wrong with the figures of a series of at least that many
	// runs, of which each was right; nil: each run has said all.
	Judge func(s Series) error
}

// many is how many runs make a series whose figures can be judged.
const many = 20

// Series is what many runs of a scenario measured.
type Series struct {
	Clock   string
	Line    line
	Metrics *Metrics
}

// Run is one run of a scenario.
type Run struct {
	Seed    uint64
	Rand    *rand.Rand // from Seed; everything random comes from here
	Backend wgdevice.Backend
	Clock   string   // as in Result
	Line    line     // what the client's link is like
	Crowd   int      // how many clients talk where there are many
	Metrics *Metrics // shared by all runs of the scenario
	Log     *slog.Logger
}

// scenarios lists all, in the order in which they are played.
func scenarios() []Scenario {
	return []Scenario{
		twoGateways(), noReset(), drift(), refused(), floatingAddress(), moved(), failoverIdle(), pingPong(),
		vanilla(), failover(), failoverNAT(), failoverIPv6(), failback(), twoOwners(), roaming(),
		coreDownFailover(),
		tcpThroughFailover(), innerInitiated(),
		clockSkew(), replayInitiation(), keyWithoutPSK(), flappingHash(),
		failoverMany(),
		joinScenario(), coreDown(), gatewayKilled(), reboot(), halfOpen(), throughSibling(), revokedGateway(), rotate(), slowGateway(),
		lostHints(), twoLocations(),
	}
}
