package gateway

import (
	"fmt"
	"strconv"
	"strings"
)

// Revision orders the desired states of one location. The epoch is random and
// belongs to one history: a new store, a restored backup or a counter that went
// backwards starts another, and revisions of two epochs have no order. The zero
// Revision is nothing at all, older than everything.
type Revision struct {
	Epoch  uint64
	Number uint64
}

// IsZero says whether r is no revision.
func (r Revision) IsZero() bool { return r == Revision{} }

// Reached says whether who has r also has want: the same epoch, and no lower
// number. Everything has reached the zero Revision.
func (r Revision) Reached(want Revision) bool {
	return want.IsZero() || r.Epoch == want.Epoch && r.Number >= want.Number
}

// String returns the epoch's last four hexadecimal digits and the number, such
// as "9f3c.17", or "-" for the zero Revision: for people. MarshalText gives all
// of it.
func (r Revision) String() string {
	if r.IsZero() {
		return "-"
	}
	return fmt.Sprintf("%04x.%d", r.Epoch&0xffff, r.Number)
}

// MarshalText returns all of r, such as "00a1b2c3d4e59f3c.17", and no bytes for
// the zero Revision.
func (r Revision) MarshalText() ([]byte, error) {
	if r.IsZero() {
		return []byte{}, nil
	}
	return fmt.Appendf(nil, "%016x.%d", r.Epoch, r.Number), nil
}

// UnmarshalText reads what MarshalText wrote, and nothing else: each revision
// has one text.
func (r *Revision) UnmarshalText(text []byte) error {
	if len(text) == 0 {
		*r = Revision{}
		return nil
	}
	e, n, ok := strings.Cut(string(text), ".")
	epoch, err := strconv.ParseUint(e, 16, 64)
	number, err2 := strconv.ParseUint(n, 10, 64)
	read := Revision{epoch, number}
	again, _ := read.MarshalText() // has no way to fail
	if !ok || err != nil || err2 != nil || string(again) != string(text) {
		return fmt.Errorf("gateway: revision %q: want 16 hexadecimal digits in lower case, a point and a number", text)
	}
	*r = read
	return nil
}
