package gateway

import "time"

// fitting is the part of a Config that a device may be asked for.
type fitting struct {
	Config

	// keep says that the interface asked for is no good, and that there is no
	// better one: the one that is there stays as it is.
	keep bool
	// unfit are the peers that were left out, or the interface.
	unfit []Problem
}

// fit leaves out of c what would fail or do harm: a bad row grants nothing and
// holds up nobody else. Of two peers that claim a prefix the later one goes. An
// interface that is no good leaves the last one in place.
func fit(c Config, last Interface, now time.Time) fitting {
	f := fitting{Config: c}
	if c.Interface.IsZero() { // the location has ended
		f.Peers = nil
		return f
	}
	if err := c.Interface.validate(); err != nil {
		f.unfit = append(f.unfit, Problem{What: "configuration refused: " + err.Error(), At: now})
		f.Interface, f.keep = last, last.IsZero()
	}
	bad := map[int]bool{}
	f.check(func(i int, err *FieldError) bool {
		bad[i] = true
		f.unfit = append(f.unfit, Problem{Key: c.Peers[i].Key, What: "configuration refused: " + err.Error(), At: now})
		return true
	})
	if len(bad) == 0 {
		return f
	}
	f.Peers = make([]Peer, 0, len(c.Peers)-len(bad))
	for i, p := range c.Peers {
		if !bad[i] {
			f.Peers = append(f.Peers, p)
		}
	}
	return f
}
