package siblingrpc_test

import (
	"context"
	"fmt"
	"net"

	"github.com/holdfastvpn/holdfast/gateway"
	"github.com/holdfastvpn/holdfast/transport"
	"github.com/holdfastvpn/holdfast/transport/siblingrpc"
)

// A gateway takes links of cores and of siblings at one address.
func Example() {
	serve := func(ctx context.Context, ln net.Listener, holder *transport.Holder, talker gateway.Talker) error {
		cores, err := transport.NewClient(transport.Config{Holder: holder, Roles: []transport.Role{transport.Core}})
		if err != nil {
			return err
		}
		mesh, err := siblingrpc.NewMesh(siblingrpc.MeshConfig{
			Links: transport.Config{Holder: holder}, Addr: "192.0.2.7:7946", Talker: talker,
		})
		if err != nil {
			return err
		}
		go func() { _ = mesh.Run(ctx) }()
		mesh.Assign([]gateway.Assignment{{ // whenever the control plane says so
			Location: "office", Siblings: []gateway.Sibling{{ID: "gw2", Addr: "192.0.2.8:7946"}},
		}})
		return transport.Listen(ctx, ln, cores, mesh.Acceptor())
	}
	_ = serve
	self, other := gateway.Sibling{ID: "gw1", Addr: "192.0.2.7:7946"}, gateway.Sibling{ID: "gw2", Addr: "192.0.2.8:7946"}
	fmt.Println("gw1 dials gw2:", siblingrpc.Dials(self, other))
	fmt.Println("gw2 dials gw1:", siblingrpc.Dials(other, self))
	// Output:
	// gw1 dials gw2: true
	// gw2 dials gw1: false
}
