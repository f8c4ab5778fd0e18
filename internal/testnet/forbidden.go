package testnet

import "fmt"

// forbidden says why an ordinary user could not make namespaces. cause is what
// was tried last; setting gives the kernel's parameters by their path below
// /proc/sys, "" for those that this kernel does not have.
func forbidden(cause error, setting func(string) string) error {
	m := &MissingError{
		What: Netns,
		Why:  fmt.Errorf("this is not root, and it could not make a user namespace either: %w", cause),
	}
	switch {
	case setting("kernel/unprivileged_userns_clone") == "0":
		m.Fix = "allow it (as root: sysctl -w kernel.unprivileged_userns_clone=1)"
	case setting("user/max_user_namespaces") == "0":
		m.Fix = "allow it (as root: sysctl -w user.max_user_namespaces=10000)"
	case setting("kernel/apparmor_restrict_unprivileged_userns") == "1":
		m.Fix = "AppArmor forbids it, as on Ubuntu since 23.10: allow it (as root: sysctl -w kernel.apparmor_restrict_unprivileged_userns=0)"
	case setting("user/max_user_namespaces") == "":
		m.Fix = "this kernel has none (CONFIG_USER_NS)"
	default:
		m.Fix = "a container or another sandbox may forbid it (docker run --privileged allows it)"
	}
	m.Fix += ", or run this as root"
	return m
}
