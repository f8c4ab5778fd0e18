// Package sealed keeps what a device and a core say to each other from whoever carries
// it: a relay can neither read nor alter nor make up any of it. It has no wire, no clock
// and no goroutine; package clientrpc puts it on one.
//
// A device makes an envelope with [Seal] and gets a [Waiting], which opens the answer. A
// core has one [Opener]; what it opens is an [Opened], which seals the answer.
//
//   - Requests are sealed with HPKE (RFC 9180) in base mode: ML-KEM-768 with X25519,
//     HKDF-SHA-256, AES-256-GCM. The deployment's name is in the info, so what was meant
//     for another one does not open.
//   - Answers are sealed with a key exported from the request's context, as in oblivious
//     HTTP (RFC 9458, section 4.4): they open for that request alone, and are as safe
//     from quantum computers as requests are.
//   - Each request is signed (Ed25519, RFC 8032, with a context) by the device, over
//     the core's key, the encapsulated key and all that it says.
//   - Lengths are padded to powers of two, from 512 bytes to 64 KiB.
//
// Whatever is wrong with a request is [ErrRefused], without a reason, and costs the same
// cryptography: see [Opener.Open]. A request says when it was made, by the device's
// clock; one whose clock is wrong is told so in an answer ([ClockError]).
//
// A [Token] lets a device enrol through a relay: it has the fingerprint of the core's
// key. See [Token.Enrol] and [Opened.CheckEnrolment].
//
// What it does not do: forward secrecy against who gets the core's key later (rotate
// it), signatures that withstand quantum computers, hiding who talks with whom when.
package sealed
