package join

import (
	"context"
	"crypto"
	"crypto/x509"
	"errors"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"slices"
	"sync"
	"time"

	"connectrpc.com/connect"
	"connectrpc.com/validate"

	"github.com/holdfastvpn/holdfast/transport"
	"github.com/holdfastvpn/holdfast/transport/internal/wire"
	"github.com/holdfastvpn/holdfast/transport/join/internal/pb"
)

// Keep keeps the credentials of a machine that joined: renewed, and with the roots that
// are trusted now. Run does the former, Roots the latter.
type Keep struct {
	// Holder has the credentials, which are replaced there; required.
	Holder *transport.Holder
	// Links returns links to cores and a channel that is closed when there are others,
	// as transport.Client does; required before Run.
	Links func() ([]*transport.Link, <-chan struct{})
	// Save makes new credentials survive the process, before they are used; required.
	Save func(transport.Credentials) error
	// NewKey makes the key of each renewal; by default NewKey of this package.
	NewKey func() (crypto.Signer, error)
	// Log gets what happens; by default nothing is logged.
	Log *slog.Logger
	// Now is the time, by default time.Now.
	Now func() time.Time

	mu sync.Mutex // of Holder and Save together
}

// Due is when a certificate should be renewed: after two thirds of its time.
func Due(c *x509.Certificate) time.Time {
	return c.NotBefore.Add(c.NotAfter.Sub(c.NotBefore) / 3 * 2)
}

// Run renews until ctx ends, and then returns nil. What fails is tried again within a
// minute, and at once on a link that serves nothing else.
func (k *Keep) Run(ctx context.Context) error {
	for ctx.Err() == nil {
		links, changed := k.Links()
		pause := max(0, Due(k.Holder.Get().Leaf()).Sub(k.now()))
		must := slices.ContainsFunc(links, func(l *transport.Link) bool { return l.Err() == nil && l.Peer().RenewOnly })
		if pause == 0 || must {
			pause = time.Minute/2 + rand.N(time.Minute/2) //nolint:gosec // spreads load
			err := k.renew(ctx, links)
			if err == nil {
				continue
			}
			if ctx.Err() == nil && len(links) > 0 {
				k.log().WarnContext(ctx, "the certificate was not renewed", "expires", k.Holder.Get().Leaf().NotAfter, "err", err)
			}
		}
		select {
		case <-ctx.Done():
		case <-changed:
		case <-time.After(min(pause, time.Hour)): // clocks get set
		}
	}
	return nil
}

// renew asks one core after another.
func (k *Keep) renew(ctx context.Context, links []*transport.Link) error {
	err := errors.New("join: no link to a core")
	for _, l := range links {
		if err = k.renewAt(ctx, l); err == nil {
			break
		}
	}
	if err != nil {
		return err
	}
	k.log().InfoContext(ctx, "the certificate was renewed", "expires", k.Holder.Get().Leaf().NotAfter)
	for _, l := range links {
		if l.Peer().RenewOnly {
			l.Close(errRenewed)
		}
	}
	return nil
}

var errRenewed = errors.New("join: the certificate was renewed: connecting again with the new one")

func (k *Keep) renewAt(ctx context.Context, l *transport.Link) error {
	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	newKey := k.NewKey
	if newKey == nil {
		newKey = NewKey
	}
	key, err := newKey()
	if err != nil {
		return fmt.Errorf("join: making a key: %w", err)
	}
	id := k.Holder.Get().Identity()
	request, err := Request(key, id)
	if err != nil {
		return fmt.Errorf("join: signing the request: %w", err)
	}
	client := pb.NewRenewServiceClient(l.HTTP(), transport.BaseURL,
		connect.WithReadMaxBytes(128<<10), connect.WithInterceptors(validate.NewInterceptor(validate.WithValidateResponses())))
	got, err := client.Renew(ctx, &pb.RenewRequest{Request: request})
	if err != nil {
		return fmt.Errorf("join: renewing at %s: %w", l.Peer().Identity, wire.Decode(words, err))
	}
	c, err := accept(key, id, got.GetCertificate(), got.GetRoots(), k.now())
	if err != nil {
		return err
	}
	k.mu.Lock()
	defer k.mu.Unlock()
	return k.set(c)
}

// Roots is for transport.Config.Roots: it keeps what a core said.
func (k *Keep) Roots(roots []*x509.Certificate) {
	k.mu.Lock()
	defer k.mu.Unlock()
	old := k.Holder.Get()
	if slices.EqualFunc(old.Roots(), roots, (*x509.Certificate).Equal) {
		return
	}
	c, err := old.WithRoots(roots)
	if err == nil {
		err = k.set(c)
	}
	if err != nil {
		k.log().Warn("new roots were not kept", "err", err)
	}
}

func (k *Keep) set(c transport.Credentials) error {
	if err := k.Save(c); err != nil {
		return fmt.Errorf("join: saving: %w", err)
	}
	return k.Holder.Set(c)
}

func (k *Keep) now() time.Time {
	if k.Now == nil {
		return time.Now()
	}
	return k.Now()
}

func (k *Keep) log() *slog.Logger {
	if k.Log == nil {
		return slog.New(slog.DiscardHandler)
	}
	return k.Log
}
