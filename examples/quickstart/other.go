//go:build !linux

// Quickstart needs Linux: its hosts are network namespaces.
package main

import (
	"fmt"
	"os"
)

func main() {
	fmt.Fprintln(os.Stderr, "quickstart: its hosts are network namespaces: run it on Linux, for instance in a virtual machine")
	os.Exit(2)
}
