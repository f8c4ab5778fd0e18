package gateway

import (
	"context"
	"net/netip"
	"slices"
	"time"

	"github.com/holdfastvpn/holdfast/vpn/wgkey"
)

const (
	// unanswered is how long a client that lives may be silent after it was sent data: it
	// answers by a keepalive, if by nothing else, after 10 s (KEEPALIVE_TIMEOUT). From
	// 15 s on (and REKEY_TIMEOUT) WireGuard sends an initiation each 5 s, for 90 s, here as
	// at the client; a look each second finds out between the two.
	unanswered = 11 * time.Second
	// parked is how long a client has, then, to come to another gateway: it notices after
	// 15 s, and may have to repeat its initiation.
	parked = 45 * time.Second
)

// nowhere is a place where nobody is: discard (RFC 863), on this machine.
func nowhere() netip.AddrPort { return netip.AddrPortFrom(netip.AddrFrom4([4]byte{127, 0, 0, 1}), 9) }

// astray finds peers that were sent data and do not answer. Where several gateways have
// the client's address, its packets may reach another one now, which does not know its
// session, while what is said from here still arrives: as long as the client hears
// anything it does not ask for another session (KEEPALIVE_TIMEOUT), and the initiations
// that WireGuard would send from here for 90 s are answered to the other one. So nothing
// more is to be said to it. Its session stays: when it speaks here again, it is answered.
//
// It is not safe for concurrent use. The zero value has seen nobody.
type astray struct {
	peers map[wgkey.Public]*unheardOf
}

// unheardOf is one of them. Its instants are those of a clock that nobody sets.
type unheardOf struct {
	rx, tx uint64
	said   time.Duration  // when it was seen first that data had been said to it, and not answered; 0: none was
	away   time.Duration  // when it was parked; 0: it is not
	place  netip.AddrPort // where it was then
}

// observe takes in what the device has at up, more than 0.
func (q *astray) observe(s *State, up time.Duration) {
	if q.peers == nil {
		q.peers = map[wgkey.Public]*unheardOf{}
	}
	there := 0
	for i := range s.Peers {
		p := &s.Peers[i]
		if p.Handshake.IsZero() || !p.Endpoint.IsValid() {
			continue
		}
		there++
		one := q.peers[p.Key]
		if one == nil || p.Rx < one.rx || p.Tx < one.tx {
			q.peers[p.Key] = &unheardOf{rx: p.Rx, tx: p.Tx}
			continue
		}
		heard, said := p.Rx > one.rx, isData(p.Tx-one.tx)
		one.rx, one.tx = p.Rx, p.Tx
		switch {
		case heard && !said:
			one.said, one.away = 0, 0
		case heard: // nobody knows which came first
			one.said, one.away = up, 0
		case said && one.said == 0:
			one.said = up
		}
	}
	if there == len(q.peers) {
		return
	}
	for key := range q.peers {
		if p, ok := findState(s.Peers, key); !ok || p.Handshake.IsZero() || !p.Endpoint.IsValid() {
			delete(q.peers, key)
		}
	}
}

// isData says whether what was sent within a second or so has something in it that is to
// be answered: more than a keepalive (32 bytes), a response (92) or an initiation (148).
func isData(grown uint64) bool {
	switch grown {
	case 0, 32, 92, 32 + 92, 148, 148 + 32:
		return false
	default:
		return true
	}
}

// due returns, in key order, kicks for those who are to be parked at up, and for those who
// have been for long enough, at the place where they were. may says from which places
// packets may have come to another gateway.
func (q *astray) due(s *State, up time.Duration, may func(netip.AddrPort) bool) (park, back Plan) {
	for i := range s.Peers {
		p := &s.Peers[i]
		one := q.peers[p.Key]
		if one == nil || one.said == 0 {
			continue
		}
		kick := Step{Verb: Kick, Peer: Peer{Key: p.Key, Keepalive: p.Keepalive}}
		switch {
		case one.away == 0 && up-one.said >= unanswered && p.Endpoint != nowhere() && may(p.Endpoint):
			kick.Peer.Endpoint = nowhere()
			park = append(park, kick)
		case one.away != 0 && up-one.away >= parked && p.Endpoint == nowhere():
			kick.Peer.Endpoint = one.place
			back = append(back, kick)
		}
	}
	return park, back
}

// done notes that kicks of due were done, at up; s is from before.
func (q *astray) done(park, back Plan, s *State, up time.Duration) {
	for _, step := range park {
		one := q.peers[step.Peer.Key]
		p, there := findState(s.Peers, step.Peer.Key)
		if one == nil || !there {
			continue
		}
		one.away, one.place = up, p.Endpoint
	}
	for _, step := range back {
		if one := q.peers[step.Peer.Key]; one != nil {
			one.said, one.away = 0, 0
		}
	}
}

// quiet leaves those alone who may have gone to another gateway without its having heard
// of them. The caller has the turn.
func (r *Reconciler) quiet(ctx context.Context) {
	d := &r.dev
	up := r.up() + time.Second // and so never 0
	may, fit := r.elsewhere(), r.Fit() == nil
	due := func() (park, back Plan) {
		d.astray.observe(&d.have, up)
		park, back = d.astray.due(&d.have, up, may)
		if !fit {
			back = nil // it would begin with an initiation
		}
		return park, back
	}
	if park, back := due(); len(park)+len(back) == 0 || r.look(ctx) != nil {
		return
	}
	park, back := due()
	if len(park) > 0 {
		r.log.Info("clients do not answer, and may have another gateway now: they are left to it", "count", len(park))
	}
	before := d.have.Clone()
	r.do(ctx, slices.Concat(park, back))
	d.astray.done(park, back, &before, up)
}

// elsewhere says from which places packets may reach a sibling, at the address that this
// machine has, too.
func (r *Reconciler) elsewhere() func(netip.AddrPort) bool {
	r.mu.Lock()
	owned := slices.Clone(r.owned)
	r.mu.Unlock()
	r.sib.mu.Lock()
	defer r.sib.mu.Unlock()
	var theirs [][]netip.Addr
	now := time.Now()
	for _, one := range r.sib.known {
		if one.heard(now) {
			theirs = append(theirs, slices.Clone(one.last.Owns))
		}
	}
	return func(place netip.AddrPort) bool {
		return slices.ContainsFunc(theirs, func(there []netip.Addr) bool { return shares(owned, there, place) })
	}
}
