package archtest

import (
	"go/ast"
	"go/token"
	"maps"
	"path"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

// promises are what this software has to keep, whatever else changes. Tests name
// those that they prove: "// proves P8" in or above the test, or in a case of a
// suite; scenarios of the lab have them as a field. The list is shown in docs/architecture.md, which says more about each.
var promises = []string{
	"Same on all gateways",
	"Peers persist",
	"Threshold",
	"Dead man's switch",
	"No session, no peer",
	"An outage ends no session",
	"Ready means ready",
	"No needless reset",
	"Nothing acknowledged is lost, nothing stale wins",
	"Unique",
	"A stolen proxy is a nuisance",
	"Any core, any proxy",
	"Failover in milliseconds",
	"Revoked is revoked",
	"Secrets stay secret",
}

var (
	proofs = regexp.MustCompile(`\bproves (P\d+(?:(?:,| and|, and) P\d+)*)`)
	number = regexp.MustCompile(`\d+`)
)

// proven gives, for each promise (by its number), the tests that name it:
// package and function, or scenario. Numbers that no promise has are complaints.
func proven(files []source) (by map[int][]string, c complaints) {
	by = map[int][]string{}
	note := func(f source, at ast.Node, test, names string) {
		for _, n := range number.FindAllString(names, -1) {
			p, err := strconv.Atoi(n)
			if err != nil || p < 1 || p > len(promises) {
				c.addf("%s: there is no promise P%s", f.at(at), n)
				continue
			}
			by[p] = append(by[p], f.pkg()+"."+test)
		}
	}
	for _, f := range files {
		if f.pkg() == "internal/archtest" {
			continue // it talks about such comments
		}
		for _, group := range f.file.Comments {
			for _, m := range proofs.FindAllStringSubmatch(group.Text(), -1) {
				note(f, group, f.around(group), m[1])
			}
		}
		if f.pkg() != "internal/testnet/lab" || f.test() {
			continue
		}
		ast.Inspect(f.file, func(n ast.Node) bool {
			if lit, ok := n.(*ast.CompositeLit); ok {
				if scenario := text(lit, "Name"); scenario != "" {
					note(f, lit, scenario, text(lit, "Promises"))
				}
			}
			return true
		})
	}
	for p := range by {
		slices.Sort(by[p])
		by[p] = slices.Compact(by[p])
	}
	return by, c
}

// text gives the strings in a field of a composite literal, one after another.
func text(lit *ast.CompositeLit, field string) (out string) {
	for _, e := range lit.Elts {
		kv, ok := e.(*ast.KeyValueExpr)
		if !ok {
			continue
		}
		if key, ok := kv.Key.(*ast.Ident); !ok || key.Name != field {
			continue
		}
		ast.Inspect(kv.Value, func(n ast.Node) bool {
			if b, ok := n.(*ast.BasicLit); ok && b.Kind == token.STRING {
				out += strings.Trim(b.Value, "`\"")
			}
			return true
		})
	}
	return out
}

// around is the name of the function that a comment stands in, or above.
func (s source) around(comment *ast.CommentGroup) string {
	for _, d := range s.file.Decls {
		if s.set.Position(d.End()).Line < s.set.Position(comment.Pos()).Line {
			continue
		}
		switch d := d.(type) {
		case *ast.FuncDecl:
			return d.Name.Name
		case *ast.GenDecl:
			if d.Pos() <= comment.Pos() && len(d.Specs) > 0 {
				if v, ok := d.Specs[0].(*ast.ValueSpec); ok {
					return v.Names[0].Name
				}
			}
		}
	}
	return strings.TrimSuffix(path.Base(s.path), ".go")
}

// promiseTable is the list with the tests that name each promise.
func promiseTable(by map[int][]string) string {
	var b strings.Builder
	b.WriteString("| | Promise | Tests that name it |\n|---|---|---|\n")
	for i, title := range promises {
		b.WriteString("| P" + strconv.Itoa(i+1) + " | " + title + " | " + tests(by[i+1]) + " |\n")
	}
	return b.String()
}

// tests puts names together by package.
func tests(names []string) string {
	if len(names) == 0 {
		return "none yet"
	}
	byPackage := map[string][]string{}
	for _, n := range names {
		i := strings.LastIndexByte(n, '.')
		byPackage[n[:i]] = append(byPackage[n[:i]], n[i+1:])
	}
	var parts []string
	for _, pkg := range slices.Sorted(maps.Keys(byPackage)) {
		parts = append(parts, "`"+pkg+"`: "+strings.Join(byPackage[pkg], ", "))
	}
	return strings.Join(parts, "<br>")
}

func TestNamedPromisesExist(t *testing.T) {
	_, c := proven(sources(t))
	holds(t, c)
}

func TestProofsAreFound(t *testing.T) {
	by, c := proven(files(t, map[string]string{
		"gate/a_test.go": `package gate

// TestA is one.
//
// proves P8
func TestA() {}

func TestB() {
	// proves P1, P2 and P15
}

// proves P3

func TestC() {}

var cases = []int{
	1, // proves P8
}
`,
		"gate/gatetest/b.go": "package gatetest\n\nfunc noReset() {} // proves P8\n\n// proves P8 as well\nfunc adopts() {}",
		"key/c_test.go":      "// proves P10\npackage key",
		"key/d_test.go":      "package key\n\n// proves P16\nfunc TestD() {}\n\n// this improves P1\nfunc TestE() {}",
		"internal/testnet/lab/move.go": `package main

var move = Scenario{Name: "moves-on", Promises: []string{"P3", "P13"}, Play: func() {}}
`,
	}))
	require.Equal(t, map[int][]string{
		1:  {"gate.TestB"},
		2:  {"gate.TestB"},
		3:  {"gate.TestC", "internal/testnet/lab.moves-on"},
		8:  {"gate.TestA", "gate.cases", "gate/gatetest.adopts", "gate/gatetest.noReset"},
		10: {"key.c_test"},
		13: {"internal/testnet/lab.moves-on"},
		15: {"gate.TestB"},
	}, by)
	require.Equal(t, complaints{"key/d_test.go:3: there is no promise P16"}, c)

	table := promiseTable(by)
	require.Contains(t, table, "| P8 | No needless reset | `gate`: TestA, cases<br>`gate/gatetest`: adopts, noReset |\n")
	require.Contains(t, table, "| P9 | Nothing acknowledged is lost, nothing stale wins | none yet |\n")
}
