package sealed

import (
	"crypto/ed25519"
	"encoding/binary"
	"time"
)

// What crosses, all numbers with the highest byte first.
//
//	request  = version(1) key id(8) enc(1120) ciphertext
//	inside   = kind(1) id(16) at(8) identity(32) method(1+n) body(4+n) signature(64) zeros
//	answer   = version(1) nonce(32) ciphertext
//	inside   = at(8) flags(1) keys(1+32n) body(4+n) zeros
const (
	version    = 1
	headerSize = 1 + keyIDSize
	encSize    = 1120 // of X-Wing: 1,088 of ML-KEM-768 and 32 of X25519
	tagSize    = 16
	nonceSize  = 32 // max(Nn, Nk), RFC 9458 section 4.4
)

const (
	// RequestOverhead is how much longer an envelope is than the padded request.
	RequestOverhead = headerSize + encSize + tagSize
	// AnswerOverhead is the same of an answer.
	AnswerOverhead = 1 + nonceSize + tagSize
	// MaxRequest is the length of the longest envelope in bytes.
	MaxRequest = RequestOverhead + largest
	// MaxAnswer is the length of the longest answer in bytes.
	MaxAnswer = AnswerOverhead + largest
	// MaxBody is the length of the longest body in bytes, of requests and of answers.
	MaxBody = 60 << 10
	// MaxMethod is the length of the longest name of a method in bytes.
	MaxMethod = 64
	// MaxKeys is how many keys a core may have at once.
	MaxKeys = 4
)

// kind says who asks.
const (
	aStranger = 0 // somebody who has no device yet
	aDevice   = 1
)

// inside is what a request says.
type inside struct {
	kind   byte
	id     [16]byte
	at     time.Time
	key    IdentityPublic
	method string
	body   []byte
}

// append appends what is signed.
func (r *inside) append(b []byte) []byte {
	b = append(b, r.kind)
	b = append(b, r.id[:]...)
	b = binary.BigEndian.AppendUint64(b, uint64(r.at.UnixNano()))
	b = append(b, r.key[:]...)
	b = append(b, byte(len(r.method)))
	b = append(b, r.method...)
	b = binary.BigEndian.AppendUint32(b, uint32(len(r.body)))
	return append(b, r.body...)
}

// parseInside reads what is signed, and its signature; the padding has to be zeros.
func parseInside(plain []byte) (r inside, signed, signature []byte, ok bool) {
	c := cursor{rest: plain}
	r.kind = c.byte()
	copy(r.id[:], c.take(len(r.id)))
	r.at = c.time()
	copy(r.key[:], c.take(len(r.key)))
	r.method = string(c.take(int(c.byte())))
	r.body = c.long()
	signed = plain[:len(plain)-len(c.rest)]
	signature = c.take(ed25519.SignatureSize)
	ok = !c.short && r.kind <= aDevice && r.method != "" && len(r.method) <= MaxMethod && len(r.body) <= MaxBody && padded(c.rest)
	return r, signed, signature, ok
}

const clockIsWrong = 1 // the flag; there are no others

// append appends what an answer says.
func (a *Answer) append(b []byte, clock bool) []byte {
	b = binary.BigEndian.AppendUint64(b, uint64(a.At.UnixNano()))
	flags := byte(0)
	if clock {
		flags = clockIsWrong
	}
	b = append(b, flags, byte(len(a.Keys)))
	for _, k := range a.Keys {
		b = append(b, k[:]...)
	}
	b = binary.BigEndian.AppendUint32(b, uint32(len(a.Body)))
	return append(b, a.Body...)
}

func parseAnswer(plain []byte) (a Answer, clock, ok bool) {
	c := cursor{rest: plain}
	a.At = c.time()
	flags, n := c.byte(), int(c.byte())
	if flags > clockIsWrong || n > MaxKeys {
		return Answer{}, false, false
	}
	for range n {
		var f Fingerprint
		copy(f[:], c.take(len(f)))
		a.Keys = append(a.Keys, f)
	}
	a.Body = c.long()
	return a, flags == clockIsWrong, !c.short && len(a.Body) <= MaxBody && padded(c.rest)
}

// cursor reads; once something was missing, it gives zeros and is short.
type cursor struct {
	rest  []byte
	short bool
}

func (c *cursor) take(n int) []byte {
	if n < 0 || n > len(c.rest) {
		c.short, c.rest = true, nil
		return nil
	}
	out := c.rest[:n:n]
	c.rest = c.rest[n:]
	return out
}

func (c *cursor) byte() byte {
	if b := c.take(1); b != nil {
		return b[0]
	}
	return 0
}

func (c *cursor) long() []byte {
	if b := c.take(4); b != nil {
		return c.take(int(binary.BigEndian.Uint32(b)))
	}
	return nil
}

// time is an instant between the years 1678 and 2262, to the nanosecond.
func (c *cursor) time() time.Time {
	if b := c.take(8); b != nil {
		return time.Unix(0, int64(binary.BigEndian.Uint64(b))).UTC()
	}
	return time.Time{}
}
