package transport

import (
	"context"
	"crypto/x509"
	"time"
)

// Peer is the other end of a link.
type Peer struct {
	// Identity is what its certificate says.
	Identity Identity
	// Instance is random and made anew with each process (see Config.Instance).
	Instance string
	// Software is the release that it runs, for people.
	Software string
	// Version is what is spoken on the link.
	Version uint32
	// Skew is how much its clock was ahead of ours at the Hello, give or take the
	// time that took.
	Skew time.Duration
	// RenewOnly says that its certificate has expired.
	RenewOnly bool
	// Certificate is the one that it showed.
	Certificate *x509.Certificate
	// Addr is where it is, or the near end of what relays it.
	Addr string
	// Since is when it was welcomed.
	Since time.Time
}

type peerKey struct{}

// PeerOf returns who asks, in the context of a handler of a Server. It is false for a
// request that came over no link.
func PeerOf(ctx context.Context) (Peer, bool) {
	p, ok := ctx.Value(peerKey{}).(Peer)
	return p, ok
}

// WithPeer returns a context for handlers that are called without a link: in one
// process, and in tests.
func WithPeer(ctx context.Context, p Peer) context.Context {
	return context.WithValue(ctx, peerKey{}, p)
}
