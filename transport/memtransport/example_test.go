package memtransport_test

import (
	"context"
	"errors"
	"fmt"

	"github.com/holdfastvpn/holdfast/gateway"
	"github.com/holdfastvpn/holdfast/gateway/gatewaytest"
	"github.com/holdfastvpn/holdfast/transport/memtransport"
)

// A gateway reaches its control plane over a link that the example cuts.
func Example() {
	plane := gatewaytest.NewPlane() // in a program: a core
	plane.Assign("gw1", "office")
	plane.Put("office", gatewaytest.Config(2))

	link := memtransport.New(plane)
	for update, err := range link.Watch(context.Background(), "gw1", "office", gateway.Revision{}) {
		if errors.Is(err, memtransport.ErrCut) {
			fmt.Println("the link is cut")
			break
		}
		fmt.Println("peers:", len(update.Set))
		link.Cut()
	}
	// Output:
	// peers: 2
	// the link is cut
}
