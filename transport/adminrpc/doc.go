// Package adminrpc is what operators ask of a core, over Connect: JSON over HTTP
// does, and curl is a client.
//
// [NewHandler] serves a vpn.Core, [Dial] and [NewClient] return a [Client] that
// speaks the types of the domain, so that a program may use it like the core
// itself. Its errors are those of the core to errors.Is and errors.As:
// *location.FieldError, location.ErrNotFound, peer.ErrKeyTaken and the rest.
//
// Who asks is known in one of two ways. [ListenUnix] and [NewServer] serve a unix
// socket, where the system says who is at the other end: root, and the user that
// the core runs as, may do everything. Everywhere else a request carries a token
// (see [Tokens]), which is good for everything or for looking; what each method
// needs is a table, and a method without a row is refused.
//
// A change that takes access away answers with a vpn.Confirmation for each
// location: which gateways have applied it after two seconds, which have not, and
// which are not connected.
//
// Private keys of devices are not spoken of: they are made where they are used.
package adminrpc
