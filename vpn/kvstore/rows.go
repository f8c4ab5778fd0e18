package kvstore

import (
	"bytes"
	"encoding/json"
	"net/netip"
	"time"

	"github.com/holdfastvpn/holdfast/location"
	"github.com/holdfastvpn/holdfast/peer"
	"github.com/holdfastvpn/holdfast/vpn/seal"
	"github.com/holdfastvpn/holdfast/vpn/wgkey"
)

// The stored forms. They are converted from and to the types of the domain,
// which compiles only while the fields are the same: who adds a field there
// chooses its stored name here.

type locationRow struct {
	ID              location.ID    `json:"id"`
	Rev             uint64         `json:"rev,omitzero"`
	Name            string         `json:"name,omitzero"`
	Networks        []netip.Prefix `json:"networks,omitempty"`
	Gateway         []netip.Addr   `json:"gateway,omitempty"`
	Reserved        []netip.Prefix `json:"reserved,omitempty"`
	AllowOverlap    bool           `json:"allow_overlap,omitzero"`
	Host            string         `json:"host,omitzero"`
	Floating        []netip.Addr   `json:"floating,omitempty"`
	Port            uint16         `json:"port,omitzero"`
	MTU             int            `json:"mtu,omitzero"`
	Mark            uint32         `json:"mark,omitzero"`
	Inner           location.Inner `json:"inner,omitzero"`
	InnerFloating   []netip.Addr   `json:"inner_floating,omitempty"`
	Destinations    []netip.Prefix `json:"destinations,omitempty"`
	Isolated        bool           `json:"isolated,omitzero"`
	DNS             []netip.Addr   `json:"dns,omitempty"`
	Search          []string       `json:"search,omitempty"`
	AllowedIPs      []netip.Prefix `json:"allowed_ips,omitempty"`
	ClientKeepalive time.Duration  `json:"client_keepalive_ns,omitzero"`
	Disabled        bool           `json:"disabled,omitzero"`
	PublicKey       wgkey.Public   `json:"public_key,omitzero"`
	Key             seal.Text      `json:"key,omitzero"`
}

type deviceRow struct {
	ID       peer.DeviceID `json:"id"`
	Name     string        `json:"name,omitzero"`
	Owner    string        `json:"owner,omitzero"`
	Key      wgkey.Public  `json:"key,omitzero"`
	Disabled bool          `json:"disabled,omitzero"`
	Standing standingRow   `json:"standing,omitzero"`
	Peers    []peerRow     `json:"peers,omitempty"`
}

type standingRow struct {
	Disabled bool     `json:"disabled,omitzero"`
	Groups   []string `json:"groups,omitempty"`
}

// IsZero is for omitzero.
func (s standingRow) IsZero() bool { return !s.Disabled && len(s.Groups) == 0 }

type peerRow struct {
	Location location.ID    `json:"location"`
	Rev      uint64         `json:"rev,omitzero"`
	Disabled bool           `json:"disabled,omitzero"`
	Addrs    []netip.Addr   `json:"addrs,omitempty"`
	Routes   []netip.Prefix `json:"routes,omitempty"`
}

func encodeLocation(l location.Location) ([]byte, error) { return json.Marshal(locationRow(l)) }

func decodeLocation(b []byte) (location.Location, error) {
	var r locationRow
	err := strict(b, &r)
	return location.Location(r), err
}

func encodeDevice(d peer.Device) ([]byte, error) {
	r := deviceRow{d.ID, d.Name, d.Owner, d.Key, d.Disabled, standingRow(d.Standing), make([]peerRow, len(d.Peers))}
	for i, p := range d.Peers {
		r.Peers[i] = peerRow(p)
	}
	return json.Marshal(r)
}

func decodeDevice(b []byte) (peer.Device, error) {
	var r deviceRow
	if err := strict(b, &r); err != nil {
		return peer.Device{}, err
	}
	d := peer.Device{
		ID: r.ID, Name: r.Name, Owner: r.Owner, Key: r.Key, Disabled: r.Disabled,
		Standing: peer.Standing(r.Standing),
	}
	if len(r.Peers) > 0 {
		d.Peers = make([]peer.Peer, len(r.Peers))
	}
	for i, p := range r.Peers {
		d.Peers[i] = peer.Peer(p)
	}
	return d, nil
}

func strict(b []byte, into any) error {
	d := json.NewDecoder(bytes.NewReader(b))
	d.DisallowUnknownFields()
	return d.Decode(into)
}
