// Package join is how a machine becomes a part of a deployment with one token, and
// stays one.
//
// A core makes a [Token] (package authority): one shell word that holds who the machine
// will be, a secret of 256 bits that works once, and the hash of the core's root. The
// machine makes a key, and [Run] has it certified: by default it listens and a core
// dials it ([Dialer]), or it dials a core. In both cases the core serves [Handler].
//
// What happens on the connection: the machine checks that the core's certificate leads
// to the root of its token. Both ends prove that they know the token, by a MAC over a
// value that only this one TLS connection has; so nobody in between can pass the proof
// on. Then the machine shows the secret itself, since the core keeps a hash of it only,
// with a signing request by its key, and gets the certificate. The same key gets the
// same answer again, for answers get lost; another key gets ErrUsed.
//
// Afterwards [Keep] has the certificate renewed over links, when two thirds of its time
// are over.
package join
