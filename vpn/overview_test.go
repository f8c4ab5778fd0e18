package vpn_test

import (
	"bytes"
	"encoding/json"
	"flag"
	"net/netip"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/holdfastvpn/holdfast/gateway"
	"github.com/holdfastvpn/holdfast/location"
	"github.com/holdfastvpn/holdfast/peer"
	"github.com/holdfastvpn/holdfast/vpn"
	"github.com/holdfastvpn/holdfast/vpn/wgkey"
)

var update = flag.Bool("update", false, "write golden files anew")

func golden(t *testing.T, file string, got []byte) {
	t.Helper()
	if *update {
		require.NoError(t, os.WriteFile("testdata/"+file, got, 0o644))
	}
	want, err := os.ReadFile("testdata/" + file)
	require.NoError(t, err)
	require.Equal(t, string(want), string(got))
}

// sample is an Overview with something of everything.
func sample() vpn.Overview {
	rev := func(n uint64) vpn.Revision { return vpn.Revision{Epoch: 0x1122334455669f3c, Number: n} }
	ago := func(d time.Duration) vpn.Age { return vpn.Age(d) }
	return vpn.Overview{
		Core: "core1", At: noon,
		Locations: []vpn.LocationOverview{
			{
				ID: "l1", Name: "home", Networks: []netip.Prefix{netip.MustParsePrefix("fd21::/64")},
				Host: "2001:db8::5", Port: 51821, Disabled: true, Revision: rev(2),
				Problems: []string{}, Gateways: []vpn.GatewayOverview{}, Peers: []vpn.PeerOverview{},
			},
			{
				ID: "l2", Name: "office", Host: "vpn.example.org", Port: 51820, Revision: rev(7),
				Networks:  []netip.Prefix{netip.MustParsePrefix("10.20.0.0/16"), netip.MustParsePrefix("fd20::/64")},
				Connected: 3, Active: 1, Enabled: 2, Rx: 5 << 20, Tx: 3_000,
				Problems: []string{"gateways keep what they have: the key is unreadable"},
				Gateways: []vpn.GatewayOverview{
					{
						ID: "g1", Name: "gw1", Connected: true, Since: ago(3 * time.Hour), Heard: ago(time.Second),
						Applied: rev(7), Verified: rev(7), Ready: true, Carries: 1, Backend: "userspace", Version: "0.1.0",
						Failed: []string{}, Drift: []string{},
					},
					{
						ID: "g2", Name: "gw2", Connected: true, Since: ago(3 * time.Hour), Heard: ago(time.Second),
						Applied: rev(5), Verified: rev(4), Behind: 2, Ready: true, Stalled: true, Backend: "kernel", Version: "0.1.0",
						Failed: []string{"peer phone: no room (3 s ago)"}, Drift: []string{"peer x: was removed", "the link was down"}, Drifts: 12,
					},
					{
						ID: "g3", Name: "gw3", Connected: true, Since: ago(time.Second), Heard: vpn.Never, Behind: 7,
						Failed: []string{"no rights\x1b[31m: run as root"}, Drift: []string{},
					},
					{
						ID: "g4", Name: "gw4", Since: vpn.Never, Heard: ago(50 * time.Hour), Applied: rev(3), Behind: 4, Backend: "kernel",
						Failed: []string{}, Drift: []string{},
					},
					{
						ID: "g5", Name: "gw5", Since: vpn.Never, Heard: vpn.Never, Behind: 7,
						Failed: []string{}, Drift: []string{},
					},
					{
						ID: "g6", Name: "gw6", Since: vpn.Never, Heard: vpn.Never, Disabled: true, Behind: 7,
						Failed: []string{}, Drift: []string{},
					},
				},
				Peers: []vpn.PeerOverview{
					{
						Device: "d1", Name: "printer", Key: key(1), Addrs: []netip.Addr{netip.MustParseAddr("10.20.0.4")},
						Disabled: true, Heard: vpn.Never, Handshake: vpn.Never,
					},
					{
						Device: "d2", Name: "laptop", Owner: "ann", Key: key(2),
						Addrs:  []netip.Addr{netip.MustParseAddr("10.20.0.2"), netip.MustParseAddr("fd20::2")},
						Active: true, Heard: ago(1500 * time.Millisecond), Carrier: "g1", CarrierName: "gw1",
						Handshake: ago(95 * time.Second), Endpoint: netip.MustParseAddrPort("192.0.2.7:40001"), Rx: 5 << 20, Tx: 2_000,
					},
					{
						Device: "d3", Name: "phone", Owner: "bob", Key: key(3), Addrs: []netip.Addr{netip.MustParseAddr("10.20.0.3")},
						Heard: ago(4 * time.Minute), Carrier: "g2", CarrierName: "gw2", Handshake: ago(5 * time.Minute),
						Endpoint: netip.MustParseAddrPort("[2001:db8::7]:40002"), Tx: 1_000,
					},
				},
			},
		},
	}
}

func TestOverviewAsText(t *testing.T) {
	var b bytes.Buffer
	require.NoError(t, sample().WriteText(&b))
	require.NotContains(t, b.String(), "\x1b", "what others wrote does not reach the terminal as it is")
	golden(t, "overview.txt", b.Bytes())

	b.Reset()
	require.NoError(t, vpn.Overview{}.WriteText(&b))
	require.Equal(t, "no locations\n", b.String())
	require.ErrorIs(t, sample().WriteText(full{}), errDisk)
}

type full struct{}

func (full) Write([]byte) (int, error) { return 0, errDisk }

// Names in JSON are an interface: they may be added to, not changed.
func TestOverviewAsJSON(t *testing.T) {
	b, err := json.MarshalIndent(sample(), "", "  ")
	require.NoError(t, err)
	golden(t, "overview.json", append(b, '\n'))
	var back vpn.Overview
	require.NoError(t, json.Unmarshal(b, &back))
	require.Equal(t, sample(), back)
}

// proves P15: nothing that is made to be shown has a secret in it.
func TestOverviewHasNoSecrets(t *testing.T) {
	bubble(t, func(r *rig) {
		secret, err := r.core.Locations().Reveal(r.office)
		require.NoError(r.t, err)
		r.add(1)
		o, err := r.core.Overview(r.ctx)
		require.NoError(r.t, err)
		b, err := json.Marshal(o)
		require.NoError(r.t, err)
		var text strings.Builder
		require.NoError(r.t, o.WriteText(&text))
		for _, shown := range []string{string(b), text.String()} {
			require.NotContains(r.t, shown, secret.RevealText())
			require.NotContains(r.t, shown, string(r.office.Key))
			require.Contains(r.t, shown, "office")
		}
	})
}

func TestOverviewOfASystem(t *testing.T) {
	bubble(t, func(r *rig) {
		empty, err := r.core.Overview(r.ctx)
		require.NoError(r.t, err)
		require.Equal(r.t, "core1", empty.Core)
		require.Equal(r.t, time.Now().UTC(), empty.At)
		require.Equal(r.t, []vpn.GatewayOverview{}, empty.Locations[0].Gateways)

		_, err = r.core.Locations().Create(r.ctx, location.Location{
			Name: "annex", Host: "annex.example.org", Networks: []netip.Prefix{netip.MustParsePrefix("10.90.0.0/16")},
		})
		require.NoError(r.t, err)
		two, one := r.gateway("gw2"), r.gateway("gw1")
		for n := range 5 {
			r.add(n)
		}
		_, err = r.core.Devices().Update(r.ctx, dev(3).ID, func(d *peer.Device) error { d.Disabled = true; return nil })
		require.NoError(r.t, err)
		r.watch(r.core, one, gateway.Config{})
		r.watch(r.core, two, gateway.Config{})
		rev := r.revision()
		now := time.Now()
		sight := func(n int, heard, handshake time.Duration) gateway.Sighting {
			return gateway.Sighting{Key: key(n), Heard: now.Add(-heard), Handshake: now.Add(-handshake), Rx: uint64(n + 1), Tx: 1}
		}
		r.report(r.core, one, func(s *gateway.Status) {
			s.Applied = rev
			s.Seen = []gateway.Sighting{
				sight(0, time.Second, time.Minute), // carried here
				sight(1, time.Second, time.Minute), // has gone to gw2
				sight(2, 181*time.Second, 200*time.Second),
				sight(3, time.Second, time.Second), // disabled since
				{Key: key(77), Heard: now, Handshake: now, Rx: 1000},
			}
		})
		r.report(r.core, two, func(s *gateway.Status) {
			s.Applied = vpn.Revision{Epoch: rev.Epoch, Number: rev.Number - 3}
			s.Seen = []gateway.Sighting{sight(1, 2*time.Second, 30*time.Second), {Key: key(4), Heard: now}}
			s.Failed = []gateway.Problem{{Key: key(1), What: "no"}, {Key: wgkey.Public{9}, What: "no"}, {What: "none of this"}}
		})
		o, err := r.core.Overview(r.ctx)
		require.NoError(r.t, err)
		require.Equal(r.t, "annex", o.Locations[0].Name, "by name")
		l := o.Locations[1]
		require.Equal(r.t, rev, l.Revision)
		require.Equal(r.t, 2, l.Connected)
		require.Equal(r.t, 4, l.Enabled)
		require.Equal(r.t, 3, l.Active, "0, 1 and 4")
		require.Equal(r.t, []string{"gw1", "gw2"}, []string{l.Gateways[0].Name, l.Gateways[1].Name})
		require.Equal(r.t, 1, l.Gateways[0].Carries)
		require.Equal(r.t, 1, l.Gateways[1].Carries)
		require.Zero(r.t, l.Gateways[0].Behind)
		require.Equal(r.t, uint64(3), l.Gateways[1].Behind)
		require.Equal(r.t, []string{"peer laptop 1: no", "peer " + wgkey.Public{9}.String() + ": no", "none of this"}, l.Gateways[1].Failed)
		carriers := map[string]string{}
		for _, p := range l.Peers {
			carriers[p.Name] = p.CarrierName
		}
		require.Equal(r.t, map[string]string{"laptop 0": "gw1", "laptop 1": "gw2", "laptop 2": "gw1", "laptop 3": "gw1", "laptop 4": ""}, carriers)
		require.Equal(r.t, uint64(1+2+2+3+4), l.Rx, "of peers that are there")
	})
}

func TestAge(t *testing.T) {
	for want, a := range map[string]vpn.Age{
		"never": vpn.Never, "0 s": 0, "119 s": vpn.Age(119 * time.Second), "2 min": vpn.Age(2 * time.Minute),
		"2 h": vpn.Age(3*time.Hour - 1), "47 h": vpn.Age(47 * time.Hour), "9 d": vpn.Age(220 * time.Hour),
	} {
		require.Equal(t, want, a.String())
	}
	require.Equal(t, vpn.Never, vpn.AgeOf(time.Time{}, noon))
	require.Equal(t, vpn.Age(0), vpn.AgeOf(noon.Add(time.Hour), noon))
	require.Equal(t, vpn.Age(time.Hour), vpn.AgeOf(noon, noon.Add(time.Hour)))
	require.True(t, vpn.Age(5).Within(5))
	require.False(t, vpn.Age(6).Within(5))
	require.False(t, vpn.Never.Within(time.Hour))
	for text, want := range map[string]vpn.Age{"null": vpn.Never, "0": 0, "1.5": vpn.Age(1500 * time.Millisecond), "0.0014": vpn.Age(time.Millisecond)} {
		var a vpn.Age
		require.NoError(t, json.Unmarshal([]byte(text), &a))
		require.Equal(t, want, a)
	}
	for _, bad := range []string{"-1", `"1"`, "1e300", "{}"} {
		var a vpn.Age
		require.Error(t, json.Unmarshal([]byte(bad), &a), bad)
	}
}
