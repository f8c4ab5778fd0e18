//go:build linux

package vm

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"strings"
)

// outcome is what came of a test in a machine; of all, for the root.
type outcome struct {
	name   string // without those above
	action string // "pass", "fail" or "skip"; "" if it did not end
	output strings.Builder
	subs   []*outcome
}

// gather reads events as go tool test2json makes them.
func gather(events io.Reader) (*outcome, error) {
	root := &outcome{}
	known := map[string]*outcome{"": root}
	for d := json.NewDecoder(events); ; {
		var e struct {
			Action string `json:"Action"` //nolint:tagliatelle // the tool's words
			Test   string `json:"Test"`   //nolint:tagliatelle // the same
			Output string `json:"Output"` //nolint:tagliatelle // the same
		}
		if err := d.Decode(&e); errors.Is(err, io.EOF) {
			return root, nil
		} else if err != nil {
			return nil, fmt.Errorf("vm: read the events of tests: %w", err)
		}
		o := known[e.Test]
		if o == nil {
			above, rest := "", e.Test
			for i, c := range e.Test { // a name may have slashes of its own
				if c == '/' && known[e.Test[:i]] != nil {
					above, rest = e.Test[:i], e.Test[i+1:]
				}
			}
			o = &outcome{name: rest}
			known[above].subs = append(known[above].subs, o)
			known[e.Test] = o
		}
		switch e.Action {
		case "output":
			o.output.WriteString(e.Output)
		case "pass", "fail", "skip":
			o.action = e.Action
		}
	}
}

// shown is how much of a test's output is worth reading.
const shown = 64 << 10

// text is the end of what the test wrote.
func (o *outcome) text() string {
	s := strings.TrimSpace(o.output.String())
	if over := len(s) - shown; over > 0 {
		s = fmt.Sprintf("(%d bytes)…%s", over, s[over:])
	}
	return s
}

// end says how a test ended that is no success.
func (o *outcome) end() string {
	switch o.action {
	case "fail":
		return "it failed:"
	case "skip":
		return "it was skipped, which is not allowed here:"
	default:
		return "it did not end:"
	}
}
