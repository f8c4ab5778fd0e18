// Package transcript makes one text of several parts, such that no two lists of parts
// give the same: each has its length before it, and the first says what the text is for.
package transcript

import (
	"crypto/hmac"
	"crypto/sha256"
	"encoding/binary"
)

// Append appends the label and the parts to b.
func Append(b []byte, label string, parts ...[]byte) []byte {
	b = binary.BigEndian.AppendUint64(b, uint64(len(label)))
	b = append(b, label...)
	for _, p := range parts {
		b = binary.BigEndian.AppendUint64(b, uint64(len(p)))
		b = append(b, p...)
	}
	return b
}

// MAC is HMAC-SHA-256 over them, 32 bytes. Each use has a label of its own, so that
// none can stand for another.
func MAC(key [32]byte, label string, parts ...[]byte) []byte {
	mac := hmac.New(sha256.New, key[:])
	mac.Write(Append(nil, label, parts...))
	return mac.Sum(nil)
}
