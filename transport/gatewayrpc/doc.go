// Package gatewayrpc carries a gateway.ControlPlane between processes, over Connect
// on HTTP/2.
//
// [NewHandler] serves any control plane, a core for instance, and [NewClient] returns
// one that asks over HTTP. Both stand on net/http alone: who dials whom, certificates
// and pings are the business of package transport. Who asks is decided by
// HandlerConfig.Identify, never by what a message says.
//
// What it does with the contract:
//
//   - Updates and reports of any size cross in parts of less than a mebibyte, and
//     count as a whole: of one that breaks off nothing is told.
//   - A watch says how many updates it takes, two at a time. What changes while a
//     reader is busy is not queued but merged, by the control plane.
//   - Instants cross as ages, and [Lag] takes out how long a message was under way:
//     clocks may differ by any amount, and either machine may sleep.
//   - The reasons of package gateway stay what they are to errors.Is. [ErrLost] is a
//     connection that broke; of all else that fails at the other end only that it
//     did crosses.
//   - Messages hold keys, so none of them is ever printed, and nothing is compressed.
//
// For another wire there are [AppendUpdate], [AppendStatus], [AppendError] and what
// reads them again.
package gatewayrpc
