// Package authority issues the certificates of a deployment, and revokes them. It is a
// part of every core.
//
// An [Authority] keeps what all cores have to agree on in [Records] of the caller: which
// roots are trusted, who is revoked, which tokens there are. The keys of the roots are
// not in there: the caller hands them over as signers, of a sealed record ([Key]) or of
// a hardware module. Open reads, or begins a new deployment; Run looks again, renews the
// core's own certificate, and keeps its Holder current.
//
// Certificates live for 30 days, are issued by the newest root that this core can sign
// with, and for a public key that proved itself with a signing request. Cores get theirs
// from the oldest one, which everybody trusts. To change roots: AddRoot, wait until
// everybody was renewed, DropRoot.
//
// A serial number begins with the generation of its identity. Revoking an identity
// raises the generation, so that all its certificates are over, whichever core issued
// them and whatever its clock says; the name can join again with a new token.
package authority
