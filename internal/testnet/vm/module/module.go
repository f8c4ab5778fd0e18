// Package module knows kernel modules: what each says of itself, which ones it
// needs before it, and which one the kernel means when it asks for one by alias.
// It reads no file and loads nothing.
package module

import (
	"bytes"
	"debug/elf"
	"fmt"
	"path"
	"slices"
	"strings"
)

// Module is one module of a kernel.
type Module struct {
	Name    string   `json:"name"`              // with _, never -
	Needs   []string `json:"needs,omitempty"`   // names of modules that have to be there before
	Helps   []string `json:"helps,omitempty"`   // those that should, if they exist; may be aliases
	Aliases []string `json:"aliases,omitempty"` // patterns by which the kernel asks for it
	Builtin bool     `json:"builtin,omitempty"` // it is in the kernel, and has no file
}

// File is the module's file in the folder of all.
func (m Module) File() string { return m.Name + ".ko" }

// Name brings the name of a module, or of its file, into the form in which it is
// compared.
func Name(s string) string {
	return strings.ReplaceAll(strings.TrimSuffix(path.Base(s), ".ko"), "-", "_")
}

// Parse reads what the module in that file says of itself. The file is not
// compressed.
func Parse(file string, content []byte) (Module, error) {
	m := Module{Name: Name(file)}
	f, err := elf.NewFile(bytes.NewReader(content))
	if err != nil {
		return m, fmt.Errorf("module: read %s: %w", m.Name, err)
	}
	s := f.Section(".modinfo")
	if s == nil {
		return m, fmt.Errorf("module: read %s: it has no section .modinfo, so it is no kernel module", m.Name)
	}
	info, err := s.Data()
	if err != nil {
		return m, fmt.Errorf("module: read %s: %w", m.Name, err)
	}
	m.fill(string(info))
	return m, nil
}

// fill takes the lines of a .modinfo section.
func (m *Module) fill(info string) {
	for line := range strings.SplitSeq(info, "\x00") {
		key, value, _ := strings.Cut(line, "=")
		switch key {
		case "depends":
			for d := range strings.SplitSeq(value, ",") {
				if d != "" {
					m.Needs = append(m.Needs, Name(d))
				}
			}
		case "softdep":
			if before, found := strings.CutPrefix(value, "pre:"); found {
				before, _, _ = strings.Cut(before, "post:")
				m.Helps = append(m.Helps, strings.Fields(before)...)
			}
		case "alias":
			m.Aliases = append(m.Aliases, value)
		}
	}
}

// Index is a set of modules. The order does not matter.
type Index []Module

// Find returns the names of the modules that a name or an alias means, sorted.
func (x Index) Find(alias string) []string {
	var found []string
	for _, m := range x {
		if m.Name == Name(alias) || slices.ContainsFunc(m.Aliases, func(p string) bool { return match(p, alias) }) {
			found = append(found, m.Name)
		}
	}
	slices.Sort(found)
	return slices.Compact(found)
}

// match compares as modprobe does: - and _ are the same, * matches anything.
func match(pattern, alias string) bool {
	same := strings.NewReplacer("-", "_", "/", "|") // to path.Match a slash is special
	ok, err := path.Match(same.Replace(pattern), same.Replace(alias))
	return err == nil && ok
}

// Order returns the modules of these names with all that they need, each once,
// and none before those that it needs. What is in the kernel already is left out.
// What a module needs and is not there is an error; so is a name that is not
// there.
func (x Index) Order(names ...string) ([]Module, error) {
	at := make(map[string]Module, len(x))
	for _, m := range x {
		at[m.Name] = m
	}
	o := order{index: x, at: at, state: map[string]int{}}
	for _, n := range names {
		if err := o.visit(Name(n), "the list"); err != nil {
			return nil, err
		}
	}
	return o.out, nil
}

// order is a walk in depth.
type order struct {
	index Index
	at    map[string]Module
	state map[string]int
	out   []Module
}

// Where a module is in the walk.
const (
	unseen = iota
	open
	done
)

func (o *order) visit(name, from string) error {
	m, there := o.at[name]
	switch {
	case !there:
		return fmt.Errorf("module: order: %s wants %s, which this kernel does not have as a module", from, name)
	case o.state[name] == open:
		return fmt.Errorf("module: order: %s and %s need each other", from, name)
	case o.state[name] == done:
		return nil
	}
	o.state[name] = open
	for _, h := range m.Helps {
		for _, n := range o.index.Find(h) {
			if o.state[n] == unseen {
				if err := o.visit(n, name); err != nil {
					return err
				}
			}
		}
	}
	for _, n := range m.Needs {
		if err := o.visit(n, name); err != nil {
			return err
		}
	}
	o.state[name] = done
	if !m.Builtin {
		o.out = append(o.out, m)
	}
	return nil
}
