package seal_test

import (
	"fmt"

	"github.com/holdfastvpn/holdfast/vpn/seal"
)

// A secret opens where it belongs, and nowhere else.
func Example() {
	ring, err := seal.New(seal.NewKey()) // keep the key in a file or a credential
	if err != nil {
		panic(err)
	}
	text := ring.Seal([]byte("correct horse"), "location/1/key")

	secret, err := ring.Open(text, "location/1/key")
	fmt.Println(string(secret), err)
	_, err = ring.Open(text, "location/2/key")
	fmt.Println(err)
	// Output:
	// correct horse <nil>
	// seal: unreadable: location/2/key: changed, or sealed for another place
}

// To change keys, put the new one first, seal every row again, drop the old one.
func ExampleKeyring_Stale() {
	before, after := seal.NewKey(), seal.NewKey()
	old, err := seal.New(before)
	if err != nil {
		panic(err)
	}
	row := old.Seal([]byte("secret"), "row")

	ring, err := seal.New(after, before)
	if err != nil {
		panic(err)
	}
	if ring.Stale(row) {
		secret, err := ring.Open(row, "row")
		if err != nil {
			panic(err)
		}
		row = ring.Seal(secret, "row")
	}
	fmt.Println(ring.Stale(row))
	// Output: false
}
