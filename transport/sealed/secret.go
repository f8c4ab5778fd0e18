package sealed

import (
	"errors"
	"fmt"
	"log/slog"
)

// ErrSecret is what marshalling a secret gives.
var ErrSecret = errors.New("sealed: a secret does not marshal: seal it for storage, or Reveal it")

// hidden is how all secrets print: not at all. They keep their bytes behind a function,
// because fmt prints of those the address only, also in fields that it may not ask.
type hidden struct{}

// Format prints "(secret)" for every verb.
func (hidden) Format(f fmt.State, _ rune) { _, _ = f.Write([]byte("(secret)")) }

// String returns "(secret)".
func (hidden) String() string { return "(secret)" }

// GoString returns "(secret)".
func (hidden) GoString() string { return "(secret)" }

// LogValue logs "(secret)".
func (hidden) LogValue() slog.Value { return slog.StringValue("(secret)") }

// MarshalText fails with ErrSecret.
func (hidden) MarshalText() ([]byte, error) { return nil, ErrSecret }

// MarshalJSON fails with ErrSecret.
func (hidden) MarshalJSON() ([]byte, error) { return nil, ErrSecret }

// MarshalBinary fails with ErrSecret; encoding/gob uses it.
func (hidden) MarshalBinary() ([]byte, error) { return nil, ErrSecret }
