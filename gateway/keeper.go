package gateway

import (
	"context"
	"fmt"
	"slices"
	"time"
)

// Keeper keeps what a gateway was told last where it outlives a reboot, so that
// the gateway comes back while the control plane is away. Its calls come one at a
// time; one that takes long delays only further calls, but for Load, which a
// Process waits for before it serves anything. gateway/snapshot is one in files.
type Keeper interface {
	// Load returns all that is kept, in any order, what had to be refused
	// included. The error tells of what is not the matter of one location; what
	// was returned beside it counts all the same.
	Load(ctx context.Context) ([]Kept, error)
	// Keep replaces what is kept of k.Location: after a crash there is what was
	// or what is, as a whole. k is read-only, and k.Refused is nil. What it holds
	// is secret.
	Keep(ctx context.Context, k Kept) error
	// Forget drops what is kept of a location. What is not there is no error.
	Forget(ctx context.Context, at LocationID) error
}

// Kept is what a gateway was told last of one location.
type Kept struct {
	Location LocationID
	// Config is what was told. With a zero Interface the location has ended, or
	// was about to be ended, on this gateway.
	Config Config
	// Siblings are who else served the location, in order of ID, none of them Missing,
	// since that is of the moment; nil: nobody, or that was not kept.
	Siblings []Sibling
	// Heard is when the control plane gave its last sign of life, by this
	// machine's clock, to within an hour.
	Heard time.Time
	// Refused says why Config can not be used. That the location was served
	// here is known all the same.
	Refused error
}

const (
	// maxAge is ProcessConfig.MaxAge by default.
	maxAge = 30 * 24 * time.Hour
	// ahead is how far a clock may have been set back.
	ahead = 5 * time.Minute
)

// check says why a gateway can not start from k; most is the age limit, and no
// limit below zero: then the clock is not asked at all.
func (k Kept) check(now time.Time, most time.Duration) error {
	age := now.Sub(k.Heard)
	switch {
	case k.Refused != nil:
		return k.Refused
	case most < 0:
		return nil
	case age > most:
		return fmt.Errorf("gateway: what is kept of location %s is too old: the control plane was heard last %v ago, at %v, and the limit is %v: "+
			"wait for the control plane, or correct this machine's clock", k.Location, age.Round(time.Second), stamp(k.Heard), most)
	case age < -ahead:
		return fmt.Errorf("gateway: what is kept of location %s is from the future: the control plane was heard last at %v, and this machine's clock says %v: "+
			"correct the clock", k.Location, stamp(k.Heard), stamp(now))
	}
	return nil
}

func stamp(t time.Time) string { return t.UTC().Format(time.RFC3339) }

// keepable says whether a peer may come back from what was kept. Every peer may
// whose presence needs no live session; rows have no other kind yet, and one
// that has a mark for it is to be refused here.
func keepable(Peer) bool { return true }

// withhold returns what of c may be kept. If peers had to be left out, it is not
// c's revision any more, and has none: the plane is asked for everything.
func withhold(c Config, may func(Peer) bool) Config {
	i := slices.IndexFunc(c.Peers, func(p Peer) bool { return !may(p) })
	if i < 0 {
		return c
	}
	c.Revision = Revision{}
	c.Peers = slices.DeleteFunc(slices.Clone(c.Peers), func(p Peer) bool { return !may(p) })
	return c
}

// resume is what a gateway that starts anew goes on from: what was kept, if the
// interface is gone. If it is there, the gateway's process alone was gone, and
// what the interface has is what was told last, but for what was under way: what
// was kept may be ahead of it, or behind. A peer that it lacks may have been
// revoked. So no peer is touched, also where the process ended while it made the
// interface, and peers wait until a plane speaks. If what it has
// is not the same as what was kept, it has no revision: the plane is asked for
// everything.
func resume(kept Config, have *State) Config {
	if !have.Exists || kept.Interface.IsZero() {
		return kept
	}
	next := Config{Revision: kept.Revision, Interface: kept.Interface, Peers: make([]Peer, 0, len(have.Peers))}
	if have.Up && have.Forwarding && have.Filtered && have.Interface.validate() == nil {
		next.Interface = have.Interface.clone()
	}
	for _, h := range have.Peers {
		p := Peer{Key: h.Key, Preshared: h.Preshared, AllowedIPs: slices.Clone(h.AllowedIPs), Keepalive: h.Keepalive}
		if row, ok := kept.Peer(h.Key); ok {
			p.Endpoint = row.Endpoint // a device does not tell where it was to be at first
		}
		next.Peers = append(next.Peers, p)
	}
	if !next.Equal(kept) {
		next.Revision = Revision{}
	}
	return next
}
