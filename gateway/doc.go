// Package gateway makes WireGuard interfaces be what a control plane says, and
// keeps them so when the control plane is away.
//
// Three things are kept apart. [Device] touches a system: it observes a [State]
// and applies a [Plan]. [Diff] is pure: it works out the Plan that leads from a
// State to a [Config]. [Reconciler] adds the waiting: it follows the updates of
// a [ControlPlane], repairs what others change, and reports. A [Process] runs
// one Reconciler for each location that it is told to serve.
//
// What the package promises:
//   - a peer that did not change gets no step, so its session lives through
//     restarts, updates and reconnects;
//   - what takes access away is done before what gives it;
//   - no error and no silence of the control plane takes access from anybody;
//   - one bad peer holds up nobody else, and is named in [Status].
//
// It knows keys, prefixes and times, but no user, location or reason. It does
// not choose transports (package transport and below) or systems
// (gateway/wgdevice, gateway/memdevice).
package gateway
