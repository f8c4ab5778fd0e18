package wgmodel

import "time"

// WireGuard's constants.
const (
	rekeyAfter     = 120 * time.Second
	rejectAfter    = 180 * time.Second
	rekeyAttempt   = 90 * time.Second
	rekeyTimeout   = 5 * time.Second
	rekeyJitter    = time.Second / 3
	keepaliveAfter = 10 * time.Second
	flood          = 20 * time.Millisecond // no more initiations of one peer than one in this
	mostStaged     = 128
)

// keypair is one end of a session.
type keypair struct {
	id        uint64
	initiator bool
	born      time.Time
	sends     bool // it may be sent with
	receives  bool
}

// old says whether the session has had its time.
func (k *keypair) old(now time.Time, after time.Duration) bool { return now.Sub(k.born) >= after }

// keypairs are the sessions of one end with another: what is sent goes by current,
// and what comes may be of any.
type keypairs struct{ current, previous, next *keypair }

// begin takes in a new session. That of the initiator can be used at once, that of
// the responder has to be confirmed.
func (ks *keypairs) begin(k *keypair) {
	switch {
	case !k.initiator:
		ks.next, ks.previous = k, nil
	case ks.next != nil:
		ks.current, ks.previous, ks.next = k, ks.next, nil
	default:
		ks.current, ks.previous = k, ks.current
	}
}

// confirm notes that something came by a session, and says whether that confirmed
// it.
func (ks *keypairs) confirm(k *keypair) bool {
	if k != ks.next {
		return false
	}
	ks.previous, ks.current, ks.next = ks.current, k, nil
	return true
}

// find returns the session with this identity; nil: there is none.
func (ks *keypairs) find(id uint64) *keypair {
	for _, k := range [...]*keypair{ks.current, ks.previous, ks.next} {
		if k != nil && k.id == id {
			return k
		}
	}
	return nil
}
