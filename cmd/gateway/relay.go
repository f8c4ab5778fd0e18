package main

import (
	"context"
	"errors"
	"fmt"
	"net"
	"sync/atomic"

	"github.com/holdfastvpn/holdfast/gateway"
)

// relay connects cores that cannot reach a sibling of this gateway with it.
type relay struct {
	process atomic.Pointer[gateway.Process]
}

func newRelay() *relay { return &relay{} }

// dial connects to a sibling, at the address that the control plane told, and to nobody
// else.
func (r *relay) dial(ctx context.Context, id string) (net.Conn, error) {
	p := r.process.Load()
	if p == nil {
		return nil, errors.New("this gateway is only starting")
	}
	all, _ := p.Assignments()
	for _, a := range all {
		for _, s := range a.Siblings {
			if string(s.ID) == id && s.Addr != "" {
				return new(net.Dialer).DialContext(ctx, "tcp", s.Addr)
			}
		}
	}
	return nil, fmt.Errorf("gateway %s is no sibling that can be dialled", id)
}
