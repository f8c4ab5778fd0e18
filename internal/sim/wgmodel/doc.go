// Package wgmodel is a model of WireGuard: what its protocol and the kernel's
// timers make of packets, without cryptography and without bytes. A session is an
// identity, a key that is not the right one is one that is not the same.
//
// It has the rules of the whitepaper (section 6) and of the kernel's module:
// handshakes with their stamps, that have to grow, and no more than one in 20 ms;
// the current, the previous and the next pair of keys; rekeying by the initiator
// after 120 s, and the end of a session after 180 s; retries each 5 s for 90 s; the
// keepalives, passive and persistent; the handshake that begins 15 s after the first
// data that nobody answered; roaming; counters and times as the kernel tells them;
// and that the kernel's timers are late by up to an eighth (a persistent keepalive
// of 25 s comes each 26.6 s).
//
// A [Network] carries packets between machines, each a [Host] with a clock of its
// own: it delays, reorders and loses them, and brings them to whoever has the address
// by then. A [NAT] stands before clients. A [Device] is a gateway's interface, with
// the rest of a machine as in memdevice; a [Client] is an unmodified one, with
// somebody who asks and waits for answers.
//
// All of it lives by the time package, so that a bubble of testing/synctest makes it
// pass. All methods are safe for concurrent use. What is played on one Network is
// played under one lock.
//
// Left out: cookies, the source addresses of inner packets (a client's address is
// its key), fragments, and WireGuard in user space where it differs.
package wgmodel
