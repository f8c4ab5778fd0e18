// Package vpn puts the parts together: start here to embed a control plane.
//
// [New] makes a [Core] of a backend ([Stores], such as memstore.New()) and a
// keyring (seal.Ephemeral() goes with a memory store). Core.Locations and
// Core.Devices are where people connect and who does, Core.Gateways is who
// serves them, and Core.Run keeps it all going. A Core is itself what gateways
// ask for, a gateway.ControlPlane, so one process needs no network in between.
// Core.Overview tells who is connected, which revision each gateway has applied,
// and who carries whom.
//
// What a gateway has to be is worked out by [Project], a pure function of a
// [View] of the store; a Core keeps its outcome by change ([Projection]) and
// compares the two every half minute. What is missing, disabled or unreadable
// grants nothing.
//
// Any number of cores may work on one backend at once. They need not know each
// other: the store orders everything by a [Revision] per location, and each core
// looks for newer ones five times a second, or at once where the backend gives
// hints. A core that cannot read its store says so to its gateways (ErrStale),
// which keep what they have and turn to another.
//
// Everything here is safe for concurrent use unless it says otherwise. Secrets
// are sealed before they reach a store (package seal).
package vpn
