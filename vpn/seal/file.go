package seal

import (
	"bufio"
	"bytes"
	"encoding/base64"
	"errors"
	"fmt"
	"strings"
)

// keyPrefix begins the text of a key, so that people and scanners for leaked
// secrets know what they see.
const keyPrefix = "hfkey1."

// RevealText is the key as text, for who keeps it: handle with care. ParseKeys
// reads it.
// It is "" of the zero Key.
func (k Key) RevealText() string {
	if k == (Key{}) {
		return ""
	}
	b := k.Reveal()
	return keyPrefix + base64.RawURLEncoding.EncodeToString(b[:])
}

// ParseKeys reads keys as they are kept in a file or a credential: one a line,
// as RevealText wrote them, the sealing one first; empty lines and those that
// begin with # are left out. The error names the line and quotes nothing of it.
func ParseKeys(text []byte) ([]Key, error) {
	var keys []Key
	lines := bufio.NewScanner(bytes.NewReader(text))
	for n := 1; lines.Scan(); n++ {
		line := strings.TrimSpace(lines.Text())
		if line == "" || strings.HasPrefix(line, "#") {
			continue
		}
		body, found := strings.CutPrefix(line, keyPrefix)
		b, err := base64.RawURLEncoding.Strict().DecodeString(body)
		if !found || err != nil || len(b) != KeySize {
			return nil, fmt.Errorf("seal: line %d is no key: want %s and %d more characters", n, keyPrefix, base64.RawURLEncoding.EncodedLen(KeySize))
		}
		k := KeyFrom([KeySize]byte(b))
		if k == (Key{}) {
			return nil, fmt.Errorf("seal: the key on line %d is all zero", n)
		}
		keys = append(keys, k)
	}
	if err := lines.Err(); err != nil {
		return nil, fmt.Errorf("seal: read keys: %w", err)
	}
	if len(keys) == 0 {
		return nil, errors.New("seal: there is no key")
	}
	return keys, nil
}
