package daemon

import (
	"context"
	"fmt"
	"net"
)

// Port is a TCP address that is listened at from the start, so that what stands in
// the way shows then.
type Port struct {
	addr string
	ln   net.Listener // nil: Serve took it
}

// OpenPort listens at addr, as the flag says.
func OpenPort(ctx context.Context, flag, addr string) (*Port, error) {
	p := &Port{addr: addr}
	if err := p.open(ctx); err != nil {
		return nil, fmt.Errorf("--%s: %w", flag, err)
	}
	return p, nil
}

func (p *Port) open(ctx context.Context) (err error) {
	var c net.ListenConfig
	p.ln, err = c.Listen(ctx, "tcp", p.addr)
	return err
}

// Addr is where it listens.
func (p *Port) Addr() string { return p.ln.Addr().String() }

// Serve makes a task of serve, which closes the listener that it gets. A task that
// runs again listens again.
func (p *Port) Serve(serve func(context.Context, net.Listener) error) func(context.Context) error {
	return func(ctx context.Context) error {
		if p.ln == nil {
			if err := p.open(ctx); err != nil {
				return err
			}
		}
		ln := p.ln
		p.ln = nil
		return serve(ctx, ln)
	}
}
