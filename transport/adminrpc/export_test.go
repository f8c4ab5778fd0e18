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

// AsRoot is the context of a request over a socket, by root.
func AsRoot(ctx context.Context) context.Context { return context.WithValue(ctx, uidKey{}, uint32(0)) }
