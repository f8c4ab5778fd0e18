// Package wgdevice is a [gateway.Device] on Linux: one WireGuard interface, of
// the kernel or in user space, with its addresses, routes and filter table.
//
// Start with [Open]:
//
//	dev, err := wgdevice.Open(wgdevice.Config{Name: "wg0"})
//	// …
//	defer dev.Close()
//	var have gateway.State
//	err = dev.Observe(ctx, &have)
//	err = dev.Apply(ctx, gateway.Diff(want, have))
//
// What a caller should know:
//
//   - Open and Close change nothing. The first Configure step makes the
//     interface, a Destroy step ends it, and in between it stays as it is,
//     whoever runs: the next Open adopts it with all its sessions.
//   - An interface is ours if we marked it: its alias starts with "holdfast".
//     Another of the same name is [gateway.ErrForeign] and left alone; a
//     WireGuard interface that somebody else made can be taken over with
//     Config.Adopt, or by a Configure step with the private key that it has.
//   - The kernel's WireGuard is used where there is one. Otherwise WireGuard
//     runs in this process, over a TUN device: such an interface outlives its
//     Device but not the process, and only this process can adopt it. With
//     Config.Process it has a process of its own, a program that calls [Serve]:
//     then it outlives this one, however that ends, and the next adopts it.
//   - Routes are ours by their protocol number, 104. Only those are reported
//     and removed, and a route of somebody else is never replaced.
//   - The filter table is named after the interface, "holdfast-wg0" in family
//     inet, and belongs to us as a whole: any change in it is drift. Rules of
//     others are never touched.
//   - The same table keeps peers to Interface.Destinations, and from each other
//     if they are Isolated, packet by packet and without knowing connections. It
//     lets pass or drops for itself: another table may still drop the rest.
//   - Where an interface has Floating addresses, a rule of priority 10400 sends
//     packets of its mark into the routing table of the same number, for each
//     family. Rule, table and all in it have protocol 104 and are ours; a table
//     that somebody else uses, and the kernel's own, are refused. Interfaces of
//     one machine cannot share a mark then. Own has the tables follow the
//     machine; without it they are as they were when Configure was asked last.
//   - Forwarding is switched on where Configure asks for it, never off again.
//     Where it could not be, State.Problems says why.
//
// A Device is for one goroutine at a time, any goroutine, but for Own, which any
// may call at any time. The network namespace is that of Config.NetNS, whatever
// thread a call comes from. It needs CAP_NET_ADMIN there, and CAP_SYS_ADMIN
// besides if that namespace is not the process's own.
//
// The package decides nothing about peers and moves no address between hosts.
package wgdevice
