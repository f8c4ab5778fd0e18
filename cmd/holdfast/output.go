package main

import (
	"encoding/json"
	"fmt"
	"io"
	"net/netip"
	"strings"
	"text/tabwriter"
	"time"
	"unicode"

	"github.com/holdfastvpn/holdfast/transport/adminrpc"
)

// writeJSON writes a value for programs.
func (e *env) writeJSON(v any) error {
	j := json.NewEncoder(e.out)
	j.SetIndent("", "  ")
	j.SetEscapeHTML(false)
	return j.Encode(v)
}

// writeLine writes a value on a line of its own.
func (e *env) writeLine(v any) error {
	j := json.NewEncoder(e.out)
	j.SetEscapeHTML(false)
	return j.Encode(v)
}

// table writes aligned columns, without trailing blanks.
type table struct {
	out   io.Writer
	lines strings.Builder
	tab   *tabwriter.Writer
}

func (e *env) table(columns ...string) *table {
	t := &table{out: e.out}
	t.tab = tabwriter.NewWriter(&t.lines, 0, 0, 2, ' ', 0)
	t.row(columns...)
	return t
}

func (t *table) row(cells ...string) {
	for i, c := range cells {
		if c = plain(c); c == "" {
			c = "-"
		}
		cells[i] = c
	}
	fmt.Fprintln(t.tab, strings.Join(cells, "\t"))
}

func (t *table) flush() error {
	_ = t.tab.Flush() // into memory
	var b strings.Builder
	for line := range strings.Lines(t.lines.String()) {
		b.WriteString(strings.TrimRight(line, " \n") + "\n")
	}
	_, err := io.WriteString(t.out, b.String())
	return err
}

// facts writes names and values, one a line; those without a value are left out.
func (e *env) facts(list ...string) error {
	t := &table{out: e.out}
	t.tab = tabwriter.NewWriter(&t.lines, 0, 0, 2, ' ', 0)
	for i := 0; i+1 < len(list); i += 2 {
		if list[i+1] != "" {
			t.row(list[i], list[i+1])
		}
	}
	return t.flush()
}

// confirmed says which gateways have applied a change, and which have not.
func (e *env) confirmed(list []adminrpc.Confirmation) {
	for _, c := range list {
		name := plain(c.Name)
		if name == "" {
			name = string(c.Location)
		}
		say := func(gateways []adminrpc.GatewayName, one, many string) {
			if len(gateways) == 0 {
				return
			}
			names, what := make([]string, len(gateways)), one
			for i, g := range gateways {
				names[i] = plain(g.Name)
			}
			if len(names) > 1 {
				what = many
			}
			fmt.Fprintf(e.out, "%s: %s %s\n", name, strings.Join(names, ", "), what)
		}
		say(c.Done, "has applied it", "have applied it")
		say(c.Late, "is connected and has NOT applied it yet", "are connected and have NOT applied it yet")
		say(c.Away, "is NOT connected, and goes on as before until it is", "are NOT connected, and go on as before until they are")
	}
}

// plain keeps control characters of others off the terminal.
func plain(s string) string {
	return strings.Map(func(r rune) rune {
		if !unicode.IsPrint(r) && r != '\n' {
			return '�'
		}
		return r
	}, s)
}

func joined[T fmt.Stringer](list []T) string { return strings.Join(texts(list), " ") }

// texts is a list that is never nil: in JSON an empty one, not null.
func texts[T fmt.Stringer](list []T) []string {
	out := make([]string, len(list))
	for i, v := range list {
		out[i] = v.String()
	}
	return out
}

func yes(is bool, word string) string {
	if is {
		return word
	}
	return ""
}

func moment(t time.Time) string {
	if t.IsZero() {
		return ""
	}
	return t.UTC().Format("2006-01-02 15:04:05Z")
}

func optional(t time.Time) *time.Time {
	if t.IsZero() {
		return nil
	}
	return &t
}

// parseList reads the values of a flag; "none" alone is an empty list.
func parseList[T any](flag string, values []string, parse func(string) (T, error)) ([]T, error) {
	if len(values) == 1 && values[0] == "none" {
		return nil, nil
	}
	var out []T
	for _, s := range values {
		v, err := parse(strings.TrimSpace(s))
		if err != nil {
			return nil, usage{flag, strings.TrimPrefix(err.Error(), "location: ")}
		}
		out = append(out, v)
	}
	return out, nil
}

func parseAddr(s string) (netip.Addr, error) {
	a, err := netip.ParseAddr(s)
	if err != nil {
		return a, fmt.Errorf("%q is not an IP address: write it like 10.20.0.7 or fd20::7", s)
	}
	return a, nil
}

func parseText(s string) (string, error) { return s, nil }
