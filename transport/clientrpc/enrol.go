package clientrpc

import (
	"context"
	"crypto/ecdh"
	"fmt"

	"google.golang.org/protobuf/proto"

	"github.com/holdfastvpn/holdfast/transport/clientrpc/internal/pb"
	"github.com/holdfastvpn/holdfast/transport/sealed"
	"github.com/holdfastvpn/holdfast/vpn/wgkey"
)

// Enroller has the tokens, and makes devices. It is safe for concurrent use.
type Enroller interface {
	// EnrolKey returns what is kept of a token, also if it was used or has expired; the
	// zero EnrolKey if there is no such token.
	EnrolKey(ctx context.Context, tokenID [16]byte) (sealed.EnrolKey, error)
	// Enrol uses the token up for these two keys, in one write, and returns the name of
	// the device that has them. The same keys get the same device again, also later,
	// since an answer may get lost. Its errors are ErrExpired and ErrUsed, and those of
	// HandlerConfig.Errors.
	Enrol(ctx context.Context, tokenID [16]byte, d NewDevice) (device string, err error)
}

// NewDevice is who enrols. It has proven to have both private keys.
type NewDevice struct {
	Identity sealed.IdentityPublic
	Key      wgkey.Public
	Name     string // what people call it, at most 63 bytes; "": it has no wish
}

const enrolMethod = "enrol"

// HandleEnrol registers enrolling: the one method that strangers may ask for.
func HandleEnrol(m *Methods, e Enroller) {
	m.add(enrolMethod, func(ctx context.Context, r *sealed.Opened) (proto.Message, error) {
		var q pb.EnrolRequest
		if err := parse(r.Body, &q); err != nil {
			return nil, err
		}
		proofs := sealed.Enrolment{
			Token: [16]byte(q.GetTokenId()), WireGuard: [32]byte(q.GetWireguard()),
			Knows: [32]byte(q.GetKnows()), Has: [32]byte(q.GetHas()),
		}
		key, err := e.EnrolKey(ctx, proofs.Token)
		if err != nil {
			return nil, err
		}
		if err := r.CheckEnrolment(proofs, key); err != nil {
			return nil, fmt.Errorf("%w: ask for a new one: it was cancelled, is of another core, or is damaged", err)
		}
		device, err := e.Enrol(ctx, proofs.Token, NewDevice{
			Identity: r.Caller.Identity, Key: proofs.WireGuard, Name: q.GetName(),
		})
		if err != nil {
			return nil, err
		}
		return &pb.EnrolResponse{Device: device}, nil
	})
}

// Enrol makes the client's Identity a device, with the key that it will connect with; it
// returns the name that the core has for it. Repeating it with the same keys does no
// harm. The errors are sealed.ErrEnrolment, ErrExpired, ErrUsed, and those of Call.
func (c *Client) Enrol(ctx context.Context, t sealed.Token, key wgkey.Private, name string) (device string, err error) {
	raw := key.Reveal()
	wireguard, err := ecdh.X25519().NewPrivateKey(raw[:])
	if err != nil {
		return "", fmt.Errorf("clientrpc: enrolling: the WireGuard key: %w", err)
	}
	var a pb.EnrolResponse
	err = c.exchange(ctx, ask{method: enrolMethod, stranger: true, body: func(core sealed.CorePublic) ([]byte, error) {
		e, err := t.Enrol(core, c.cfg.Identity.Public(), wireguard)
		if err != nil {
			return nil, err
		}
		return proto.Marshal(&pb.EnrolRequest{
			TokenId: e.Token[:], Wireguard: e.WireGuard[:], Knows: e.Knows[:], Has: e.Has[:], Name: name,
		})
	}}, &a)
	if err != nil {
		return "", fmt.Errorf("clientrpc: enrolling: %w", err)
	}
	return a.GetDevice(), nil
}
