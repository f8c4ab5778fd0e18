// Package testnet builds small networks out of Linux network namespaces, for
// tests and for programs that show something: hosts, switches, NAT, an address
// that moves between hosts, and means to measure what arrives.
//
// Start with [New] (or [ForTest] in a test), then [Net.Host], [Net.Switch] and
// [Switch.Attach]:
//
//	net, err := testnet.New(ctx, testnet.Config{})
//	// …
//	defer net.Close()
//	a, b, lan := net.Host("a"), net.Host("b"), net.Switch("lan")
//	err = errors.Join(
//		lan.Attach(a, "eth0", netip.MustParsePrefix("192.0.2.1/24")),
//		lan.Attach(b, "eth0", netip.MustParsePrefix("192.0.2.2/24")),
//	)
//
// Net.Host and Net.Switch never return nil. When one could not be made, each of
// its methods says why, so a whole topology can be written down as above and
// checked once.
//
// Rules:
//   - The namespaces have no name and no file. This process holds them by file
//     descriptors; when it ends, by whatever cause, the kernel frees them and
//     every device in them. The namespace that the process runs in is never
//     changed.
//   - A goroutine has no namespace, a thread has. [Host.Do] runs a function on a
//     thread that stands in the host; goroutines that the function starts do
//     not. A socket belongs to the namespace it was opened in for life: open it
//     in Do (or with [Host.ListenUDP] and its siblings), use it anywhere.
//   - Both address families are at hand everywhere. IPv6 addresses are usable
//     at once: duplicate address detection is off.
//   - All types are safe for concurrent use.
//
// It needs root (CAP_NET_ADMIN and CAP_SYS_ADMIN), or a kernel that lets
// ordinary users make user namespaces: then [Enter] moves the program into one.
// [Check] tells in words what a machine lacks, [Need] does the same for tests.
//
// Packets are delayed and lost only where [Host.Impair] asks for it. It
// configures no WireGuard.
package testnet
