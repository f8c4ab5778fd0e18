// Package wire carries sentinel errors over Connect: each has a word, which goes as a
// header, and the far end makes an error of it that errors.Is finds again.
package wire

import (
	"errors"
	"fmt"

	"connectrpc.com/connect"
)

// header holds the word.
const header = "Holdfast-Error"

// Word names a sentinel on the wire.
type Word struct {
	Word string
	Is   error
	Code connect.Code
}

// Encode makes what goes to the other end: the sentinel's text and what came with it,
// with its word. Other errors go as "internal", without their text.
func Encode(words []Word, err error) error {
	if err == nil {
		return nil
	}
	for _, w := range words {
		if errors.Is(err, w.Is) {
			ce := connect.NewError(w.Code, err)
			ce.Meta().Set(header, w.Word)
			return ce
		}
	}
	if ce, ok := errors.AsType[*connect.Error](err); ok {
		return ce
	}
	return connect.NewError(connect.CodeInternal, errors.New("the other end has a problem of its own; its log says which"))
}

// said is an error of the other end.
type said struct {
	is   error
	text string
}

func (s said) Error() string { return s.text }
func (s said) Unwrap() error { return s.is }

// Decode makes of an error of a call what it was at the other end.
func Decode(words []Word, err error) error {
	ce, ok := errors.AsType[*connect.Error](err)
	if !ok {
		return err
	}
	word := ce.Meta().Get(header)
	for _, w := range words {
		if w.Word == word && word != "" {
			return said{is: w.Is, text: fmt.Sprintf("%.1000s", ce.Message())}
		}
	}
	return err
}
