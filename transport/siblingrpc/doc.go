// Package siblingrpc carries what gateways of one location tell each other, over Connect
// on HTTP/2.
//
// A [Mesh] is all that a gateway needs: it keeps one link to each sibling, at a listener
// that it shares with cores, and one conversation on it for each location that both
// serve. Below it are [NewHandler], which serves a gateway.Talker on links, and [Client],
// which asks; both stand on net/http, and who the other end is comes from the certificate
// of the link, never from a message.
//
// What it does with the contract:
//
//   - A conversation is one stream both ways. Each end says how many notes it takes, two
//     at a time: what changes while a reader is busy is not queued but merged by the
//     Talker. A conversation that nobody reads holds up no other on its link.
//   - A note of any size crosses in parts of less than a mebibyte, and counts as a whole.
//   - Instants cross as ages, and how long a note was under way is taken out: clocks may
//     differ by any amount, and either machine may sleep.
//   - The reasons of package gateway stay what they are to errors.Is; of all else that
//     fails at the other end only that it did crosses.
//
// For another wire there are [AppendNote] and [ParseNote].
package siblingrpc
