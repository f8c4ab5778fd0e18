package kvstore

// Keep sets how many tombstones are remembered.
func (s *Stores) Keep(n int) { s.keep = n }

// Pending is how many hints wait before they become one.
const Pending = pending
