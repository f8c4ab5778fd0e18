package sealed

import (
	"crypto/aes"
	"crypto/cipher"
	"crypto/hkdf"
	"crypto/hpke"
	"crypto/rand"
	"crypto/sha256"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/holdfastvpn/holdfast/transport/internal/transcript"
)

// Request is what a device asks. All but Stranger and Body is required.
type Request struct {
	// Deployment is the core's; 1 to 63 bytes.
	Deployment string
	// Core is the key to seal to. That it is the right one has been checked.
	Core CorePublic
	// Identity signs.
	Identity Identity
	// Stranger says that there is no device with this identity yet.
	Stranger bool
	// At is when, by the clock of the device as the core has corrected it. Requests of
	// one device should have different times.
	At time.Time
	// Method is what is asked, 1 to MaxMethod bytes.
	Method string
	// Body is with it, at most MaxBody bytes.
	Body []byte
}

// Answer is what a core answers.
type Answer struct {
	// At is the time of the core. It corrects Request.At, and is good for nothing else:
	// a relay may have held the answer back.
	At time.Time
	// Keys are the fingerprints of the core's keys, the newest first. A device trusts
	// these from now on, and no others.
	Keys []Fingerprint
	// Body is the answer, at most MaxBody bytes.
	Body []byte
}

func (r Request) check() error {
	switch {
	case len(r.Deployment) < 1 || len(r.Deployment) > maxDeployment:
		return fmt.Errorf("the deployment's name has 1 to %d bytes", maxDeployment)
	case r.Core.IsZero():
		return errors.New("there is no key of a core")
	case r.Identity.IsZero():
		return errors.New("there is no identity to sign with")
	case r.At.IsZero():
		return errors.New("there is no time")
	case r.Method == "":
		return errors.New("there is no method")
	case len(r.Method) > MaxMethod:
		return fmt.Errorf("%w: the name of a method has at most %d bytes", ErrTooLarge, MaxMethod)
	case len(r.Body) > MaxBody:
		return fmt.Errorf("%w: a body has at most %d bytes, not %d", ErrTooLarge, MaxBody, len(r.Body))
	}
	return nil
}

const maxDeployment = 63

func suite() (hpke.KDF, hpke.AEAD) { return hpke.HKDFSHA256(), hpke.AES256GCM() }

// info binds what is sealed to its use and its deployment.
func info(deployment string) []byte {
	return transcript.Append(nil, "holdfast client request v1", []byte(deployment))
}

// statement is what a device signs: for which core's key, in which envelope, and all
// that it says there.
func statement(deployment string, core Fingerprint, enc, signed []byte) []byte {
	b := make([]byte, 0, 128+len(deployment)+len(enc)+len(signed))
	return transcript.Append(b, "a device asks", []byte(deployment), core[:], enc, signed)
}

// Waiting is a request that waits for its answer. It is safe for concurrent use.
type Waiting struct {
	id   [16]byte
	keys func() answerKeys // a function, because those never print what they hold
}

// Seal makes the envelope of a request, with a random id of its own: the same request
// sealed again is another one.
func Seal(r Request) ([]byte, *Waiting, error) {
	if err := r.check(); err != nil {
		return nil, nil, fmt.Errorf("sealed: sealing a request: %w", err)
	}
	in := inside{kind: aDevice, at: r.At, key: r.Identity.Public(), method: r.Method, body: r.Body}
	if r.Stranger {
		in.kind = aStranger
	}
	_, _ = rand.Read(in.id[:]) // never fails: crypto/rand ends the program instead
	return seal(r, in)
}

func seal(r Request, in inside) ([]byte, *Waiting, error) {
	kdf, aead := suite()
	enc, s, err := hpke.NewSender(r.Core.kem, kdf, aead, info(r.Deployment))
	if err != nil {
		return nil, nil, fmt.Errorf("sealed: sealing a request: %w", err)
	}
	signed := in.append(nil)
	plain := pad(append(signed, r.Identity.sign(statement(r.Deployment, r.Core.Fingerprint(), enc, signed))...))
	id := r.Core.Fingerprint().keyID()
	envelope := make([]byte, 0, RequestOverhead+len(plain))
	envelope = append(append(append(envelope, version), id[:]...), enc...)
	text, err := s.Seal(envelope[:headerSize], plain)
	if err != nil {
		return nil, nil, fmt.Errorf("sealed: sealing a request: %w", err)
	}
	envelope = append(envelope, text...)
	keys, err := newAnswerKeys(s, enc, envelope)
	if err != nil {
		return nil, nil, fmt.Errorf("sealed: sealing a request: %w", err)
	}
	return envelope, &Waiting{id: in.id, keys: func() answerKeys { return keys }}, nil
}

// ID is the random id that the request has.
func (w *Waiting) ID() [16]byte { return w.id }

// Open opens the answer to the request: nobody but who has the core's key can have made
// it, and it is the answer to no other request. Whatever else it is given is ErrRefused.
// With ErrClock there is an Answer too, whose At is the time to claim.
func (w *Waiting) Open(answer []byte) (Answer, error) {
	n := len(answer) - AnswerOverhead
	if n < 0 || !isBucket(n) || answer[0] != version {
		return Answer{}, ErrRefused
	}
	nonce, text := answer[1:1+nonceSize], answer[1+nonceSize:]
	aead, iv, aad, err := w.keys().of(nonce)
	if err != nil {
		return Answer{}, ErrRefused
	}
	plain, err := aead.Open(nil, iv, text, aad)
	if err != nil {
		return Answer{}, ErrRefused
	}
	a, clock, ok := parseAnswer(plain)
	switch {
	case !ok:
		return Answer{}, ErrRefused
	case clock:
		return a, ErrClock
	}
	return a, nil
}

// exporter is either end of an HPKE context.
type exporter interface {
	Export(exporterContext string, length int) ([]byte, error)
}

// answerKeys make the keys of answers to one request (RFC 9458, section 4.4), and bind
// them to its whole envelope.
type answerKeys struct {
	secret, enc []byte
	request     [sha256.Size]byte
}

func newAnswerKeys(c exporter, enc, envelope []byte) (answerKeys, error) {
	secret, err := c.Export("holdfast client answer v1", nonceSize)
	return answerKeys{secret: secret, enc: enc, request: sha256.Sum256(envelope)}, err
}

// of makes the key for a nonce that the core drew: of several answers each has another.
func (k answerKeys) of(nonce []byte) (aead cipher.AEAD, iv, aad []byte, err error) {
	salt := slices.Concat(k.enc, nonce)
	prk, err := hkdf.Extract(sha256.New, k.secret, salt)
	if err != nil {
		return nil, nil, nil, err
	}
	key, err := hkdf.Expand(sha256.New, prk, "key", 32)
	if err != nil {
		return nil, nil, nil, err
	}
	if iv, err = hkdf.Expand(sha256.New, prk, "nonce", 12); err != nil {
		return nil, nil, nil, err
	}
	block, err := aes.NewCipher(key)
	if err != nil {
		return nil, nil, nil, err
	}
	aead, err = cipher.NewGCM(block)
	return aead, iv, transcript.Append(nil, "holdfast client answer v1", []byte{version}, k.request[:]), err
}
