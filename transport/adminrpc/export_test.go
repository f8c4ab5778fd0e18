package adminrpc

import "context"

// Needs is the table of roles.
var Needs = needs

// Words are those of all errors.
func Words() (all []string) {
	for _, w := range words {
		all = append(all, w.word)
	}
	return all
}

// AsUser is the context of a request over a socket.
func AsUser(ctx context.Context, uid uint32) context.Context {
	return context.WithValue(ctx, uidKey{}, uid)
}
