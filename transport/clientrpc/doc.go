// Package clientrpc carries what devices ask of a core, over Connect, through proxies
// that can neither read nor alter it: each request and each answer is an envelope of
// package sealed. A proxy relays two methods, and learns who talks, when, and in which
// of eight sizes.
//
// A core registers its methods ([Handle], [HandleEnrol]) and serves [NewHandler]; a
// device has a [Client], and asks with [Call], or [Client.Enrol] with a token. Errors
// cross inside of the envelopes, so that errors.Is holds at the device, and the proxy
// knows nothing of them; see [Sentinel]. What is refused from the outside is
// sealed.ErrRefused, whatever the reason.
//
// A request that got no answer may or may not have been carried out. Asking again is
// another request, so every method has to be one that may be repeated. A proxy can
// repeat a request too, but within two minutes only, and once to each core: see package
// sealed.
package clientrpc
