// Package sqlitestore keeps everything in one SQLite file, for one process: what
// an installation with a single core needs, with nothing to set up. It is pure
// Go.
//
//	s, err := sqlitestore.Open(ctx, sqlitestore.Config{Path: "/var/lib/holdfast/core.db"})
//	core, err := vpn.New(vpn.Config{Stores: s, Keys: keys})
//
// [Open] makes the file, or brings it to this version's schema, and keeps every
// other process out with a lock that dies with its own: the lock is PATH.lock,
// which stays. Beside a file in use are PATH-wal and PATH-shm, which belong to
// it. The file holds device lists, and secrets only as vpn/seal made them; it is
// 0600 all the same, in a directory in which nobody else may write.
//
// What a write has acknowledged is on the disk: it is there after kill -9, and
// after a power failure if the disk does what it says. Writes are one after
// another; looks wait for nobody, and see one moment each. A write that fails,
// for whatever reason, leaves nothing.
//
// # Backups
//
// [Store.Backup] copies the store while it is in use, as of one moment, and
// [Restore] makes a store of the copy. What was written after the backup is not
// in it, yet gateways and others have seen it; so a restored backup begins a new
// epoch, in which everybody is told everything. Backups hold no epoch, so that
// the same holds for one that is moved into place with cp. Do not copy the file
// of a running store with cp: half of it may be in PATH-wal. And do not put a
// copy of a stopped store back with cp, but with [Restore]: it would go on with
// its old epoch, and numbers that others have seen would come a second time for
// something else.
//
// # Time
//
// A Store is no vpn.Clock: the one process that uses it has one clock, its own.
package sqlitestore
