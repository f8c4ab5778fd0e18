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
		w.Verifications++
		return verify(key, message, signature)
	}
	return w
}

// SealAs seals what r says, but signs with another identity than the one it names, and
// for another core or deployment than it is sealed to.
func SealAs(r Request, signer Identity, deployment string, core Fingerprint) ([]byte, error) {
	kdf, aead := suite()
	enc, s, err := hpke.NewSender(r.Core.kem, kdf, aead, info(r.Deployment))
	if err != nil {
		return nil, err
	}
	in := inside{kind: aDevice, id: [16]byte{1}, at: r.At, key: r.Identity.Public(), method: r.Method, body: r.Body}
	signed := in.append(nil)
	plain := pad(append(signed, signer.sign(statement(deployment, core, enc, signed))...))
	return finish(r, s, enc, plain)
}

// SealRaw seals bytes as if they were a request.
func SealRaw(r Request, plain []byte) ([]byte, error) {
	kdf, aead := suite()
	enc, s, err := hpke.NewSender(r.Core.kem, kdf, aead, info(r.Deployment))
	if err != nil {
		return nil, err
	}
	return finish(r, s, enc, plain)
}

func finish(r Request, s *hpke.Sender, enc, plain []byte) ([]byte, error) {
	id := r.Core.Fingerprint().keyID()
	header := append([]byte{version}, id[:]...)
	text, err := s.Seal(header, plain)
	return append(append(header, enc...), text...), err
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
