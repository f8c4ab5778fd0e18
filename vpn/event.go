package vpn

import (
	"cmp"
	"context"
	"crypto/rand"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"iter"
	"slices"
	"strings"
	"sync"
	"time"
	"unicode/utf8"

	"github.com/holdfastvpn/holdfast/location"
)

// Event is something that happened: a change that somebody made, or what a
// gateway went through. It holds no secret.
type Event struct {
	// ID is given when the event is kept. IDs are in the order of time, as far as
	// the clocks of cores agree.
	ID string    `json:"id"`
	At time.Time `json:"at"`
	// By is who did it, and From is where from; "" is the core by itself.
	By   string `json:"by,omitzero"`
	From string `json:"from,omitzero"`
	Core string `json:"core"` // which core says so
	// What is the kind of thing and what became of it, such as
	// "device.changed"; a program has to expect new ones.
	What string `json:"what"`
	// Subject is the ID of the thing, Name what it was called then.
	Subject string `json:"subject,omitzero"`
	Name    string `json:"name,omitzero"`
	// Locations are those that it concerns.
	Locations []location.ID `json:"locations,omitempty"`
	// Text says more, for people.
	Text string `json:"text,omitzero"`
}

// What happens to locations, devices and gateways.
const (
	LocationCreated = "location.created"
	LocationChanged = "location.changed"
	LocationDeleted = "location.deleted"

	DeviceAdded   = "device.added"
	DeviceChanged = "device.changed"
	DeviceDeleted = "device.deleted"

	GatewayAdded     = "gateway.added"
	GatewayChanged   = "gateway.changed"
	GatewayRemoved   = "gateway.removed"
	GatewayConnected = "gateway.connected" // it watches a core
	GatewayLost      = "gateway.lost"      // no core has heard it for ConnectedFor
	GatewayDrifted   = "gateway.drifted"   // others had changed something, and it was repaired
	GatewayFailing   = "gateway.failing"   // something cannot be made right
	GatewayRecovered = "gateway.recovered" // nothing fails any more
	GatewayRestored  = "gateway.restored"  // it came back from what it was told last
)

// Actor is who does something, for the events about it.
type Actor struct {
	Name string // an account or an address of mail, as the one who asked knows it
	From string // such as the address that a request came from
}

type actorKey struct{}

// WithActor returns a context with which changes are the actor's.
func WithActor(ctx context.Context, a Actor) context.Context {
	return context.WithValue(ctx, actorKey{}, a)
}

// ActorOf returns who ctx says is acting; the zero Actor is the core itself.
func ActorOf(ctx context.Context) Actor {
	a, _ := ctx.Value(actorKey{}).(Actor)
	return a
}

const (
	eventKey = "event/"
	// DefaultEvents is how many events are kept, unless a Config says otherwise.
	DefaultEvents = 10_000
	// eventText is how many bytes of Text are kept.
	eventText = 2048
)

// Events is what happened. Every change that a core acknowledged is in it,
// whoever made it. It is safe for concurrent use.
type Events struct {
	c *Core

	mu   sync.Mutex
	last time.Time // of the newest event of this core
}

// EventFilter says which events are meant; what is zero does not matter.
type EventFilter struct {
	After    string      // later than the event of this ID
	Location location.ID // that concern the location
	Subject  string      // about the thing with this ID
	What     string      // of this kind, or those that begin with it and a dot: "gateway"
	Limit    int         // the latest ones only
}

func (f EventFilter) match(e Event) bool {
	return (f.Location == "" || slices.Contains(e.Locations, f.Location)) &&
		(f.Subject == "" || e.Subject == f.Subject) &&
		(f.What == "" || e.What == f.What || strings.HasPrefix(e.What, f.What+"."))
}

// Note keeps an event of somebody else's making; At, Core, By and From are
// filled in where they are zero. It is an error without What.
func (s *Events) Note(ctx context.Context, e Event) error {
	if e.What == "" {
		return errors.New("vpn: note an event: it does not say what happened")
	}
	by := ActorOf(ctx)
	e.By, e.From = cmp.Or(e.By, by.Name), cmp.Or(e.From, by.From)
	e.Core = cmp.Or(e.Core, s.c.id)
	if e.At.IsZero() {
		e.At = s.next()
	}
	e.At = e.At.Round(0).UTC()
	e.Text = clip(e.Text)
	var random [4]byte
	_, _ = rand.Read(random[:]) // never fails: crypto/rand ends the program instead
	e.ID = fmt.Sprintf("%020d-%s", e.At.UnixNano(), hex.EncodeToString(random[:]))
	row, err := json.Marshal(e)
	if err == nil {
		err = s.c.records.Update(ctx, eventKey+e.ID, func([]byte) ([]byte, error) { return row, nil })
	}
	if err != nil {
		return fmt.Errorf("vpn: note event %s of %q: %w", e.What, e.Subject, err)
	}
	return nil
}

// next is now, and later than the event before: events of one core keep their order.
func (s *Events) next() time.Time {
	s.mu.Lock()
	defer s.mu.Unlock()
	now := s.c.now().Round(0)
	if !now.After(s.last) {
		now = s.last.Add(1)
	}
	s.last = now
	return now
}

// note is Note for changes that are made already: whether it can be kept
// changes nothing for who made them, so it is tried for a while even if they do
// not wait, and a failure is logged.
func (s *Events) note(ctx context.Context, e Event) {
	const patience = 5 * time.Second
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), patience)
	defer cancel()
	if err := s.Note(ctx, e); err != nil {
		s.c.log.Error("an event could not be kept", "what", e.What, "subject", e.Subject, "by", e.By, "text", e.Text, "err", err)
	}
}

// List returns events, the oldest first.
func (s *Events) List(ctx context.Context, f EventFilter) ([]Event, error) {
	after := ""
	if f.After != "" {
		after = eventKey + f.After
	}
	rows, err := s.c.records.List(ctx, eventKey, after, 0)
	if err != nil {
		return nil, fmt.Errorf("vpn: list events: %w", err)
	}
	out := []Event{}
	for _, r := range slices.Backward(rows) {
		if f.Limit > 0 && len(out) == f.Limit {
			break
		}
		var e Event
		if err := json.Unmarshal(r.Value, &e); err != nil { // not strict: an old core may read a new one's
			return nil, fmt.Errorf("vpn: list events: record %q: %w", r.Key, err)
		}
		if f.match(e) {
			out = append(out, e)
		}
	}
	slices.Reverse(out)
	return out, nil
}

// Follow yields events that come after it was called, or later than f.After,
// until ctx ends. Limit has no meaning here. Failing looks are tried again, and
// yield nothing.
func (s *Events) Follow(ctx context.Context, f EventFilter) iter.Seq[Event] {
	const (
		often = 250 * time.Millisecond
		// overlap is how much later than others an event may come: clocks of cores
		// differ, and a commit takes its time.
		overlap = 10 * time.Second
	)
	return func(yield func(Event) bool) {
		f.Limit = 0
		seen := map[string]time.Time{}
		begin := s.c.now()
		first := f.After == ""
		for {
			all, err := s.List(ctx, f)
			for _, e := range all {
				_, known := seen[e.ID]
				seen[e.ID] = e.At
				if known || first && e.At.Before(begin) {
					continue
				}
				if !yield(e) {
					return
				}
			}
			if err == nil {
				first = false
				f.After = later(f.After, fmt.Sprintf("%020d", s.c.now().Add(-overlap).UnixNano()))
			}
			for id := range seen {
				if id <= f.After {
					delete(seen, id)
				}
			}
			if !sleep(ctx, often, nil) {
				return
			}
		}
	}
}

func later(a, b string) string { return max(a, b) }

// sweep removes the oldest events when there are too many.
func (s *Events) sweep(ctx context.Context, keep int) error {
	rows, err := s.c.records.List(ctx, eventKey, "", 0)
	if err != nil || len(rows) <= keep {
		return err
	}
	for _, r := range rows[:len(rows)-keep] {
		if err := s.c.records.Update(ctx, r.Key, func([]byte) ([]byte, error) { return nil, nil }); err != nil {
			return err
		}
	}
	return nil
}

// sweepEvents keeps the number of events in bounds until ctx ends.
func (c *Core) sweepEvents(ctx context.Context) {
	for sleep(ctx, time.Minute, nil) {
		if err := c.events.sweep(ctx, c.keep); err != nil && ctx.Err() == nil {
			c.log.Debug("removing old events failed, and is tried again", "err", err)
		}
	}
}

// clip shortens a text, between characters.
func clip(s string) string {
	if len(s) <= eventText {
		return s
	}
	s = s[:eventText]
	for !utf8.ValidString(s) {
		s = s[:len(s)-1]
	}
	return s + "…"
}
