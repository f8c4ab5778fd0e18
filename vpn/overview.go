package vpn

import (
	"cmp"
	"context"
	"fmt"
	"net/netip"
	"slices"
	"time"

	"github.com/holdfastvpn/holdfast/gateway"
	"github.com/holdfastvpn/holdfast/location"
	"github.com/holdfastvpn/holdfast/peer"
	"github.com/holdfastvpn/holdfast/vpn/wgkey"
)

// ActiveFor is how long after its last sign of life a peer counts as active: as
// long as WireGuard keeps a session (REJECT_AFTER_TIME). A client that sends
// keepalives is active while it is there.
const ActiveFor = 180 * time.Second

// Overview is who is connected and who carries whom, at one moment. It holds no
// secrets. In JSON ages are seconds, null for never, and bytes are counted as
// gateways see them: received from peers, sent to them.
type Overview struct {
	Core      string             `json:"core"` // which core says so
	At        time.Time          `json:"at"`
	Locations []LocationOverview `json:"locations"` // by name
}

// LocationOverview is one location.
type LocationOverview struct {
	ID       location.ID    `json:"id"`
	Name     string         `json:"name"`
	Networks []netip.Prefix `json:"networks"`
	Host     string         `json:"host"`
	Port     uint16         `json:"port"`
	Disabled bool           `json:"disabled"`
	// Revision is what gateways should have.
	Revision  Revision `json:"revision"`
	Connected int      `json:"connected"` // gateways that are
	Active    int      `json:"active"`    // peers that are
	Enabled   int      `json:"enabled"`   // peers that may be
	Rx        uint64   `json:"rx_bytes"`
	Tx        uint64   `json:"tx_bytes"`
	// Problems of the location itself, in words.
	Problems []string          `json:"problems"`
	Gateways []GatewayOverview `json:"gateways"` // by name, those that are assigned
	Peers    []PeerOverview    `json:"peers"`    // by owner, name and ID
}

// GatewayOverview is a gateway's place in a location.
type GatewayOverview struct {
	ID   gateway.ID `json:"id"`
	Name string     `json:"name"`
	// Connected says that the gateway watches a core, whichever, and was heard in
	// the last 5 s.
	Connected bool `json:"connected"`
	Disabled  bool `json:"disabled"`
	Since     Age  `json:"since"` // it began to watch
	Heard     Age  `json:"heard"` // its last report came
	// Applied is what its system acknowledged, Verified what a full observation
	// matched; Behind is how many revisions Applied lacks.
	Applied  Revision `json:"applied"`
	Verified Revision `json:"verified"`
	Behind   uint64   `json:"behind"`
	// Ready says that clients may be sent there: see gateway.Status.
	Ready bool `json:"ready"`
	// Restored says that its process began from what it had been told before,
	// since no core could be reached.
	Restored bool `json:"restored"`
	// Stalled says that updates wait for more than 1 s to be applied there.
	Stalled bool   `json:"stalled"`
	Carries int    `json:"carries"` // active peers
	Backend string `json:"backend"`
	Version string `json:"version"`
	// Failed is what could not be made right, Drift what others had changed and
	// was repaired, latest last; Drifts counts those since the process began.
	Failed []string `json:"failed"`
	Drift  []string `json:"drift"`
	Drifts uint64   `json:"drifts"`
}

// PeerOverview is a device's place in a location.
type PeerOverview struct {
	Device   peer.DeviceID `json:"device"`
	Name     string        `json:"name"`
	Owner    string        `json:"owner"`
	Key      wgkey.Public  `json:"key"`
	Addrs    []netip.Addr  `json:"addresses"`
	Disabled bool          `json:"disabled"` // itself, its place or its owner
	// Active says that some gateway heard it within ActiveFor.
	Active bool `json:"active"`
	Heard  Age  `json:"heard"`
	// Carrier is the gateway with the newest confirmed handshake, whose age and
	// endpoint are beside it.
	Carrier     gateway.ID     `json:"carrier"`
	CarrierName string         `json:"carrier_name"`
	Handshake   Age            `json:"handshake"`
	Endpoint    netip.AddrPort `json:"endpoint"`
	Rx          uint64         `json:"rx_bytes"` // over all gateways
	Tx          uint64         `json:"tx_bytes"`
}

// Overview looks at everything. What it tells of gateways is what this core was
// told, or other cores say that they were told; a core that has just begun to
// Run knows of others within about two seconds.
func (c *Core) Overview(ctx context.Context) (Overview, error) {
	fail := func(err error) (Overview, error) { return Overview{}, fmt.Errorf("vpn: overview: %w", err) }
	locations, err := c.stores.Locations().List(ctx)
	if err != nil {
		return fail(err)
	}
	gateways, err := c.gateways.List(ctx)
	if err != nil {
		return fail(err)
	}
	o := Overview{Core: c.id, At: c.now().Round(0).UTC(), Locations: []LocationOverview{}}
	for _, l := range locations {
		v, err := c.feed.View(ctx, l.ID, Revision{})
		if err != nil {
			return fail(err)
		}
		if v.Location == nil {
			continue // deleted meanwhile
		}
		o.Locations = append(o.Locations, c.look(v, gateways))
	}
	slices.SortFunc(o.Locations, func(a, b LocationOverview) int {
		return cmp.Or(cmp.Compare(a.Name, b.Name), cmp.Compare(a.ID, b.ID))
	})
	return o, nil
}

// look puts together what is known of one location.
func (c *Core) look(v View, gateways []Gateway) LocationOverview {
	now := c.now()
	l := v.Location
	o := LocationOverview{
		ID: l.ID, Name: l.Name, Networks: l.Networks, Host: l.Host, Port: l.Port, Disabled: l.Disabled, Revision: v.Rev,
		Problems: []string{}, Gateways: []GatewayOverview{}, Peers: []PeerOverview{},
	}
	if _, err := project(*l, c.keys); err != nil {
		o.Problems = append(o.Problems, "gateways keep what they have: "+err.Error())
	}
	members := c.members(l.ID, true)
	names := map[wgkey.Public]string{}
	for _, d := range v.Devices {
		names[d.Key] = d.Name
	}
	place := map[gateway.ID]int{}
	var seen []map[wgkey.Public]gateway.Sighting
	for _, g := range gateways {
		if !slices.Contains(g.Locations, l.ID) {
			continue
		}
		m := members[g.ID]
		place[g.ID] = len(o.Gateways)
		seen = append(seen, m.seen)
		o.Gateways = append(o.Gateways, lookAtGateway(g, m, v.Rev, names, now))
		if o.Gateways[place[g.ID]].Connected {
			o.Connected++
		}
	}
	for _, d := range v.Devices {
		p := lookAtPeer(l.ID, d, seen, now)
		if at, known := place[p.Carrier]; known {
			p.CarrierName = o.Gateways[at].Name
			if p.Active {
				o.Gateways[at].Carries++
			}
		}
		if p.Active {
			o.Active++
		}
		if !p.Disabled {
			o.Enabled++
		}
		o.Rx += p.Rx
		o.Tx += p.Tx
		o.Peers = append(o.Peers, p)
	}
	slices.SortFunc(o.Peers, func(a, b PeerOverview) int {
		return cmp.Or(cmp.Compare(a.Owner, b.Owner), cmp.Compare(a.Name, b.Name), cmp.Compare(a.Device, b.Device))
	})
	return o
}

func lookAtGateway(g Gateway, m member, want Revision, names map[wgkey.Public]string, now time.Time) GatewayOverview {
	s := m.status
	o := GatewayOverview{
		ID: g.ID, Name: g.Name, Disabled: g.Disabled,
		Connected: !g.Disabled && m.connected(now),
		Since:     AgeOf(m.since, now), Heard: AgeOf(m.at, now),
		Applied: s.Applied, Verified: s.Verified,
		Ready: s.Ready, Restored: s.Restored, Stalled: s.Stalled, Backend: s.Backend, Version: s.Version,
		Failed: words(s.Failed, names, now), Drift: words(s.Drift, names, now), Drifts: s.Drifts,
	}
	if !s.Applied.Reached(want) {
		o.Behind = want.Number
		if s.Applied.Epoch == want.Epoch {
			o.Behind -= s.Applied.Number
		}
	}
	return o
}

// lookAtPeer puts a device's place together with what each gateway saw of it.
func lookAtPeer(at location.ID, d peer.Device, seen []map[wgkey.Public]gateway.Sighting, now time.Time) PeerOverview {
	here, _ := d.At(at)
	o := PeerOverview{
		Device: d.ID, Name: d.Name, Owner: d.Owner, Key: d.Key, Addrs: here.Addrs,
		Disabled: d.Disabled || d.Standing.Disabled || here.Disabled,
		Heard:    Never, Handshake: Never,
	}
	if o.Addrs == nil {
		o.Addrs = []netip.Addr{}
	}
	var carrier gateway.Sighting
	var heard time.Time
	for _, of := range seen {
		s, known := of[d.Key]
		if !known {
			continue
		}
		o.Rx += s.Rx
		o.Tx += s.Tx
		if s.Heard.After(heard) {
			heard = s.Heard
		}
		if s.Handshake.After(carrier.Handshake) {
			carrier = s
		}
	}
	o.Heard, o.Handshake = AgeOf(heard, now), AgeOf(carrier.Handshake, now)
	o.Carrier, o.Endpoint = carrier.By, carrier.Endpoint
	o.Active = !o.Disabled && o.Heard.Within(ActiveFor)
	return o
}

// words tells problems to people.
func words(list []gateway.Problem, names map[wgkey.Public]string, now time.Time) []string {
	out := []string{}
	for _, p := range list {
		text := p.What
		if !p.Key.IsZero() {
			name, known := names[p.Key]
			if !known {
				name = p.Key.String()
			}
			text = "peer " + name + ": " + text
		}
		if age := AgeOf(p.At, now); age != Never {
			text += fmt.Sprintf(" (%v ago)", age)
		}
		out = append(out, text)
	}
	return out
}
