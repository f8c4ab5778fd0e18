package location

import "errors"

// What callers branch on.
var (
	ErrNotFound = errors.New("location: not found")
	ErrExists   = errors.New("location: name is taken")
	ErrOverlap  = errors.New("location: networks overlap another location's")
)

// FieldError names what is wrong with the input, such as "Networks[1]".
type FieldError struct {
	Field  string
	Reason string
}

// Error returns the field and the reason.
func (e *FieldError) Error() string { return e.Field + ": " + e.Reason }
