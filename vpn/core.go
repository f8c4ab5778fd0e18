package vpn

import (
	"crypto/rand"
	"errors"
	"fmt"
	"log/slog"
	"strings"
	"sync"
	"time"

	"github.com/holdfastvpn/holdfast/gateway"
	"github.com/holdfastvpn/holdfast/location"
	"github.com/holdfastvpn/holdfast/peer"
	"github.com/holdfastvpn/holdfast/vpn/seal"
)

// How often a Core looks and compares, unless its Config says otherwise, and how
// long its store may be silent.
const (
	DefaultPoll   = 200 * time.Millisecond
	DefaultResync = 30 * time.Second
	staleAfter    = 500 * time.Millisecond
)

// errStopped ends streams of a core whose Run has returned.
var errStopped = errors.New("vpn: this core has stopped")

// Config holds what New needs.
type Config struct {
	Stores Stores        // required
	Keys   *seal.Keyring // required; seal.Ephemeral() goes with a memory store
	// ID tells cores on one backend apart; "" means a random one. A core that
	// starts again may use its ID again, two that run at once may not.
	ID string
	// Poll is how often to look for newer revisions; 0 means DefaultPoll.
	// Gateways are told that this core is stale when looks have failed for 500 ms,
	// or for two and a half times Poll if that is longer.
	Poll time.Duration
	// Resync is how often everything is worked out anew and compared with what
	// was kept by change; 0 means DefaultResync.
	Resync time.Duration
	// Events is how many events are kept; 0 means DefaultEvents.
	Events int
	Now    func() time.Time // nil means time.Now
	Log    *slog.Logger     // nil discards
}

// Core is a control plane: what an embedding program talks to, and what gateways
// ask. It is a gateway.ControlPlane. Without Run it reads and writes, but tells
// gateways nothing new: Watch waits.
type Core struct {
	stores  Stores
	feed    Feed
	records Records
	keys    *seal.Keyring
	id      string
	poll    time.Duration
	resync  time.Duration
	limit   time.Duration // how long looks may fail
	now     func() time.Time
	log     *slog.Logger

	locations *location.Service
	devices   *peer.Service
	gateways  *Gateways
	owners    *Owners
	events    *Events
	keep      int // events

	registry registry
	listing  listing
	links    links
	acks     acks
	looks    health
	weak     bell // rings when the store may have become stale
	stopped  chan struct{}

	mu       sync.Mutex
	started  bool
	trackers map[location.ID]*tracker
	start    chan *tracker // trackers for Run to start
}

var _ gateway.ControlPlane = (*Core)(nil)

// New makes a Core, and starts nothing. It fails if Stores or Keys are missing,
// or a duration is negative.
func New(c Config) (*Core, error) {
	switch {
	case c.Stores == nil:
		return nil, errors.New("vpn: Config.Stores is missing: memstore.New() needs nothing else")
	case c.Keys == nil:
		return nil, errors.New("vpn: Config.Keys is missing: seal.Ephemeral() goes with a memory store")
	case c.Poll != 0 && c.Poll < time.Millisecond, c.Resync != 0 && c.Resync < time.Millisecond:
		return nil, errors.New("vpn: Config.Poll and Config.Resync are 1 ms or more; 0 is the default")
	case c.Events < 0:
		return nil, errors.New("vpn: Config.Events is a number of events to keep; 0 is the default")
	}
	if c.ID == "" {
		c.ID = newID()
	}
	if c.Poll == 0 {
		c.Poll = DefaultPoll
	}
	if c.Resync == 0 {
		c.Resync = DefaultResync
	}
	if c.Events == 0 {
		c.Events = DefaultEvents
	}
	if c.Now == nil {
		c.Now = time.Now
	}
	if c.Log == nil {
		c.Log = slog.New(slog.DiscardHandler)
	}
	core := &Core{
		feed: c.Stores.Feed(), records: c.Stores.Records(), keys: c.Keys, id: c.ID,
		poll: c.Poll, resync: c.Resync, limit: max(staleAfter, c.Poll*5/2), now: c.Now,
		log:      c.Log.With("core", c.ID),
		stopped:  make(chan struct{}),
		trackers: map[location.ID]*tracker{},
		start:    make(chan *tracker),
		listing:  newListing(),
		keep:     c.Events,
	}
	core.gateways, core.owners, core.events = &Gateways{core}, &Owners{core}, &Events{c: core}
	core.stores = audited{c.Stores, core.events}
	var err error
	core.locations, err = location.NewService(location.ServiceConfig{Store: core.stores.Locations(), Keys: c.Keys})
	if err != nil {
		return nil, fmt.Errorf("vpn: %w", err)
	}
	core.devices, err = peer.NewService(peer.ServiceConfig{
		Store: core.stores.Devices(), Locations: c.Stores.Locations(), Standing: core.owners.standing,
	})
	if err != nil {
		return nil, fmt.Errorf("vpn: %w", err)
	}
	return core, nil
}

// ID tells this core from others on the same backend.
func (c *Core) ID() string { return c.id }

// Locations is where people connect.
func (c *Core) Locations() *location.Service { return c.locations }

// Devices is who connects.
func (c *Core) Devices() *peer.Service { return c.devices }

// Gateways is who serves the locations.
func (c *Core) Gateways() *Gateways { return c.gateways }

// Owners is whom devices belong to.
func (c *Core) Owners() *Owners { return c.owners }

// Events is what happened.
func (c *Core) Events() *Events { return c.events }

// newID makes an opaque ID that nobody else makes: 26 characters of lower-case
// base32, the first one a letter.
func newID() string {
	return "g" + strings.ToLower(rand.Text())[:25]
}
