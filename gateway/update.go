package gateway

import (
	"fmt"
	"slices"

	"github.com/holdfastvpn/holdfast/vpn/wgkey"
)

// Apply returns c after u: what u says of From on, or, where From is zero, what
// u says alone. It is ErrGap if u starts at another revision than c's. A
// snapshot that does not say what the interface is to be is an error too: the
// end of a location is said in so many words, with a zero Interface.
//
// c and u stay as they are, and the result shares memory with both: treat all
// three as read-only. Nothing is validated.
func (c Config) Apply(u Update) (Config, error) {
	switch {
	case u.From.IsZero() && u.Interface == nil:
		return Config{}, fmt.Errorf("gateway: apply a snapshot at %v: it does not say what the interface is to be", u.To)
	case u.From.IsZero():
		c = Config{}
	case u.From != c.Revision:
		return Config{}, fmt.Errorf("gateway: apply an update from %v to a configuration at %v: %w", u.From, c.Revision, ErrGap)
	}
	c.Revision = u.To
	if u.Interface != nil {
		c.Interface = *u.Interface
	}
	if len(u.Remove)+len(u.Set) > 0 {
		c.Peers = merge(c.Peers, ordered(u.Remove, wgkey.Public.Compare), ordered(u.Set, comparePeers))
	}
	return c, nil
}

// merge returns old without remove and with set, all in key order. A key that
// is in both lists stays: set replaces.
func merge(old []Peer, remove []wgkey.Public, set []Peer) []Peer {
	out := make([]Peer, 0, len(old)+len(set))
	put := func(p Peer) { // of equal keys the last one stays
		if n := len(out); n > 0 && out[n-1].Key == p.Key {
			out[n-1] = p
			return
		}
		out = append(out, p)
	}
	for _, p := range old {
		for len(set) > 0 && set[0].Key.Compare(p.Key) < 0 {
			put(set[0])
			set = set[1:]
		}
		for len(remove) > 0 && remove[0].Compare(p.Key) < 0 {
			remove = remove[1:]
		}
		if len(remove) == 0 || remove[0] != p.Key {
			put(p)
		}
	}
	for _, p := range set {
		put(p)
	}
	return out
}

// Since returns the Update that leads from old to c: old.Apply(c.Since(old))
// equals c. With a zero revision in old it is a snapshot. What it holds is
// shared with c.
func (c Config) Since(old Config) Update {
	u := Update{From: old.Revision, To: c.Revision}
	if old.Revision.IsZero() {
		old = Config{}
	}
	if old.Revision.IsZero() || !c.Interface.Equal(old.Interface) {
		i := c.Interface
		u.Interface = &i
	}
	have := old.Peers
	for _, p := range c.Peers {
		for len(have) > 0 && have[0].Key.Compare(p.Key) < 0 {
			u.Remove = append(u.Remove, have[0].Key)
			have = have[1:]
		}
		if len(have) > 0 && have[0].Key == p.Key {
			if !have[0].Equal(p) {
				u.Set = append(u.Set, p)
			}
			have = have[1:]
			continue
		}
		u.Set = append(u.Set, p)
	}
	for _, p := range have {
		u.Remove = append(u.Remove, p.Key)
	}
	return u
}

// ordered returns list if it is in order, or else a sorted copy.
func ordered[T any](list []T, compare func(a, b T) int) []T {
	if slices.IsSortedFunc(list, compare) {
		return list
	}
	list = slices.Clone(list)
	slices.SortStableFunc(list, compare)
	return list
}
