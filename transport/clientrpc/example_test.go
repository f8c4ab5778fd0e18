package clientrpc_test

import (
	"context"
	"fmt"
	"net/http"
	"net/http/httptest"
	"time"

	"google.golang.org/protobuf/types/known/wrapperspb"

	"github.com/holdfastvpn/holdfast/transport/clientrpc"
	"github.com/holdfastvpn/holdfast/transport/sealed"
)

func Example() {
	key, laptop := sealed.NewCoreKey(), sealed.NewIdentity()
	opener, err := sealed.NewOpener(sealed.OpenerConfig{
		Deployment: "acme", Keys: []sealed.CoreKey{key}, Start: time.Now(),
		Lookup: func(context.Context, sealed.IdentityPublic) (string, error) { return "laptop", nil },
	})
	if err != nil {
		panic(err)
	}
	var m clientrpc.Methods
	clientrpc.Handle(&m, "greet", func(_ context.Context, who sealed.Caller, q *wrapperspb.StringValue) (*wrapperspb.StringValue, error) {
		return wrapperspb.String(q.GetValue() + ", " + who.Device), nil
	})
	path, h, err := clientrpc.NewHandler(clientrpc.HandlerConfig{Opener: opener, Methods: &m})
	if err != nil {
		panic(err)
	}
	mux := http.NewServeMux()
	mux.Handle(path, h)
	proxy := httptest.NewServer(mux) // a proxy would relay it
	defer proxy.Close()

	c, err := clientrpc.NewClient(proxy.Client(), proxy.URL, clientrpc.ClientConfig{
		Deployment: "acme", Identity: laptop, Trust: []sealed.Fingerprint{key.Public().Fingerprint()},
	})
	if err != nil {
		panic(err)
	}
	a, err := clientrpc.Call[wrapperspb.StringValue, wrapperspb.StringValue](context.Background(), c, "greet", wrapperspb.String("good day"))
	fmt.Println(a.GetValue(), err)
	// Output:
	// good day, laptop <nil>
}
