package snapshot

// What is sealed.
var (
	Encode = encode
	Decode = decode
)
