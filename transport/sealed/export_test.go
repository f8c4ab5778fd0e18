package sealed

import (
	"crypto/hpke"
	"time"
)

// Work is what an opener did.
type Work struct{ Decapsulations, Verifications int }

// Count counts the work of an opener from now on.
func (o *Opener) Count() *Work {
	w, decap, verify := &Work{}, o.decap, o.verify
	o.decap = func(enc []byte, k hpke.PrivateKey, info []byte) (*hpke.Recipient, error) {
		w.Decapsulations++
		return decap(enc, k, info)
	}
	o.verify = func(key IdentityPublic, message, signature []byte) bool {
		if key != (IdentityPublic{}) && key[0]&key[31] != 0xff && len(signature) == 64 && signature[63]|signature[62]|signature[61] != 0 {
			w.Verifications++ // one that takes all of the work
		}
		return verify(key, message, signature)
	}
	return w
}

// Forgery is how a request differs from what Seal would make of it.
type Forgery struct {
	Signer     Identity    // instead of Request.Identity
	Deployment string      // that the signature is for
	Core       Fingerprint // that the signature is for
	KeyID      [8]byte     // on the envelope
	Inside     []byte      // instead of a request
}

// Forge seals r with the difference that edit makes.
func Forge(r Request, edit func(*Forgery)) ([]byte, error) {
	f := Forgery{Signer: r.Identity, Deployment: r.Deployment, Core: r.Core.Fingerprint(), KeyID: r.Core.Fingerprint().keyID()}
	edit(&f)
	kdf, aead := suite()
	enc, s, err := hpke.NewSender(r.Core.kem, kdf, aead, info(r.Deployment))
	if err != nil {
		return nil, err
	}
	in := inside{kind: aDevice, id: [16]byte{1}, at: r.At, key: r.Identity.Public(), method: r.Method, body: r.Body}
	signed := in.append(nil)
	plain := f.Inside
	if plain == nil {
		plain = pad(append(signed, f.Signer.sign(statement(f.Deployment, f.Core, enc, signed))...))
	}
	header := append([]byte{version}, f.KeyID[:]...)
	text, err := s.Seal(header, plain)
	return append(append(header, enc...), text...), err
}

// Bucket is the length that n bytes are padded to.
func Bucket(n int) int { return bucket(n) }

// Variants are like w, but each lacks one of the things that bind an answer to its
// request.
func (w *Waiting) Variants() map[string]*Waiting {
	with := func(edit func(*answerKeys)) *Waiting {
		k := w.keys()
		edit(&k)
		return &Waiting{id: w.id, keys: func() answerKeys { return k }}
	}
	return map[string]*Waiting{
		"the secret":   with(func(k *answerKeys) { k.secret = make([]byte, len(k.secret)) }),
		"enc":          with(func(k *answerKeys) { k.enc = make([]byte, len(k.enc)) }),
		"the envelope": with(func(k *answerKeys) { k.request[0] ^= 1 }),
	}
}

// Inside is what the opener would read of a request that it opened.
func (o *Opener) Inside(envelope []byte) []byte {
	plain, _, _ := o.unseal(o.ring.Load().keys[0], envelope[headerSize:headerSize+encSize], envelope)
	return plain
}

// Replays are a filter alone.
type Replays struct{ r *replays }

// NewReplays makes one.
func NewReplays(start time.Time, window time.Duration) Replays {
	return Replays{newReplays(start, window)}
}

// Take is what the opener asks.
func (r Replays) Take(device string, id [16]byte, at, now time.Time) (tell time.Time, is string) {
	tell, v := r.r.take(device, id, at, now)
	return tell, [...]string{"fresh", "untimely", "taken"}[v]
}

// Size is how much it remembers.
func (r Replays) Size() (devices, requests int) {
	for _, d := range r.r.seen {
		requests += len(d.all)
	}
	return len(r.r.seen), requests
}

// PerDevice is the most requests of one device.
const PerDevice = perDevice

// AppendAnswer writes what an answer says.
func AppendAnswer(a Answer) []byte { return a.append(nil, false) }

// ParseAnswer reads it.
func ParseAnswer(b []byte) (Answer, bool) {
	a, _, ok := parseAnswer(b)
	return a, ok
}
