package gatewayrpc_test

import (
	"context"
	"fmt"
	"net/http"
	"net/http/httptest"

	"github.com/holdfastvpn/holdfast/gateway"
	"github.com/holdfastvpn/holdfast/gateway/gatewaytest"
	"github.com/holdfastvpn/holdfast/transport/gatewayrpc"
)

// A gateway asks a control plane in another process. Who it is comes from the link: in a
// daemon, from the certificate.
func Example() {
	plane := gatewaytest.NewPlane() // in a program: a core
	plane.Assign("gw1", "office")
	plane.Put("office", gatewaytest.Config(2))

	mux := http.NewServeMux()
	mux.Handle(gatewayrpc.NewHandler(plane, gatewayrpc.HandlerConfig{
		Identify: func(context.Context) (gateway.ID, error) { return "gw1", nil },
	}))
	server := httptest.NewUnstartedServer(mux)
	server.EnableHTTP2 = true
	server.StartTLS()
	defer server.Close()

	far := gatewayrpc.NewClient(server.Client(), server.URL, gatewayrpc.ClientConfig{})
	for update, err := range far.Watch(context.Background(), "gw1", "office", gateway.Revision{}) {
		fmt.Println("peers:", len(update.Set), err)
		break
	}
	for _, err := range far.Watch(context.Background(), "gw2", "office", gateway.Revision{}) {
		fmt.Println(err)
	}
	// Output:
	// peers: 2 <nil>
	// gatewayrpc: watch location "office": gateway: not registered here
}
