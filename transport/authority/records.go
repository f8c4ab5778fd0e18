package authority

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"time"

	"github.com/holdfastvpn/holdfast/transport"
	"github.com/holdfastvpn/holdfast/transport/join"
)

// Records keeps bytes by key, for all cores of a deployment. vpn.Records is one.
// Nothing in it is secret but the hashes of tokens, with which one can pretend to be a
// core, to who holds the token; seal it as the rest.
type Records interface {
	// Get returns the value as last written, and fails if there is none.
	Get(ctx context.Context, key string) ([]byte, error)
	// Update is the only write, and atomic: old is nil when there is none. edit may run
	// more than once. Its error is returned so that errors.Is finds it, and then nothing
	// is written.
	Update(ctx context.Context, key string, edit func(old []byte) ([]byte, error)) error
}

const (
	trustKey  = "transport/trust"
	tokensKey = "transport/tokens"
	format    = 1
)

// trust is the record of what every handshake needs to know.
type trust struct {
	Format     int                `json:"format"`
	Deployment string             `json:"deployment"`
	Roots      [][]byte           `json:"roots"`             // DER, the newest first
	Revoked    map[string]*ending `json:"revoked,omitempty"` // by identity
}

// ending is what is over of an identity.
type ending struct {
	Generation uint32    `json:"generation,omitempty"` // the first that is good
	Serials    []string  `json:"serials,omitempty"`    // in hex
	At         time.Time `json:"at"`
	Reason     string    `json:"reason,omitempty"`
}

// tokens is the record of all tokens, by their IDs in hex.
type tokens struct {
	Format int               `json:"format"`
	Tokens map[string]*token `json:"tokens,omitempty"`
}

type token struct {
	Identity   transport.Identity `json:"identity"`
	Locations  []string           `json:"locations,omitempty"`
	At         string             `json:"at,omitempty"` // where a core dials
	Verifier   []byte             `json:"verifier"`
	Made       time.Time          `json:"made"`
	Expires    time.Time          `json:"expires"`
	Generation uint32             `json:"generation,omitempty"` // of the identity, when it was made
	UsedBy     []byte             `json:"used_by,omitempty"`    // hash of the key
	UsedAt     time.Time          `json:"used_at,omitzero"`
	Issued     []byte             `json:"issued,omitempty"` // DER
}

func (t *token) verifier() join.Verifier { return join.Verifier(t.Verifier) }

type record interface{ version() *int }

func (t *trust) version() *int  { return &t.Format }
func (t *tokens) version() *int { return &t.Format }

func decode[T any, P interface {
	*T
	record
}](raw []byte) (P, error) {
	v := P(new(T))
	if raw == nil {
		*v.version() = format
		return v, nil
	}
	if err := json.Unmarshal(raw, v); err != nil {
		return nil, fmt.Errorf("authority: a record is unreadable: %w", err)
	}
	if f := *v.version(); f != format {
		return nil, fmt.Errorf("authority: a record has format %d and this release knows %d: use the newer release", f, format)
	}
	return v, nil
}

// errSame ends an update that changes nothing.
var errSame = errors.New("unchanged")

// update edits a record.
func update[T any, P interface {
	*T
	record
}](ctx context.Context, r Records, key string, edit func(P) error) error {
	err := r.Update(ctx, key, func(old []byte) ([]byte, error) {
		v, err := decode[T, P](old)
		if err != nil {
			return nil, err
		}
		if err := edit(v); err != nil {
			return nil, err
		}
		return json.Marshal(v)
	})
	if errors.Is(err, errSame) {
		return nil
	}
	return err
}
