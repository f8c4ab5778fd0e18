package siblingrpc

import (
	"fmt"
	"net/netip"

	"github.com/holdfastvpn/holdfast/gateway"
	"github.com/holdfastvpn/holdfast/transport/siblingrpc/internal/pb"
)

// maxHere is how many addresses of the inner side cross; there is one of each family.
const maxHere = 64

// What the byte before a connection says.
const (
	flowTCP = 0
	flowUDP = 1
)

// cutFlows takes up to so many connections from n, and what is said with them once; nil
// if that is nothing.
func cutFlows(n *gateway.FlowNote, room int) *pb.Flows {
	if !n.Full && len(n.Here)+len(n.Began)+len(n.Ended) == 0 {
		return nil
	}
	began := min(len(n.Began), room)
	ended := min(len(n.Ended), room-began)
	here := n.Here[:min(len(n.Here), maxHere)]
	m := &pb.Flows{Full: n.Full, Began: flowBytes(n.Began[:began]), Ended: flowBytes(n.Ended[:ended])}
	for _, a := range here {
		m.Here = append(m.Here, a.AsSlice())
	}
	n.Full, n.Here, n.Began, n.Ended = false, nil, n.Began[began:], n.Ended[ended:]
	return m
}

func flowBytes(list []gateway.Flow) []byte {
	if len(list) == 0 {
		return nil
	}
	const most = 1 + 3*(1+16+2)
	b := make([]byte, 0, len(list)*most)
	for _, f := range list {
		kind := byte(flowTCP)
		if f.UDP {
			kind = flowUDP
		}
		b = append(b, kind)
		for _, e := range []netip.AddrPort{f.From, f.To, f.Inner} {
			b = appendEndpoint(b, netip.AddrPortFrom(e.Addr().WithZone(""), e.Port()))
		}
	}
	return b
}

// appendFlows adds the connections of a part.
func appendFlows(n *gateway.FlowNote, m *pb.Flows) (err error) {
	if n.Began, err = parseFlows(n.Began, m.GetBegan()); err != nil {
		return err
	}
	if n.Ended, err = parseFlows(n.Ended, m.GetEnded()); err != nil {
		return err
	}
	if len(n.Began)+len(n.Ended) > maxFlows {
		return fmt.Errorf("%w: a note about more than %d connections", ErrTooLarge, maxFlows)
	}
	return nil
}

func parseFlows(list []gateway.Flow, b []byte) ([]gateway.Flow, error) {
	for len(b) > 0 {
		if b[0] != flowTCP && b[0] != flowUDP {
			return nil, fmt.Errorf("%w: a connection of an unknown kind", ErrInvalid)
		}
		f := gateway.Flow{UDP: b[0] == flowUDP}
		b = b[1:]
		for _, e := range []*netip.AddrPort{&f.From, &f.To, &f.Inner} {
			var err error
			if *e, b, err = cutEndpoint(b); err != nil {
				return nil, err
			}
			if e.Addr().Zone() != "" {
				return nil, fmt.Errorf("%w: a connection with a zone", ErrInvalid)
			}
		}
		list = append(list, f)
	}
	return list, nil
}
