//go:build linux

package testnet

import "fmt"

// Mark writes a line into the timeline and, at debug level, into the log.
func (n *Net) Mark(format string, args ...any) {
	n.log.Debug("mark", "what", fmt.Sprintf(format, args...))
}
