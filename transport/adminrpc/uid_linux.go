package adminrpc

import (
	"net"

	"golang.org/x/sys/unix"
)

// uidOf asks the kernel who opened the other end.
func uidOf(c *net.UnixConn) (uid uint32, known bool) {
	raw, err := c.SyscallConn()
	if err != nil {
		return 0, false
	}
	err = raw.Control(func(fd uintptr) {
		cred, err := unix.GetsockoptUcred(int(fd), unix.SOL_SOCKET, unix.SO_PEERCRED)
		if err == nil && cred.Uid != ^uint32(0) { // somebody of a user namespace that is not ours
			uid, known = cred.Uid, true
		}
	})
	return uid, known && err == nil
}
