package transport_test

import (
	"context"
	"crypto"
	"fmt"
	"io"
	"net"
	"net/http"

	"github.com/holdfastvpn/holdfast/transport"
	"github.com/holdfastvpn/holdfast/transport/authority"
	"github.com/holdfastvpn/holdfast/transport/join"
	"github.com/holdfastvpn/holdfast/transport/transporttest"
)

// A deployment begins, a gateway joins with a token, and a link is made: the core dials
// both times, and the gateway asks.
func Example() {
	ctx, stop := context.WithCancel(context.Background())
	defer stop()

	// The core. A real one keeps the records, and the root's key sealed.
	root, _ := authority.NewKey()
	self := transport.Identity{Deployment: "acme", Role: transport.Core, ID: "core1"}
	ca, _ := authority.New(authority.Config{Self: self, Records: &transporttest.Records{}, Signers: []crypto.Signer{root.Signer()}})
	_ = ca.Open(ctx) // and go ca.Run(ctx)
	h := join.Handlers(ca)
	h.Linked = http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		p, _ := transport.PeerOf(r.Context())
		_, _ = fmt.Fprintf(w, "hello %s", p.Identity)
	})
	core, _ := transport.NewServer(transport.Config{Holder: ca.Holder(), Roles: []transport.Role{transport.Gateway}, Check: ca.Check}, h)
	go func() { _ = join.Dialer{Server: core, Waiting: ca.Addresses}.Run(ctx) }()

	// The operator makes a token, and types it on the new machine.
	ln, _ := net.Listen("tcp", "127.0.0.1:0") //nolint:noctx // short-lived
	gw1 := transport.Identity{Deployment: "acme", Role: transport.Gateway, ID: "gw1"}
	token, _ := ca.NewToken(ctx, authority.TokenConfig{Identity: gw1, At: ln.Addr().String()})
	token, _ = join.ParseToken(token.Reveal())
	key, _ := join.NewKey() // statedir.Dir.JoinKey keeps it
	creds, err := join.Run(ctx, join.Config{Token: token, Role: transport.Gateway, Key: key, Listener: ln})
	fmt.Println(creds, err)

	// From now on, links.
	ln, _ = net.Listen("tcp", "127.0.0.1:0") //nolint:noctx // short-lived
	gateway, _ := transport.NewClient(transport.Config{Holder: transport.NewHolder(creds), Roles: []transport.Role{transport.Core}})
	go func() { _ = gateway.Listen(ctx, ln) }()
	go func() { _ = core.Dial(ctx, transport.Target{Addr: ln.Addr().String(), Want: gw1}) }()
	links, changed := gateway.Links()
	for len(links) == 0 {
		<-changed
		links, changed = gateway.Links()
	}
	answer, _ := links[0].HTTP().Get(transport.BaseURL) //nolint:noctx // one request
	defer func() { _ = answer.Body.Close() }()
	text, _ := io.ReadAll(answer.Body)
	fmt.Println(string(text))
	// Output:
	// credentials(holdfast://acme/gateway/gw1) <nil>
	// hello holdfast://acme/gateway/gw1
}
