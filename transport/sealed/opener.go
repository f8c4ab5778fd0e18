package sealed

import (
	"context"
	"crypto/hpke"
	"crypto/rand"
	"errors"
	"fmt"
	"sync/atomic"
	"time"
)

// OpenerConfig is for NewOpener.
type OpenerConfig struct {
	// Deployment is this one; required, 1 to 63 bytes.
	Deployment string
	// Keys are the core's, the newest first: 1 to MaxKeys, all different. All of them
	// open; devices are told to trust them, and to use the newest.
	Keys []CoreKey
	// Lookup returns the name of the device that has an identity, and "" for one that
	// nobody has, or that may ask nothing. It is asked only of who has proven to have
	// that identity. Its errors are ErrBusy to the outside. Required.
	Lookup func(ctx context.Context, identity IdentityPublic) (device string, err error)
	// Start is when this core began: what was made before is asked for again, because
	// this core cannot know whether it was taken. Required.
	Start time.Time
	// Window is how far a device's claim may be from the core's clock, on either side;
	// by default 2 min, at most an hour.
	Window time.Duration
	// Refused is told of each request that is refused, for counting and for the log;
	// it may be nil. The outside must not learn the reason.
	Refused func(why Reason)
}

// Reason is why a request was refused. It is for the core's own eyes.
type Reason string

// The reasons that there are.
const (
	Malformed Reason = "malformed" // not an envelope at all
	Unopened  Reason = "unopened"  // altered, or sealed for another key or deployment
	Unsigned  Reason = "unsigned"  // the signature is not good
	Unknown   Reason = "unknown"   // no device has the identity, or it may ask nothing
	Replayed  Reason = "replayed"  // it was taken before
)

// Opener opens requests: a core has one. It is safe for concurrent use.
type Opener struct {
	cfg     OpenerConfig
	ring    atomic.Pointer[ring]
	replays *replays

	// Seams: tests count the work.
	decap  func(enc []byte, k hpke.PrivateKey, info []byte) (*hpke.Recipient, error)
	verify func(key IdentityPublic, message, signature []byte) bool
}

type ring struct {
	keys   []CoreKey
	prints []Fingerprint
}

// NewOpener checks cfg.
func NewOpener(cfg OpenerConfig) (*Opener, error) {
	if cfg.Window == 0 {
		cfg.Window = 2 * time.Minute
	}
	switch {
	case len(cfg.Deployment) < 1 || len(cfg.Deployment) > maxDeployment:
		return nil, fmt.Errorf("sealed: opener: Deployment: a name has 1 to %d bytes", maxDeployment)
	case cfg.Lookup == nil:
		return nil, errors.New("sealed: opener: Lookup: it is required")
	case cfg.Start.IsZero():
		return nil, errors.New("sealed: opener: Start: it is required: without it what was taken before this core began would be taken again")
	case cfg.Window < time.Second || cfg.Window > time.Hour:
		return nil, fmt.Errorf("sealed: opener: Window: %s is not between 1 s and 1 h", cfg.Window)
	}
	o := &Opener{
		cfg: cfg, replays: newReplays(cfg.Start, cfg.Window), verify: verify,
		decap: func(enc []byte, k hpke.PrivateKey, info []byte) (*hpke.Recipient, error) {
			kdf, aead := suite()
			return hpke.NewRecipient(enc, k, kdf, aead, info)
		},
	}
	return o, o.SetKeys(cfg.Keys...)
}

// SetKeys replaces the keys, as in OpenerConfig; with an error it changes nothing. What
// is being answered is answered with the key that it came with.
func (o *Opener) SetKeys(keys ...CoreKey) error {
	if len(keys) < 1 || len(keys) > MaxKeys {
		return fmt.Errorf("sealed: opener: Keys: 1 to %d, not %d", MaxKeys, len(keys))
	}
	r := &ring{}
	for i, k := range keys {
		if k.IsZero() {
			return fmt.Errorf("sealed: opener: Keys[%d]: it is no key", i)
		}
		mark := k.Public().Fingerprint()
		if _, twice := r.find(mark.keyID()); twice {
			return fmt.Errorf("sealed: opener: Keys[%d]: it is there twice", i)
		}
		r.keys, r.prints = append(r.keys, k), append(r.prints, mark)
	}
	o.ring.Store(r)
	return nil
}

// Keys are the public keys, the newest first.
func (o *Opener) Keys() []CorePublic {
	var all []CorePublic
	for _, k := range o.ring.Load().keys {
		all = append(all, k.Public())
	}
	return all
}

// find returns the key with an id; if there is none, the newest, so that there is as
// much to do.
func (r *ring) find(id [keyIDSize]byte) (CoreKey, bool) {
	for i, mark := range r.prints {
		if mark.keyID() == id {
			return r.keys[i], true
		}
	}
	if len(r.keys) == 0 {
		return CoreKey{}, false
	}
	return r.keys[0], false
}

// Caller is who asks.
type Caller struct {
	// Device has the identity; "" for a stranger, who may do nothing but enrol.
	Device string
	// Identity is proven: the caller has the private key.
	Identity IdentityPublic
	// Request is the random id of this request. One core takes it once, but each does: a
	// method that must never be carried out twice keeps it with what it writes.
	Request [16]byte
}

// Opened is a request that was taken.
type Opened struct {
	// Caller asks.
	Caller Caller
	// Method is what is asked.
	Method string
	// Body is with it. It is the receiver's.
	Body []byte
	// At is when the request was made, by its own claim.
	At time.Time

	opener *Opener
	core   CoreKey
	keys   func() answerKeys // a function, because those never print what they hold
}

// Open opens one request: once, whoever brings it, and however often. now is the time.
//
// It fails with ErrRefused, and never says why; with a *ClockError, whose answer is to
// be sent; or with ErrBusy.
//
// What it costs: an envelope of a wrong length or version costs nothing. All others cost
// one decapsulation and one verification of a signature, against a key of no device if
// there is none to verify against. A device is looked up only after that, once, and
// what is looked up is a key that the caller has proven to have: so nobody can ask by
// any clock whether somebody else is known here. A claim outside of the window is told
// so before any lookup.
func (o *Opener) Open(ctx context.Context, now time.Time, envelope []byte) (*Opened, error) {
	if n := len(envelope) - RequestOverhead; n < 0 || !isBucket(n) || envelope[0] != version {
		return nil, o.refuse(Malformed)
	}
	enc := envelope[headerSize : headerSize+encSize]
	core, known := o.ring.Load().find([keyIDSize]byte(envelope[1:headerSize]))
	plain, keys, opened := o.unseal(core, enc, envelope)
	in, signed, signature, parsed := parseInside(plain)
	sealed := known && opened && parsed
	key := in.key
	if !sealed {
		key, signed, signature = nobody.key, envelope[headerSize+encSize:], nobody.signature
	}
	proven := o.verify(key, statement(o.cfg.Deployment, core.Public().Fingerprint(), enc, signed), signature)
	switch {
	case !sealed:
		return nil, o.refuse(Unopened)
	case !proven:
		return nil, o.refuse(Unsigned)
	}
	out := &Opened{
		Caller: Caller{Identity: in.key, Request: in.id}, Method: in.method, Body: in.body, At: in.at,
		opener: o, core: core, keys: func() answerKeys { return keys },
	}
	if tell, ok := o.replays.fits(in.at, now); !ok {
		return nil, out.clockError(tell)
	}
	if in.kind == aStranger {
		return out, nil
	}
	return o.admit(ctx, now, out)
}

// nobody has a valid key, and a signature over something else: to verify it takes what
// any other takes. The private half is thrown away at once.
var nobody = func() (n struct { //nolint:gochecknoglobals // a constant of this process
	key       IdentityPublic
	signature []byte
},
) {
	i := NewIdentity()
	n.key, n.signature = i.Public(), i.sign(nil)
	return n
}()

func (o *Opener) refuse(why Reason) error {
	if o.cfg.Refused != nil {
		o.cfg.Refused(why)
	}
	return ErrRefused
}

// unseal opens the envelope, if it can be.
func (o *Opener) unseal(core CoreKey, enc, envelope []byte) (plain []byte, keys answerKeys, ok bool) {
	r, err := o.decap(enc, core.parts().kem, info(o.cfg.Deployment))
	if err != nil {
		return nil, answerKeys{}, false
	}
	plain, err = r.Open(envelope[:headerSize], envelope[headerSize+encSize:])
	if err != nil {
		return nil, answerKeys{}, false
	}
	keys, err = newAnswerKeys(r, enc, envelope)
	return plain, keys, err == nil
}

// admit asks whose identity it is, and whether the request was taken before.
func (o *Opener) admit(ctx context.Context, now time.Time, out *Opened) (*Opened, error) {
	device, err := o.cfg.Lookup(ctx, out.Caller.Identity)
	if err != nil {
		return nil, fmt.Errorf("%w: %w", ErrBusy, err)
	}
	if device == "" {
		return nil, o.refuse(Unknown)
	}
	switch tell, v := o.replays.take(device, out.Caller.Request, out.At, now); v {
	case fresh:
		out.Caller.Device = device
		return out, nil
	case untimely:
		return nil, out.clockError(tell)
	case taken:
	}
	return nil, o.refuse(Replayed)
}

func (o *Opened) clockError(tell time.Time) error {
	answer, err := o.seal(Answer{At: tell}, true)
	if err != nil {
		return err
	}
	return &ClockError{Answer: answer}
}

// Seal makes the answer, which opens for who made the request alone. now is the time,
// body at most MaxBody bytes; beside it the answer says which keys the core has.
func (o *Opened) Seal(now time.Time, body []byte) ([]byte, error) {
	if len(body) > MaxBody {
		return nil, fmt.Errorf("sealed: sealing an answer: %w: a body has at most %d bytes, not %d", ErrTooLarge, MaxBody, len(body))
	}
	return o.seal(Answer{At: o.opener.replays.time(now), Body: body}, false)
}

func (o *Opened) seal(a Answer, clock bool) ([]byte, error) {
	a.Keys = o.opener.ring.Load().prints
	nonce := make([]byte, nonceSize)
	_, _ = rand.Read(nonce) // never fails: crypto/rand ends the program instead
	aead, iv, aad, err := o.keys().of(nonce)
	if err != nil {
		return nil, fmt.Errorf("sealed: sealing an answer: %w", err)
	}
	plain := pad(a.append(nil, clock))
	out := make([]byte, 0, AnswerOverhead+len(plain))
	out = append(append(out, version), nonce...)
	return aead.Seal(out, iv, plain, aad), nil
}
