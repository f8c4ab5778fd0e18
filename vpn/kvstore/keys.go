package kvstore

import (
	"encoding/hex"
	"fmt"
	"net/netip"
	"net/url"
	"strings"

	"github.com/holdfastvpn/holdfast/location"
)

// The keys, and what is under them:
//
//	head                           the epoch: 16 hexadecimal digits
//	head/LOCATION                  number, floor and graves: see head
//	row/KIND/ID                    the row, JSON
//	claim/SCOPE/name/NAME          who holds it: KIND/ID
//	claim/SCOPE/4 or 6/LAST        a prefix by its last address: prefix KIND/ID
//	new/LOCATION/NUMBER            the row whose newest write has the number: KIND/ID
//	at/LOCATION/KIND/ID            that number
//	grave/LOCATION/NUMBER          the same for a row that has left the location
//	record/KEY                     a record
//
// Parts that others follow are escaped, last ones are as they are, so that rows
// and records are in the order of their IDs. Numbers have 16 hexadecimal digits.
// The epoch is next to the heads, so that one scan has them all.
const (
	epochKey  = "head"
	headsKey  = "head/"
	recordKey = "record/"
)

func headKey(at location.ID) string  { return headsKey + string(at) }
func rowsKey(kind string) string     { return "row/" + kind + "/" }
func rowKey(kind, id string) string  { return rowsKey(kind) + id }
func newKey(at location.ID) string   { return "new/" + escape(string(at)) + "/" }
func graveKey(at location.ID) string { return "grave/" + escape(string(at)) + "/" }

func atKey(at location.ID, kind string) string {
	return "at/" + escape(string(at)) + "/" + kind + "/"
}

func nameKey(c location.Claim) string {
	return "claim/" + escape(c.Scope) + "/name/" + c.Name
}

// prefixKey is where claims of the family of a begin that end at a or later.
func prefixKey(scope string, a netip.Addr) string {
	return familyKey(scope, a) + hex.EncodeToString(a.AsSlice())
}

func familyKey(scope string, a netip.Addr) string {
	family := "/6/"
	if a.Is4() {
		family = "/4/"
	}
	return "claim/" + escape(scope) + family
}

// escape keeps "/" out of a part of a key.
func escape(part string) string { return url.PathEscape(part) }

// digits writes n so that order of text is order of numbers.
func digits(n uint64) string { return fmt.Sprintf("%016x", n) }

// after is the first key that does not begin with prefix and is greater.
func after(prefix string) string {
	b := []byte(prefix)
	for i := len(b) - 1; i >= 0; i-- {
		if b[i] < 0xff {
			b[i]++
			return string(b[:i+1])
		}
	}
	return strings.Repeat("\xff", len(b)+1) // cannot be: our prefixes begin with a letter
}
