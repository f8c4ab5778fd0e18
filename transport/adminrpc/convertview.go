package adminrpc

import (
	"net/netip"

	"google.golang.org/protobuf/types/known/timestamppb"

	"github.com/holdfastvpn/holdfast/gateway"
	"github.com/holdfastvpn/holdfast/location"
	"github.com/holdfastvpn/holdfast/peer"
	"github.com/holdfastvpn/holdfast/transport/adminrpc/internal/pb"
	"github.com/holdfastvpn/holdfast/vpn"
)

func fromOverview(o vpn.Overview) *pb.Overview {
	m := &pb.Overview{Core: o.Core, At: timestamppb.New(o.At)}
	for _, l := range o.Locations {
		lm := &pb.LocationOverview{
			Id: string(l.ID), Name: l.Name, Networks: texts(l.Networks), Host: l.Host, Port: uint32(l.Port), Disabled: l.Disabled,
			Revision: revision(l.Revision), Connected: uint32(l.Connected), Active: uint32(l.Active), Enabled: uint32(l.Enabled),
			RxBytes: l.Rx, TxBytes: l.Tx, Problems: l.Problems,
		}
		for _, g := range l.Gateways {
			lm.Gateways = append(lm.Gateways, &pb.GatewayOverview{
				Id: string(g.ID), Name: g.Name, Connected: g.Connected, Disabled: g.Disabled, Since: fromAge(g.Since), Heard: fromAge(g.Heard),
				Applied: revision(g.Applied), Verified: revision(g.Verified), Behind: g.Behind, Ready: g.Ready, Restored: g.Restored, Stalled: g.Stalled, Carries: uint32(g.Carries),
				Backend: g.Backend, Version: g.Version, Failed: g.Failed, Drift: g.Drift, Drifts: g.Drifts,
			})
		}
		for _, p := range l.Peers {
			pm := &pb.PeerOverview{
				Device: string(p.Device), Name: p.Name, Owner: p.Owner, Key: p.Key.String(), Addresses: texts(p.Addrs),
				Disabled: p.Disabled, Active: p.Active, Heard: fromAge(p.Heard), Carrier: string(p.Carrier), CarrierName: p.CarrierName,
				Handshake: fromAge(p.Handshake), RxBytes: p.Rx, TxBytes: p.Tx,
			}
			if p.Endpoint.IsValid() {
				pm.Endpoint = p.Endpoint.String()
			}
			lm.Peers = append(lm.Peers, pm)
		}
		m.Locations = append(m.Locations, lm)
	}
	return m
}

func toOverview(m *pb.Overview) (vpn.Overview, error) {
	var r reader
	o := vpn.Overview{Core: m.GetCore(), At: instant(m.GetAt()), Locations: []vpn.LocationOverview{}}
	for _, lm := range m.GetLocations() {
		l := vpn.LocationOverview{
			ID: location.ID(lm.GetId()), Name: lm.GetName(), Networks: some(each(&r, "networks", lm.GetNetworks(), netip.ParsePrefix)),
			Host: lm.GetHost(), Port: uint16(lm.GetPort()), Disabled: lm.GetDisabled(), Revision: r.revision(lm.GetRevision()),
			Connected: int(lm.GetConnected()), Active: int(lm.GetActive()), Enabled: int(lm.GetEnabled()),
			Rx: lm.GetRxBytes(), Tx: lm.GetTxBytes(), Problems: some(lm.GetProblems()),
			Gateways: []vpn.GatewayOverview{}, Peers: []vpn.PeerOverview{},
		}
		for _, g := range lm.GetGateways() {
			l.Gateways = append(l.Gateways, vpn.GatewayOverview{
				ID: gateway.ID(g.GetId()), Name: g.GetName(), Connected: g.GetConnected(), Disabled: g.GetDisabled(),
				Since: toAge(g.Since), Heard: toAge(g.Heard), Applied: r.revision(g.GetApplied()), Verified: r.revision(g.GetVerified()), //nolint:protogetter // absent is never
				Behind: g.GetBehind(), Ready: g.GetReady(), Restored: g.GetRestored(), Stalled: g.GetStalled(), Carries: int(g.GetCarries()), Backend: g.GetBackend(), Version: g.GetVersion(),
				Failed: some(g.GetFailed()), Drift: some(g.GetDrift()), Drifts: g.GetDrifts(),
			})
		}
		for _, p := range lm.GetPeers() {
			to := vpn.PeerOverview{
				Device: peer.DeviceID(p.GetDevice()), Name: p.GetName(), Owner: p.GetOwner(), Key: r.key("key", p.GetKey()),
				Addrs: some(each(&r, "addresses", p.GetAddresses(), netip.ParseAddr)), Disabled: p.GetDisabled(), Active: p.GetActive(),
				Heard: toAge(p.Heard), Carrier: gateway.ID(p.GetCarrier()), CarrierName: p.GetCarrierName(), Handshake: toAge(p.Handshake), //nolint:protogetter // absent is never
				Rx: p.GetRxBytes(), Tx: p.GetTxBytes(),
			}
			if e := p.GetEndpoint(); e != "" {
				var err error
				to.Endpoint, err = netip.ParseAddrPort(e)
				r.wrong("endpoint", err)
			}
			l.Peers = append(l.Peers, to)
		}
		o.Locations = append(o.Locations, l)
	}
	return o, r.err
}

func revision(v vpn.Revision) string {
	text, _ := v.MarshalText() // has no way to fail
	return string(text)
}

func (r *reader) revision(text string) (v vpn.Revision) {
	r.wrong("revision", v.UnmarshalText([]byte(text)))
	return v
}

// some is a list that is never nil: in JSON an empty one, not null.
func some[T any](list []T) []T {
	if list == nil {
		return []T{}
	}
	return list
}
