package peer

import "errors"

// What callers branch on.
var (
	ErrNotFound     = errors.New("peer: not found")
	ErrExists       = errors.New("peer: exists")
	ErrKeyTaken     = errors.New("peer: key belongs to another device")
	ErrAddressTaken = errors.New("peer: address or route belongs to another peer of the location")
	ErrExhausted    = errors.New("peer: no free address left in the location")
)
