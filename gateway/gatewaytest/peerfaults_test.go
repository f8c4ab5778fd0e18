package gatewaytest_test

import (
	"context"
	"errors"
	"time"

	"github.com/holdfastvpn/holdfast/gateway"
	"github.com/holdfastvpn/holdfast/gateway/memdevice"
	"github.com/holdfastvpn/holdfast/vpn/wgkey"
)

// peerFaults are about peers, and about one that is kicked.
func peerFaults() []deviceFault {
	return []deviceFault{
		{
			"the first claimer keeps a prefix", func() faulty {
				return each(func(d *memdevice.Device, s gateway.Step) (gateway.Plan, error) {
					for _, p := range now(d).Peers {
						if s.Verb == gateway.Set && p.Key != s.Peer.Key {
							s.Peer.AllowedIPs = without(s.Peer.AllowedIPs, p.AllowedIPs)
						}
					}
					return gateway.Plan{s}, nil
				})
			}, []string{"a prefix moves to the last claimer"},
		},
		{
			"set adds allowed IPs to those that are there", func() faulty {
				return each(func(d *memdevice.Device, s gateway.Step) (gateway.Plan, error) {
					for _, p := range now(d).Peers {
						if s.Verb == gateway.Set && p.Key == s.Peer.Key {
							s.Peer.AllowedIPs = append(without(p.AllowedIPs, s.Peer.AllowedIPs), s.Peer.AllowedIPs...)
						}
					}
					return gateway.Plan{s}, nil
				})
			}, []string{
				"set replaces the allowed IPs", "set leaves session, endpoint and counters alone",
				"random configurations are reached in one round",
			},
		},
		{
			"set begins a new session", func() faulty {
				return each(func(d *memdevice.Device, s gateway.Step) (gateway.Plan, error) {
					if s.Verb == gateway.Set && there(d, s.Peer.Key) {
						return gateway.Plan{{Verb: gateway.Remove, Peer: s.Peer}, s}, nil
					}
					return gateway.Plan{s}, nil
				})
			}, []string{
				"set leaves session, endpoint and counters alone", "an endpoint is taken when the peer is added, and only then",
			},
		},
		{
			"a peer's session outlives it", func() faulty {
				gone := map[wgkey.Public]gateway.PeerState{}
				return each(func(d *memdevice.Device, s gateway.Step) (gateway.Plan, error) {
					for _, p := range now(d).Peers {
						if s.Verb == gateway.Remove && p.Key == s.Peer.Key {
							gone[p.Key] = p
						}
					}
					if old, ok := gone[s.Peer.Key]; ok && s.Verb == gateway.Set && !there(d, s.Peer.Key) {
						_ = d.Apply(context.Background(), gateway.Plan{s})
						d.Hear(s.Peer.Key, memdevice.Traffic{Rx: old.Rx, Tx: old.Tx, Handshake: old.Handshake})
						return nil, nil
					}
					return gateway.Plan{s}, nil
				})
			}, []string{"removed and set again, a peer starts from nothing"},
		},
		{
			"every set takes the endpoint", func() faulty {
				return each(func(d *memdevice.Device, s gateway.Step) (gateway.Plan, error) {
					if s.Verb == gateway.Set && s.Peer.Endpoint.IsValid() {
						d.Hear(s.Peer.Key, memdevice.Traffic{Endpoint: s.Peer.Endpoint})
					}
					return gateway.Plan{s}, nil
				})
			}, []string{"an endpoint is taken when the peer is added, and only then"},
		},
		{
			"the preshared key of a peer that is there stays", func() faulty {
				return each(func(d *memdevice.Device, s gateway.Step) (gateway.Plan, error) {
					for _, p := range now(d).Peers {
						if s.Verb == gateway.Set && p.Key == s.Peer.Key {
							s.Peer.Preshared = p.Preshared
						}
					}
					return gateway.Plan{s}, nil
				})
			}, []string{"set changes the keepalive and the preshared key"},
		},
		{
			"a kick brings in a peer", func() faulty {
				return each(func(d *memdevice.Device, s gateway.Step) (gateway.Plan, error) {
					if s.Verb == gateway.Kick && s.Peer.Endpoint.IsValid() && !there(d, s.Peer.Key) {
						return gateway.Plan{set(s.Peer)}, nil
					}
					return gateway.Plan{s}, nil
				})
			}, []string{"a kick moves the endpoint, and nothing else"},
		},
		{
			"a kick takes the allowed IPs away", func() faulty {
				return each(func(d *memdevice.Device, s gateway.Step) (gateway.Plan, error) {
					if s.Verb == gateway.Kick && there(d, s.Peer.Key) {
						return gateway.Plan{set(s.Peer), s}, nil
					}
					return gateway.Plan{s}, nil
				})
			}, []string{"a kick moves the endpoint, and nothing else", "a kick leaves session and counters alone"},
		},
		{
			"a kick leaves a keepalive behind", func() faulty {
				return each(func(_ *memdevice.Device, s gateway.Step) (gateway.Plan, error) {
					if s.Verb == gateway.Kick {
						s.Peer.Keepalive = 25 * time.Second
					}
					return gateway.Plan{s}, nil
				})
			}, []string{"a kick moves the endpoint, and nothing else", "a kick leaves session and counters alone"},
		},
		{
			"a kick begins with nothing", func() faulty {
				return each(func(d *memdevice.Device, s gateway.Step) (gateway.Plan, error) {
					for _, p := range now(d).Peers {
						if s.Verb == gateway.Kick && p.Key == s.Peer.Key {
							return gateway.Plan{
								{Verb: gateway.Remove, Peer: s.Peer},
								set(gateway.Peer{Key: p.Key, Preshared: p.Preshared, AllowedIPs: p.AllowedIPs}), s,
							}, nil
						}
					}
					return gateway.Plan{s}, nil
				})
			}, []string{"a kick leaves session and counters alone"},
		},
		{
			"nobody is kicked", func() faulty {
				return each(func(_ *memdevice.Device, s gateway.Step) (gateway.Plan, error) {
					if s.Verb == gateway.Kick && s.Peer.Endpoint.IsValid() {
						return nil, nil
					}
					return gateway.Plan{s}, nil
				})
			}, []string{"a kick moves the endpoint, and nothing else", "a kick leaves session and counters alone"},
		},
		{
			"removing what is not there is an error", func() faulty {
				return each(func(d *memdevice.Device, s gateway.Step) (gateway.Plan, error) {
					if s.Verb == gateway.Remove && !there(d, s.Peer.Key) {
						return nil, errors.New("no such peer")
					}
					return gateway.Plan{s}, nil
				})
			}, []string{"doing what is done is no error", "what is removed is gone"},
		},
	}
}
