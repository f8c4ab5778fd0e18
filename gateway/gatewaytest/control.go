package gatewaytest

import (
	"iter"
	"slices"
	"strconv"
	"testing"

	"github.com/holdfastvpn/holdfast/gateway"
	"github.com/holdfastvpn/holdfast/vpn/wgkey"
)

// Link joins the two ends of a transport: it serves origin, and returns a
// control plane that reaches origin over the wire. What has to be closed, it
// hands to tb.Cleanup.
type Link func(tb testing.TB, origin gateway.ControlPlane) gateway.ControlPlane

// RunControlPlane checks that a link changes nothing but the place: a control
// plane behind it keeps the contract as it does without, and all that is said in
// either direction arrives as it was said.
func RunControlPlane(t *testing.T, link Link) {
	t.Helper()
	for name, test := range linkCases(link) {
		t.Run(name, func(t *testing.T) { test(t) })
	}
}

// Wire is the near end of a link that can be cut. All fields are required.
type Wire struct {
	gateway.ControlPlane

	// Cut breaks what is under way, as a connection that is reset, and lets nothing
	// cross until Heal.
	Cut, Heal func()
}

// RunWire checks what a link does when it is cut, beside RunControlPlane. open is
// called for each case, and serves origin as a Link does.
func RunWire(t *testing.T, open func(tb testing.TB, origin gateway.ControlPlane) Wire) {
	t.Helper()
	for name, test := range cutCases(open) {
		t.Run(name, func(t *testing.T) { test(t) })
	}
}

// Origin is a control plane and what RunOrigin needs to drive it. All are
// required. What they change may take a moment to show.
type Origin struct {
	gateway.ControlPlane

	// Found makes a new location with an interface and no peers.
	Found func() gateway.LocationID
	// Enrol makes a new gateway that serves these locations.
	Enrol func(at ...gateway.LocationID) gateway.ID
	// Assign lets a gateway serve exactly these locations.
	Assign func(id gateway.ID, at ...gateway.LocationID)
	// Move says where a gateway is dialled, host:port; "": nowhere, as at first.
	Move func(id gateway.ID, addr string)
	// Revoke refuses a gateway from now on.
	Revoke func(id gateway.ID)
	// Grow adds a peer to a location, and Shrink removes one.
	Grow   func(at gateway.LocationID) wgkey.Public
	Shrink func(at gateway.LocationID, key wgkey.Public)
	// End takes a location's interface and peers away.
	End func(at gateway.LocationID)
	// Config returns what the gateways of a location are to be now, with the
	// revision.
	Config func(at gateway.LocationID) gateway.Config
}

// RunOrigin checks a control plane against the contract. open is called for each
// case.
func RunOrigin(t *testing.T, open func(tb testing.TB) Origin) {
	t.Helper()
	for name, test := range originCases(open) {
		t.Run(name, func(t *testing.T) { test(t) })
	}
}

// Origin returns p as RunOrigin drives it.
func (p *Plane) Origin() Origin {
	locations, gateways, peers := 0, 0, 0
	return Origin{
		ControlPlane: p,
		Found: func() gateway.LocationID {
			locations++
			at := gateway.LocationID("location" + strconv.Itoa(locations))
			p.Put(at, gateway.Config{Interface: Interface()})
			return at
		},
		Enrol: func(at ...gateway.LocationID) gateway.ID {
			gateways++
			id := gateway.ID("gateway" + strconv.Itoa(gateways))
			p.Assign(id, at...)
			return id
		},
		Assign: p.Assign,
		Move:   p.Move,
		Revoke: func(id gateway.ID) { p.Refuse(id, gateway.ErrRevoked) },
		Grow: func(at gateway.LocationID) wgkey.Public {
			peers++
			p.SetPeer(at, Peer(peers))
			return Peer(peers).Key
		},
		Shrink: func(at gateway.LocationID, key wgkey.Public) { p.RemovePeer(at, key) },
		End:    func(at gateway.LocationID) { p.End(at) },
		Config: p.Config,
	}
}

type originCase struct {
	name string
	test func(tb testing.TB, o Origin)
}

func originCases(open func(tb testing.TB) Origin) iter.Seq2[string, func(testing.TB)] {
	return func(yield func(string, func(testing.TB)) bool) {
		for _, c := range slices.Concat(watchCases(), streamCases(), siblingCases(), reportCases()) {
			if !yield(c.name, func(tb testing.TB) { c.test(tb, open(tb)) }) {
				return
			}
		}
	}
}

func linkCases(link Link) iter.Seq2[string, func(testing.TB)] {
	behind := func(tb testing.TB) Origin {
		tb.Helper()
		o := NewPlane().Origin()
		o.ControlPlane = link(tb, o.ControlPlane)
		return o
	}
	return func(yield func(string, func(testing.TB)) bool) {
		for name, test := range originCases(behind) {
			if !yield(name, test) {
				return
			}
		}
		for _, c := range wireCases() {
			if !yield(c.name, func(tb testing.TB) { c.test(tb, link) }) {
				return
			}
		}
	}
}
