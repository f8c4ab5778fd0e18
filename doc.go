// Package holdfast is the root of a module for WireGuard access that stays up:
// a Go SDK to import, and the parts from which its daemons are built.
//
// A location is a WireGuard network that people connect to. It is served by
// several gateways at once, all active, each with the same key, port and peers,
// on plain WireGuard. A core owns locations and peers; gateways make their
// interfaces be what the core says and keep them so when the core is away.
//
// # Where to start
//
//   - To see it work: go run ./examples/quickstart builds two gateways, a
//     network behind them and a client behind a NAT, each in a network namespace
//     of its own, and moves the client from one gateway to the other.
//   - To embed a control plane: package vpn, the composer. A vpn.Core on
//     vpn/memstore needs no database and no network.
//   - To run a gateway inside a program: package gateway with gateway/wgdevice.
//   - To write a store, a device or a transport: the interface stands in the
//     package that calls it, and a package with the suffix test holds the suite
//     that says whether an implementation is right.
//
// # The graph
//
// Imports point down only, and a test in internal/archtest holds the map.
//
//	vpn/wgkey, vpn/seal     typed keys and sealed secrets; import nothing of ours
//	location                where peers connect: prefixes, key, routes, policy
//	peer                    who connects: a device and its place in a location
//	gateway                 make an interface be what the control plane says
//	gateway/wgdevice        the only code that touches a kernel
//	gateway/memdevice       the same contract in memory
//	vpn                     the composer: Core, Stores, View, Project
//	vpn/kvstore, memstore   stores over a key-value database, and in memory
//	vpn/sqlitestore         a store in a file, for one core
//	transport               who is who, and links between processes
//	transport/…rpc          the contracts on such a link
//	transport/memtransport  links within one process, which can be cut
//	cmd/…                   thin daemons, and the command line of operators
//
// A gateway knows no location, user or policy: it gets rows of keys, prefixes
// and times. The core never imports a transport: it is itself what a gateway
// asks for (gateway.ControlPlane), so that one process needs no wire at all.
//
// This package holds no code. docs/architecture.md has the promises, the whole
// import table and what is planned.
package holdfast
