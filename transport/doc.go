// Package transport says who is who between processes, and links them.
//
// An [Identity] is a URI in a certificate; [Credentials] are what proves one, and a
// [Holder] keeps the current ones, looked up at each handshake, so that they can be
// replaced at any time. Links are mutual TLS 1.3 with HTTP/2 on it, either way round:
// who dials and who asks are two questions. A [Server] serves handlers on its links,
// a [Client] asks on them, and each of both can Dial and Listen. By default the core
// is a Server that dials: then the end that was dialled asks, and no firewall has to
// let anybody in. The other way round the same handlers serve.
//
// The first request on a link is a Hello, which the Client makes by itself. It has a
// deadline, and tells both ends who is there, in which version; what does not fit is
// refused with a sentence. Handlers learn with [PeerOf] who asks. Pings find a dead
// link within four seconds; links are made again with backoff and full jitter, the
// first try at once. A newer link of the same peer ends the older one.
//
// Nothing but the certificate grants: deployment, role, chain, age and revocation are
// checked by both ends at each handshake, and on live links twice a second. An expired
// certificate that was not revoked may do one thing, have itself renewed.
//
// Sub-packages: authority issues and revokes; join is how a machine gets its first
// certificate, and the following ones; statedir keeps them in files; transporttest has
// faults for links. The packages that end in rpc carry one contract each over links.
//
// This package knows nothing of what is said on links, and imports nothing of ours.
package transport
