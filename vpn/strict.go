package vpn

import (
	"bytes"
	"encoding/json"
)

// strict reads a record: a field that is not known was written by newer
// software, and is an error rather than forgotten.
func strict(b []byte, into any) error {
	d := json.NewDecoder(bytes.NewReader(b))
	d.DisallowUnknownFields()
	return d.Decode(into)
}
