package wgdevice_test

import (
	"fmt"

	"github.com/holdfastvpn/holdfast/gateway/wgdevice"
)

// Whatever is in the way of an interface, Open says it with what to do, and
// changes nothing.
func ExampleOpen() {
	dev, err := wgdevice.Open(wgdevice.Config{Name: "wg 0"})
	if err != nil {
		fmt.Println(err)
		return
	}
	fmt.Println("WireGuard of the", dev.Backend())
	fmt.Println(dev.Close())
	// Output: wgdevice: interface name "wg 0": has the character ' ': use letters, digits, points, dashes and underscores
}
