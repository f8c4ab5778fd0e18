//go:build linux

package testnet

// Enter makes sure that this program can make networks.
func Enter() error { return Check(Netns) }
