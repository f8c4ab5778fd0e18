//go:build linux

package main

import (
	"fmt"
	"io"
	"strings"

	"github.com/holdfastvpn/holdfast/vpn"
)

// Result is what -json prints.
type Result struct {
	OK       bool     `json:"ok"`
	Error    string   `json:"error,omitempty"`
	Backend  string   `json:"backend"` // "kernel" or "userspace"
	Location string   `json:"location,omitempty"`
	Networks []string `json:"networks,omitempty"`
	Endpoint string   `json:"endpoint,omitempty"`
	Gateways []string `json:"gateways,omitempty"`
	Revision string   `json:"revision,omitempty"` // applied on every gateway
	Client   *Client  `json:"client,omitempty"`
	Moved    *Move    `json:"moved,omitempty"`
	// Before and After are the overview before and after the address moved.
	Before  *vpn.Overview `json:"before,omitempty"`
	After   *vpn.Overview `json:"after,omitempty"`
	Seconds float64       `json:"seconds"`
}

// Client is what came of the client's end.
type Client struct {
	Addresses []string `json:"addresses"`
	WGQuick   string   `json:"wg_quick"`     // without the private key
	IPv4      float64  `json:"ipv4_ms"`      // round trip to the server behind the gateways
	IPv6      float64  `json:"ipv6_ms"`      // the same by IPv6
	Connected float64  `json:"connected_ms"` // first packet to first reply, handshake included
}

// Move is what the move of the public address cost.
type Move struct {
	From     string  `json:"from"`
	To       string  `json:"to"`
	OutageMS float64 `json:"outage_ms"`
	EveryMS  float64 `json:"every_ms"` // the interval of packets: the resolution
	Sent     uint64  `json:"sent"`
	Lost     uint64  `json:"lost"`
}

// printer writes the story for people.
type printer struct{ w io.Writer }

func (p printer) title(s string) { fmt.Fprintf(p.w, "%s\n\n", s) }

// line writes a label and what there is to say; further lines stand below it.
func (p printer) linef(label, format string, args ...any) {
	text := strings.ReplaceAll(fmt.Sprintf(format, args...), "\n", "\n"+strings.Repeat(" ", 14))
	fmt.Fprintf(p.w, "%-13s %s\n", label, text)
}

// block writes text apart, indented.
func (p printer) block(text string) {
	fmt.Fprintf(p.w, "\n    %s\n\n", strings.ReplaceAll(strings.TrimRight(text, "\n"), "\n", "\n    "))
}
