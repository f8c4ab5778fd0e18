// Package seal keeps secrets closed in rows, so that no store, backup or log
// ever holds one in the open.
//
// A [Keyring] seals with its first key and opens with any of them, which is how
// keys are rotated: put the new key first, seal every row anew (see
// [Keyring.Stale]), drop the old key. A sealed [Text] is bound to the row and
// field that it was sealed for, and does not open anywhere else, so that who can
// write the database still cannot move a secret to where it helps.
//
// Sealing is XChaCha20-Poly1305 with a random nonce of 192 bits
// (draft-irtf-cfrg-xchacha), so the number of texts under one key needs no limit.
package seal

import (
	"crypto/cipher"
	"crypto/rand"
	"crypto/sha256"
	"encoding/base64"
	"encoding/hex"
	"errors"
	"fmt"
	"log/slog"
	"strings"
	"sync/atomic"
	"unique"

	"golang.org/x/crypto/chacha20poly1305"
)

// KeySize is the length of a ring's key in bytes.
const KeySize = chacha20poly1305.KeySize

// ErrUnreadable says that no key of the ring opens a text, or that the text
// was changed, or that it belongs to another row.
var ErrUnreadable = errors.New("seal: unreadable")

const version = "hf1"

// Text is a sealed secret. It is safe to store, marshal and print. The zero
// value is no secret, and does not open.
type Text string

// Key is a key of a ring. It does not print and does not marshal. It holds its
// bytes behind a handle to a string, because fmt does not ask a value in an
// unexported field how to print it, but follows no pointer to a string.
type Key struct{ h unique.Handle[string] }

// NewKey makes a key from the system's random source.
func NewKey() Key {
	var b [KeySize]byte
	_, _ = rand.Read(b[:]) // never fails: crypto/rand ends the program instead
	return KeyFrom(b)
}

// KeyFrom makes a key of bytes that the caller keeps elsewhere, in a file or a
// credential.
func KeyFrom(b [KeySize]byte) Key {
	if b == [KeySize]byte{} {
		return Key{}
	}
	return Key{unique.Make(string(b[:]))}
}

// Format prints "(secret)" for every verb.
func (Key) Format(f fmt.State, _ rune) { _, _ = f.Write([]byte("(secret)")) }

// LogValue logs "(secret)".
func (Key) LogValue() slog.Value { return slog.StringValue("(secret)") }

// MarshalText fails: a ring's key is kept by who made it.
func (Key) MarshalText() ([]byte, error) { return nil, errors.New("seal: a key does not marshal") }

// Reveal returns the key's bytes: handle with care.
func (k Key) Reveal() [KeySize]byte {
	if k == (Key{}) {
		return [KeySize]byte{}
	}
	return [KeySize]byte([]byte(k.h.Value()))
}

// id names a key without telling anything of it.
func (k Key) id() string {
	b := k.Reveal()
	sum := sha256.Sum256(append([]byte("holdfast seal key id\x00"), b[:]...))
	return hex.EncodeToString(sum[:6])
}

// Keyring seals with its first key and opens with any. It is safe for
// concurrent use, and prints as the ids of its keys. Make one with New or
// Ephemeral.
type Keyring struct{ now *atomic.Pointer[ring] }

// ring is the keys of a moment; constant.
type ring struct {
	first string
	ids   []string
	keys  map[string]func() cipher.AEAD // functions, because those never print what they hold
}

// New makes a ring. It fails without a key, with the same key twice, and with a
// key that is all zero.
func New(keys ...Key) (*Keyring, error) {
	now, err := newRing(keys)
	if err != nil {
		return nil, err
	}
	r := &Keyring{now: new(atomic.Pointer[ring])}
	r.now.Store(now)
	return r, nil
}

// Replace makes the keys be others, as New would, for all who have the ring: the
// first step of a rotation puts a new key before the old ones, the last leaves
// the old ones out. On an error the ring is as it was.
func (r *Keyring) Replace(keys ...Key) error {
	now, err := newRing(keys)
	if err == nil {
		r.now.Store(now)
	}
	return err
}

func newRing(keys []Key) (*ring, error) {
	if len(keys) == 0 {
		return nil, errors.New("seal: a keyring needs at least one key")
	}
	r := &ring{keys: make(map[string]func() cipher.AEAD, len(keys))}
	for i, k := range keys {
		if k == (Key{}) {
			return nil, fmt.Errorf("seal: key %d of the ring is all zero", i+1)
		}
		id := k.id()
		if r.keys[id] != nil {
			return nil, fmt.Errorf("seal: key %s is in the ring twice", id)
		}
		b := k.Reveal()
		aead, err := chacha20poly1305.NewX(b[:])
		if err != nil {
			return nil, fmt.Errorf("seal: key %s: %w", id, err)
		}
		r.keys[id] = func() cipher.AEAD { return aead }
		r.ids = append(r.ids, id)
	}
	r.first = r.ids[0]
	return r, nil
}

// Ephemeral makes a ring with a key that dies with the process: for stores that
// die with it too.
func Ephemeral() *Keyring {
	r, err := New(NewKey())
	if err != nil {
		panic(err) //nolint:forbidigo // cannot be: a fresh random key is neither zero nor a duplicate
	}
	return r
}

// String returns the ids of the ring's keys, the sealing one first.
func (r *Keyring) String() string { return "keyring(" + strings.Join(r.now.Load().ids, " ") + ")" }

// Seal closes secret for the place named by bound, such as
// "location/ID/key". Two calls with the same arguments give different texts.
func (r *Keyring) Seal(secret []byte, bound string) Text {
	nonce := make([]byte, chacha20poly1305.NonceSizeX, chacha20poly1305.NonceSizeX+len(secret)+chacha20poly1305.Overhead)
	_, _ = rand.Read(nonce) // never fails: crypto/rand ends the program instead
	now := r.now.Load()
	sealed := now.keys[now.first]().Seal(nonce, nonce, secret, []byte(version+"/"+bound))
	return Text(version + "." + now.first + "." + base64.RawURLEncoding.EncodeToString(sealed))
}

// Open returns what Seal closed for the same bound, or an error that is
// ErrUnreadable. The error quotes nothing of the secret.
func (r *Keyring) Open(t Text, bound string) ([]byte, error) {
	id, body, err := t.split()
	if err != nil {
		return nil, fmt.Errorf("%w: %s: %w", ErrUnreadable, bound, err)
	}
	key := r.now.Load().keys[id]
	if key == nil {
		return nil, fmt.Errorf("%w: %s: sealed with key %s, which is not in the ring: add that key", ErrUnreadable, bound, id)
	}
	sealed, err := base64.RawURLEncoding.Strict().DecodeString(body)
	// The decoder skips line breaks; a text is written in one way only.
	if err != nil || strings.ContainsAny(body, "\r\n") || len(sealed) < chacha20poly1305.NonceSizeX {
		return nil, fmt.Errorf("%w: %s: damaged text", ErrUnreadable, bound)
	}
	nonce, sealed := sealed[:chacha20poly1305.NonceSizeX], sealed[chacha20poly1305.NonceSizeX:]
	secret, err := key().Open(nil, nonce, sealed, []byte(version+"/"+bound))
	if err != nil {
		return nil, fmt.Errorf("%w: %s: changed, or sealed for another place", ErrUnreadable, bound)
	}
	return secret, nil
}

// Stale says whether t was not sealed with the ring's first key: then opening
// and sealing it again finishes a rotation. The zero Text is not stale, for
// there is nothing to seal.
func (r *Keyring) Stale(t Text) bool {
	if t == "" {
		return false
	}
	id, _, err := t.split()
	return err != nil || id != r.now.Load().first
}

func (t Text) split() (id, body string, err error) {
	v, rest, _ := strings.Cut(string(t), ".")
	id, body, ok := strings.Cut(rest, ".")
	if v != version || !ok || len(id) != 12 {
		return "", "", errors.New("not a sealed text of this version")
	}
	return id, body, nil
}
