package transport

import (
	"cmp"
	"context"
	"crypto/x509"
	"errors"
	"fmt"
	"net"
	"net/http"
	"slices"
	"strings"
	"sync"
	"time"

	"connectrpc.com/connect"

	"github.com/holdfastvpn/holdfast/transport/internal/h2"
	"github.com/holdfastvpn/holdfast/transport/internal/pb"
	"github.com/holdfastvpn/holdfast/transport/internal/wire"
)

// BaseURL is what requests on a link begin with; a link leads to one end only, so that
// the host means nothing.
const BaseURL = "https://link"

// Client is the end of links that asks: a gateway, a proxy. Make one with NewClient. It
// is safe for concurrent use.
type Client struct {
	ends

	mu      sync.Mutex
	links   map[*Link]bool
	changed chan struct{}
}

// NewClient checks the configuration and starts nothing: Dial and Listen do.
func NewClient(cfg Config) (*Client, error) {
	if err := cfg.defaults(); err != nil {
		return nil, err
	}
	c := &Client{links: map[*Link]bool{}, changed: make(chan struct{})}
	c.ends = ends{cfg: cfg, run: c.link, places: make(chan struct{}, mostLinks)}
	return c, nil
}

// Dial keeps a link to the target until ctx ends, and then returns nil.
func (c *Client) Dial(ctx context.Context, t Target) error { return c.dial(ctx, t) }

// Listen takes links from ln until ctx ends, and then returns nil. It closes ln, and
// fails if somebody else does.
func (c *Client) Listen(ctx context.Context, ln net.Listener) error { return c.listen(ctx, ln) }

// Links are those that are up, sorted by identity, and a channel that is closed when
// that changes. Several cores may be at their other ends, and several processes of one.
func (c *Client) Links() ([]*Link, <-chan struct{}) {
	c.mu.Lock()
	defer c.mu.Unlock()
	var list []*Link
	for l := range c.links {
		list = append(list, l)
	}
	slices.SortFunc(list, func(a, b *Link) int {
		return cmp.Or(strings.Compare(a.peer.Identity.String(), b.peer.Identity.String()), strings.Compare(a.peer.Instance, b.peer.Instance))
	})
	return list, c.changed
}

// Link is a link that was up when it was handed out. It is safe for concurrent use.
type Link struct {
	peer Peer
	cc   *http.ClientConn
	http *http.Client
	ctx  context.Context //nolint:containedctx // of the link: who holds one asks whether it is up
	end  context.CancelCauseFunc
}

// Peer is who serves at the other end. Its RenewOnly is about us: the other end serves
// us renewal only.
func (l *Link) Peer() Peer { return l.peer }

// HTTP makes requests at the other end, whose URLs begin with BaseURL. Requests on a
// link that is down fail at once.
func (l *Link) HTTP() *http.Client { return l.http }

// Ready says whether a request would be sent at once: not on a link that is down, that
// the other end is draining, or that has a thousand requests in flight.
func (l *Link) Ready() bool { return l.cc.Available() > 0 }

// Done is closed when the link is down.
func (l *Link) Done() <-chan struct{} { return l.ctx.Done() }

// Err is why the link is down, or nil as long as it is up. It may be what the other end
// said last, such as ErrReplaced or ErrRevoked.
func (l *Link) Err() error { return context.Cause(l.ctx) }

// errDown is why a link is down that broke without a word.
var errDown = errors.New("transport: the link broke")

func (c *Client) link(whole context.Context, conn *conn) (up bool, why error) {
	defer func() { _ = conn.Close() }()
	ctx, cancel := context.WithCancelCause(whole)
	defer cancel(nil)
	cc, err := h2.Call(ctx, conn.Conn, c.cfg.pings())
	if err != nil {
		return false, fmt.Errorf("transport: %w", err)
	}
	defer func() { _ = cc.Close() }()
	l := &Link{cc: cc, http: &http.Client{Transport: cc}, ctx: ctx, end: cancel}

	late := time.AfterFunc(c.cfg.Handshake, func() {
		cancel(fmt.Errorf("%w: no answer within %s", ErrHello, c.cfg.Handshake))
	})
	defer late.Stop()
	hello, err := c.hello(ctx, conn, l)
	if err != nil {
		if cause := context.Cause(ctx); cause != nil {
			err = cause
		}
		return false, explain(wire.Decode(words, err))
	}
	if !late.Stop() {
		_ = hello.Close()
		return false, context.Cause(ctx)
	}
	c.enter(l)
	var wg sync.WaitGroup
	wg.Go(func() { c.watch(ctx, conn, cancel) })
	wg.Go(func() { cancel(c.listenTo(hello)) })
	<-ctx.Done()
	c.leave(l, parting(whole, context.Cause(ctx)))
	_ = cc.Close()
	_ = conn.Close()
	wg.Wait()
	_ = hello.Close()
	return true, context.Cause(ctx)
}

// hello introduces us and hears who is there.
func (c *Client) hello(ctx context.Context, conn *conn, l *Link) (*connect.ServerStreamForClient[pb.HelloResponse], error) {
	client := pb.NewLinkServiceClient(l.http, BaseURL, connect.WithReadMaxBytes(maxHello), validation())
	ours := c.cfg.end()
	stream, err := client.Hello(ctx, &pb.HelloRequest{End: ours})
	if err != nil {
		return nil, err
	}
	fail := func(err error) (*connect.ServerStreamForClient[pb.HelloResponse], error) {
		_ = stream.Close()
		return nil, err
	}
	if !stream.Receive() {
		return fail(cmp.Or(stream.Err(), errDown))
	}
	w := stream.Msg().GetWelcome()
	if w == nil || w.GetVersion() < c.cfg.Oldest || w.GetVersion() > c.cfg.Newest {
		return fail(fmt.Errorf("%w: the answer is not a welcome that we understand", ErrHello))
	}
	p, err := meet(w.GetEnd(), conn.verified, conn.addr(), c.cfg.Now())
	if err != nil {
		return fail(err)
	}
	if p.RenewOnly { // an expired server gets nothing from us
		return fail(expired(ErrExpired, p))
	}
	p.Version, p.RenewOnly = w.GetVersion(), w.GetRenewOnly()
	l.peer = p
	return stream, nil
}

// listenTo hears what the other end says of the link, until it ends.
func (c *Client) listenTo(hello *connect.ServerStreamForClient[pb.HelloResponse]) error {
	for hello.Receive() {
		switch w := hello.Msg().GetWord().(type) {
		case *pb.HelloResponse_Goodbye:
			return heard(w.Goodbye)
		case *pb.HelloResponse_Roots:
			c.roots(w.Roots.GetRoots())
		}
	}
	if err := hello.Err(); err != nil {
		return fmt.Errorf("%w: %w", errDown, err)
	}
	return errDown
}

func (c *Client) roots(raw [][]byte) {
	if c.cfg.Roots == nil {
		return
	}
	var roots []*x509.Certificate
	for _, der := range raw {
		root, err := x509.ParseCertificate(der)
		if err != nil || !root.IsCA {
			c.cfg.Log.Warn("a root that the other end sent is unreadable", "err", err)
			return
		}
		roots = append(roots, root)
	}
	c.cfg.Roots(roots)
}

// enter makes a link one of the client's, and ends older ones to the same process.
func (c *Client) enter(l *Link) {
	c.mu.Lock()
	defer c.mu.Unlock()
	for old := range c.links {
		if old.peer.Identity == l.peer.Identity && old.peer.Instance == l.peer.Instance {
			old.end(fmt.Errorf("%w to the same process", ErrReplaced))
		}
	}
	c.links[l] = true
	c.change()
	c.cfg.Trace.Up(l.peer)
	c.cfg.Log.Info("link up", "peer", l.peer.Identity.String(), "software", l.peer.Software, "skew", l.peer.Skew)
}

func (c *Client) leave(l *Link, why error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	delete(c.links, l)
	c.change()
	c.cfg.Trace.Down(l.peer, why)
	c.cfg.Log.Info("link down", "peer", l.peer.Identity.String(), "err", why)
}

func (c *Client) change() {
	close(c.changed)
	c.changed = make(chan struct{})
}

// Close ends the link, whose Err is then why. It may be repeated.
func (l *Link) Close(why error) { l.end(why) }
