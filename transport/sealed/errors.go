package sealed

import "errors"

var (
	// ErrRefused is all that anybody is told of a request that a core does not take,
	// and all that is to say of an answer that does not open: not sealed to this end,
	// altered, another deployment's, badly signed, of a device that is unknown, seen
	// before, or garbage.
	ErrRefused = errors.New("sealed: refused")
	// ErrClock says that a request was made at a time that the core does not take. Of
	// the core's errors it is a *ClockError, with the answer that says what time to
	// claim; try again with that.
	ErrClock = errors.New("sealed: the time of the request is not the core's")
	// ErrBusy says that the core could not look a device up, and that it is worth
	// trying again.
	ErrBusy = errors.New("sealed: the core cannot look now")
	// ErrTooLarge says that a body or a name is longer than what is taken.
	ErrTooLarge = errors.New("sealed: too large")
	// ErrToken says that a text is no enrolment token.
	ErrToken = errors.New("sealed: not an enrolment token")
	// ErrCore says that a public key is not one of those that a token or device trusts.
	ErrCore = errors.New("sealed: not the key of this device's core")
	// ErrEnrolment says that there is no such token, that the secret is not this
	// token's, or that the WireGuard key is another one's: which of them, it does not
	// say.
	ErrEnrolment = errors.New("sealed: the core does not know this token")
)

// ClockError is ErrClock at the core's end.
type ClockError struct {
	// Answer is sealed, and to be sent.
	Answer []byte
}

// Error says what ErrClock says.
func (*ClockError) Error() string { return ErrClock.Error() }

// Unwrap returns ErrClock.
func (*ClockError) Unwrap() error { return ErrClock }
