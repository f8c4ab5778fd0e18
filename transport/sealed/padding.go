package sealed

import "math/bits"

const (
	smallest = 512
	largest  = 64 << 10
)

// bucket is the length that n bytes are padded to: the next power of two, at least 512.
// Of how long something is, the outside learns which of eight lengths it was.
func bucket(n int) int {
	if n <= smallest {
		return smallest
	}
	return 1 << bits.Len(uint(n-1))
}

// isBucket says whether n is a length that bucket gives, and not too much.
func isBucket(n int) bool { return n >= smallest && n <= largest && n&(n-1) == 0 }

// pad appends zeros.
func pad(b []byte) []byte { return append(b, make([]byte, bucket(len(b))-len(b))...) }

// padded says whether b is nothing but padding.
func padded(b []byte) bool {
	var or byte
	for _, c := range b {
		or |= c
	}
	return or == 0
}
