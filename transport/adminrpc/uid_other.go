//go:build !linux

package adminrpc

import "net"

// uidOf knows nobody: on such systems everybody needs a token.
func uidOf(*net.UnixConn) (uid uint32, known bool) { return 0, false }
