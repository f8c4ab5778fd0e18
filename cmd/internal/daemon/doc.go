// Package daemon is what the daemons have in common: flags, environment and file
// of the configuration, logging, the state directory, the life of background tasks,
// health and metrics over HTTP, and notices to systemd. The daemons themselves are
// wiring.
package daemon
