// Package tokentext makes one shell word of a token's bytes, and bytes of the word
// again: what it is for as a prefix, base64url, and a checksum, so that a copy which
// misses its end says so.
package tokentext

import (
	"crypto/sha256"
	"encoding/base64"
	"fmt"
	"slices"
	"strings"
)

const (
	maxText  = 4096
	checksum = 4
)

// Encode is the text: prefix, and letters, digits, '-' and '_'.
func Encode(prefix string, body []byte) string {
	sum := sha256.Sum256(body)
	return prefix + base64.RawURLEncoding.EncodeToString(append(slices.Clip(body), sum[:checksum]...))
}

// Decode reads what Encode wrote, with white space around it. It fails with bad, and
// what is wrong; it quotes nothing of the text.
func Decode(prefix, s string, bad error) ([]byte, error) {
	text, ok := strings.CutPrefix(strings.TrimSpace(s), prefix)
	if !ok || len(text) > maxText {
		return nil, Wrong(prefix, bad, "it is something else")
	}
	raw, err := base64.RawURLEncoding.Strict().DecodeString(text)
	if err != nil || len(raw) <= checksum || strings.ContainsAny(text, "\r\n") {
		return nil, Wrong(prefix, bad, "it is damaged")
	}
	body, sum := raw[:len(raw)-checksum], sha256.Sum256(raw[:len(raw)-checksum])
	if string(sum[:checksum]) != string(raw[len(body):]) {
		return nil, Wrong(prefix, bad, "it is damaged, or a part is missing")
	}
	return body, nil
}

// Wrong is the error for a text that is no token: it says why, and what to do.
func Wrong(prefix string, bad error, why string) error {
	return fmt.Errorf("%w: %s: copy the whole of it again, from %s to its end", bad, why, prefix)
}
