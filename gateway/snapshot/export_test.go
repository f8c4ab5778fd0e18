package snapshot

// What is sealed, and the versions of it.
var (
	Encode = encode
	Decode = decode
)

const (
	Version = version
	Oldest  = oldest
)
