package gateway

import (
	"fmt"
	"net/netip"
	"slices"
	"time"

	"github.com/holdfastvpn/holdfast/vpn/wgkey"
)

// drift tells in words what others changed: what of found, the Plan from have to
// want, is not in expected, the Plan that was still to be done. It is pure.
func drift(want Config, have State, found, expected Plan, now time.Time) []Problem {
	d := drifting{want: want, have: have, now: now, named: map[wgkey.Public]bool{}}
	type which struct {
		verb  Verb
		key   wgkey.Public
		route netip.Prefix
	}
	pending, fields := map[which]bool{}, Fields(0)
	for _, s := range expected {
		pending[which{s.Verb, s.Peer.Key, s.Route}] = true
		fields |= s.Fields
	}
	for _, s := range found {
		if s.Verb == Configure {
			s.Fields &^= fields
		} else if pending[which{s.Verb, s.Peer.Key, s.Route}] {
			continue
		}
		if s.Fields&FieldCreate != 0 {
			d.sayf(wgkey.Public{}, "the interface was deleted")
			break // all the rest comes of that
		}
		d.step(s)
	}
	return d.found
}

type drifting struct {
	want  Config
	have  State
	now   time.Time
	named map[wgkey.Public]bool
	found []Problem
}

func (d *drifting) sayf(key wgkey.Public, format string, args ...any) {
	d.found = append(d.found, Problem{Key: key, What: fmt.Sprintf(format, args...), At: d.now})
}

func (d *drifting) step(s Step) {
	switch s.Verb {
	case Remove, Set:
		if !d.named[s.Peer.Key] {
			d.named[s.Peer.Key] = true
			d.peer(s.Peer.Key)
		}
	case Configure:
		d.iface(s.Fields)
	case Unroute:
		d.sayf(wgkey.Public{}, "a route to %v was added", s.Route)
	case Route:
		if d.have.Up && !has(d.have.Routes, s.Route) { // others went with the link, or go with its addresses
			d.sayf(wgkey.Public{}, "the route to %v was removed", s.Route)
		}
	case Kick: // no difference asks for one
	case Destroy:
		d.sayf(wgkey.Public{}, "an interface was made where there should be none")
	}
}

func (d *drifting) peer(key wgkey.Public) {
	w, wanted := d.want.Peer(key)
	i, there := slices.BinarySearchFunc(d.have.Peers, key, func(h PeerState, k wgkey.Public) int {
		return h.Key.Compare(k)
	})
	switch {
	case !wanted:
		d.sayf(key, "a peer that does not belong here was added")
		return
	case !there:
		d.sayf(key, "the peer was removed")
		return
	}
	h := d.have.Peers[i]
	if w.Preshared != h.Preshared {
		d.sayf(key, "its preshared key was changed")
	}
	if !same(w.AllowedIPs, h.AllowedIPs) {
		d.sayf(key, "its allowed IPs were changed from %s to %s", list(w.AllowedIPs), list(h.AllowedIPs))
	}
	if w.Keepalive != h.Keepalive {
		d.sayf(key, "its keepalive was changed from %v to %v", w.Keepalive, h.Keepalive)
	}
}

func (d *drifting) iface(f Fields) {
	w, h := d.want.Interface, d.have.Interface
	for _, c := range []struct {
		field Fields
		words string
	}{
		{FieldKey, "the private key was changed"},
		{FieldPort, fmt.Sprintf("the port was changed from %d to %d", w.Port, h.Port)},
		{FieldMark, fmt.Sprintf("the firewall mark was changed from %#x to %#x", w.Mark, h.Mark)},
		{FieldMTU, fmt.Sprintf("the MTU was changed from %d to %d", w.MTU, h.MTU)},
		{FieldAddrs, fmt.Sprintf("the addresses were changed from %s to %s", list(w.Addrs), list(h.Addrs))},
		{FieldFilter, "the filter table was changed or removed"},
		{FieldForwarding, "forwarding was switched off"},
		{FieldUp, "the interface was taken down"},
		{FieldSource, "what sends from the floating addresses was changed or removed"},
	} {
		if f&c.field != 0 {
			d.sayf(wgkey.Public{}, "%s", c.words)
		}
	}
}
