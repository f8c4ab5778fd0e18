package join

import (
	"errors"
	"slices"

	"connectrpc.com/connect"

	"github.com/holdfastvpn/holdfast/transport"
	"github.com/holdfastvpn/holdfast/transport/internal/wire"
)

// Why joining is refused. Each comes with a sentence, and is the same at both ends.
var (
	// ErrToken says that a text is no token.
	ErrToken = errors.New("join: not a join token")
	// ErrUnknown says that the core knows no such token, or that the secret is not
	// this token's: which of both, it does not say.
	ErrUnknown = errors.New("join: the core does not know this token")
	// ErrExpired says that the token's time is over.
	ErrExpired = errors.New("join: the token has expired")
	// ErrUsed says that another key has joined with the token, or that it was
	// cancelled.
	ErrUsed = errors.New("join: the token was used before")
	// ErrRoot says that who is at the other end is not the token's core.
	ErrRoot = errors.New("join: not the core that made this token")
	// ErrRequest says that the signing request is not for what the token or link says.
	ErrRequest = errors.New("join: the signing request does not fit")
	// ErrBusy says that the core could not look, and that it is worth trying again.
	ErrBusy = errors.New("join: the core cannot answer now")
)

var words = []wire.Word{ //nolint:gochecknoglobals // a constant
	{Word: "unknown", Is: ErrUnknown, Code: connect.CodePermissionDenied},
	{Word: "expired", Is: ErrExpired, Code: connect.CodePermissionDenied},
	{Word: "used", Is: ErrUsed, Code: connect.CodePermissionDenied},
	{Word: "role", Is: transport.ErrRole, Code: connect.CodePermissionDenied},
	{Word: "deployment", Is: transport.ErrDeployment, Code: connect.CodePermissionDenied},
	{Word: "revoked", Is: transport.ErrRevoked, Code: connect.CodePermissionDenied},
	{Word: "request", Is: ErrRequest, Code: connect.CodeInvalidArgument},
	{Word: "busy", Is: ErrBusy, Code: connect.CodeUnavailable},
}

// final says whether trying again cannot help.
func final(err error) bool {
	if errors.Is(err, ErrBusy) {
		return false
	}
	return slices.ContainsFunc(words, func(w wire.Word) bool { return errors.Is(err, w.Is) })
}
