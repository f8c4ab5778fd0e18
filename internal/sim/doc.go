// Package sim plays the whole system in one process under random faults, and
// checks what is promised of it. [Run] plays one history; it belongs into a
// bubble of testing/synctest, where minutes cost milliseconds.
//
// Real are the cores (vpn.Core over kvstore), the gateways (gateway.Process over
// a gateway.Pool) and all that they decide. Played are what they stand on: a
// database that fails, hangs, is slow, loses hints or the answer to a commit;
// links that are cut, stall and delay; machines that are killed between two
// steps, restarted and rebooted, or lose power; devices that somebody changes by hand,
// or that refuse; clocks that are not quite right. Operators write through any core,
// and note what was acknowledged. Gateways talk with each other over links that are
// cut, stall and delay. Each key of each device has an unmodified WireGuard client
// (package wgmodel) that dials its location's floating address, and most of them ask
// something through the tunnel now and then. The address moves, comes and goes, is
// nowhere or in two places for a while; clients come into other networks, lose packets,
// are started anew; and somebody sends again what they sent.
//
// The model knows the promises alone. Each thing that a gateway can have has a
// story: the states that operators asked for, in order, and when each was
// acknowledged. What gateways do is held against it:
//
//   - P1: when faults have ended and the resync interval has passed, all
//     gateways have the same revision and exactly what the story says, know
//     exactly who their siblings are and where, and every core says so.
//   - P2: no peer and no interface goes for any other reason than an operator's.
//   - P8: no client loses a session with a gateway that carries it, while its story and
//     the address stood still. Who carries it is not asked of gateways: the session
//     that the client has is the truth.
//   - P9: what was acknowledged is there when it is read, through any core; it
//     is on every connected gateway within 30 s; a gateway never goes back in a
//     story.
//   - P10: no two devices get one address or one key.
//   - P13: a client that talks, and of which the gateway has heard that gets the address,
//     is back within 1 s, unless its packets were lost or the gateway's process died
//     meanwhile; any client that asks has an answer again within WireGuard's own 15 s
//     and a retry, once it can be had; nobody
//     is drawn to another address than the one that it was told; who has said nothing
//     for 190 s is not dialled; no gateway's keepalive stays on; and some time after a
//     client came to a gateway no other one knows where it is.
//   - P14: when nothing is wrong, what is deleted is gone within 1 s.
//
// A gateway is connected when it and a core run, the link between them is well
// and so is that core's way to the database. Its other links may be in any state.
//
// # What is let pass
//
// A process that starts takes what a device has for what it was told, so until a
// core speaks it is not held to the story after somebody changed the device, or
// after it was killed between two steps of a change. After a reboot, what a
// device had for less than 2 s may be lost with what was not on the disk yet.
// What is slow, refuses or says nothing is not connected, whatever it manages. While a
// machine has power and no process its WireGuard goes on by itself: it can keep clients
// busy with handshakes for 90 s, so that nobody is held to have answers meanwhile, and
// may draw them away from an address that it has lost.
//
// # What a seed fixes
//
// A seed fixes what happens to the system: which faults, when, for how long,
// what operators try and through whom. It does not fix all of what the system
// makes of it: goroutines that are ready at the same virtual instant run in any
// order, waits between retries and IDs are drawn by the code itself, and an
// operator who finds a device busy does nothing. So a seed that failed fails
// again as a rule, not always; run it several times (-count).
package sim
