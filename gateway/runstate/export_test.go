package runstate

// What is in a file.
var (
	Encode = encode
	Decode = decode
)
