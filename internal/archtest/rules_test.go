package archtest

import (
	"go/ast"
	"go/token"
	"maps"
	"path"
	"regexp"
	"slices"
	"strings"
)

// documented: every exported name that users can import says what it is.
func documented(files []source) (c complaints) {
	comment := map[string]bool{}
	for _, f := range files {
		if !f.library() {
			continue
		}
		comment[f.pkg()] = comment[f.pkg()] || f.file.Doc != nil
		for _, d := range f.file.Decls {
			switch d := d.(type) {
			case *ast.FuncDecl:
				if d.Doc == nil && d.Name.IsExported() && exportedReceiver(d) && !wellKnown(d) {
					c.addf("%s: %s has no comment", f.at(d), d.Name.Name)
				}
			case *ast.GenDecl:
				for _, s := range d.Specs {
					c.undocumented(f, d, s)
				}
			}
		}
	}
	for pkg, ok := range comment {
		if !ok {
			c.addf("%s: the package has no comment", pkg)
		}
	}
	slices.Sort(c)
	return c
}

func (c *complaints) undocumented(f source, d *ast.GenDecl, s ast.Spec) {
	switch s := s.(type) {
	case *ast.TypeSpec:
		if s.Name.IsExported() && d.Doc == nil && s.Doc == nil {
			c.addf("%s: %s has no comment", f.at(s), s.Name.Name)
		}
	case *ast.ValueSpec:
		for _, n := range s.Names {
			if n.IsExported() && d.Doc == nil && s.Doc == nil && s.Comment == nil {
				c.addf("%s: %s has no comment", f.at(n), n.Name)
			}
		}
	}
}

func exportedReceiver(d *ast.FuncDecl) bool {
	if d.Recv == nil {
		return true
	}
	t := d.Recv.List[0].Type
	for {
		switch x := t.(type) {
		case *ast.StarExpr:
			t = x.X
		case *ast.IndexExpr:
			t = x.X
		case *ast.IndexListExpr:
			t = x.X
		case *ast.Ident:
			return x.IsExported()
		default:
			return true
		}
	}
}

// wellKnown are methods that mean the same on every type.
func wellKnown(d *ast.FuncDecl) bool {
	return d.Recv != nil && slices.Contains([]string{"Error", "Unwrap", "Is", "As", "String", "Len", "Less", "Swap"}, d.Name.Name)
}

// small: whoever implements an interface of ours writes five methods at most. An
// embedded interface counts as one: it is a part with a suite of its own.
func small(files []source) (c complaints) {
	for _, f := range files {
		if !f.library() {
			continue
		}
		ast.Inspect(f.file, func(n ast.Node) bool {
			t, ok := n.(*ast.TypeSpec)
			if !ok || !t.Name.IsExported() {
				return true
			}
			if i, ok := t.Type.(*ast.InterfaceType); ok && i.Methods.NumFields() > 5 {
				c.addf("%s: %s has %d methods, 5 are the most", f.at(t), t.Name.Name, i.Methods.NumFields())
			}
			return true
		})
	}
	return c
}

// timeless: files that decide take the time as an argument and never wait.
func timeless(patterns []string, files []source) (c complaints) {
	clock := []string{"Now", "Since", "Until", "Sleep", "After", "AfterFunc", "Tick", "NewTimer", "NewTicker"}
	for _, f := range files {
		if f.test() || !matches(patterns, f.path) {
			continue
		}
		f.uses(func(n ast.Node, pkg, name string) {
			if pkg == "time" && slices.Contains(clock, name) {
				c.addf("%s: time.%s in a file that decides; take the time as an argument", f.at(n), name)
			}
		})
	}
	for _, p := range patterns {
		if strings.HasPrefix(p, "!") {
			continue
		}
		if !slices.ContainsFunc(files, func(f source) bool { return !f.test() && matches(patterns, f.path) && matches([]string{p}, f.path) }) {
			c.addf("pure files: no file is %s; correct the pattern", p)
		}
	}
	return c
}

// silent: a library writes to no screen and ends no process.
func silent(files []source) (c complaints) {
	forbidden := map[string][]string{
		"fmt": {"Print", "Printf", "Println"},
		"os":  {"Exit", "Stdout", "Stderr"},
	}
	for _, f := range files {
		if !f.library() || within(f.pkg(), []string{"*test"}) {
			continue
		}
		for _, i := range f.file.Imports {
			if unquote(i) == "log" {
				c.addf("%s: package log; a library takes a *slog.Logger in its Config", f.at(i))
			}
		}
		f.uses(func(n ast.Node, pkg, name string) {
			if slices.Contains(forbidden[pkg], name) {
				c.addf("%s: %s.%s; a library returns an error, or logs to the logger of its Config", f.at(n), pkg, name)
			}
		})
	}
	return c
}

// pace begins the comment beside a wait that is right, because time itself is what the
// test is about: a clock, or the moment of a crash. It goes on with why.
const pace = "// time itself: "

// awake: in libraries and tests, waiting ends with a context or a deadline.
// Sleeping has its place in bubbles, where time is not real. To receive from
// time.After, and from nothing else, is to sleep: it takes the comment pace.
func awake(files []source) (c complaints) {
	for _, f := range files {
		if !f.library() && !f.test() {
			continue
		}
		if slices.ContainsFunc(f.file.Imports, func(i *ast.ImportSpec) bool { return unquote(i) == "testing/synctest" }) {
			continue
		}
		f.uses(func(n ast.Node, pkg, name string) {
			if pkg == "time" && name == "Sleep" {
				c.addf("%s: time.Sleep; wait for what you wait for, with a context or a deadline", f.at(n))
			}
		})
		for _, n := range f.dozes() {
			if !f.said(n, pace) {
				c.addf("%s: it sleeps with time.After; wait for what you wait for, or say why with %q beside it", f.at(n), strings.TrimSpace(pace))
			}
		}
	}
	return c
}

// dozes are the places that receive from time.After and wait for nothing else.
func (s source) dozes() (found []ast.Node) {
	chosen := map[ast.Node]bool{} // what is one of several cases
	ast.Inspect(s.file, func(n ast.Node) bool {
		if sel, ok := n.(*ast.SelectStmt); ok && len(sel.Body.List) > 1 {
			for _, c := range sel.Body.List {
				if clause, ok := c.(*ast.CommClause); ok && clause.Comm != nil {
					ast.Inspect(clause.Comm, func(n ast.Node) bool { chosen[n] = true; return true })
				}
			}
		}
		receive, ok := n.(*ast.UnaryExpr)
		if !ok || receive.Op != token.ARROW || chosen[n] {
			return true
		}
		if call, ok := receive.X.(*ast.CallExpr); ok {
			if f, ok := call.Fun.(*ast.SelectorExpr); ok && f.Sel.Name == "After" {
				if of, ok := f.X.(*ast.Ident); ok && s.imports()[of.Name] == "time" {
					found = append(found, n)
				}
			}
		}
		return true
	})
	return found
}

// said says whether a comment that begins so stands in the line of a node.
func (s source) said(n ast.Node, begin string) bool {
	line := s.set.Position(n.Pos()).Line
	for _, group := range s.file.Comments {
		for _, c := range group.List {
			if s.set.Position(c.Pos()).Line == line && strings.HasPrefix(c.Text, begin) && len(c.Text) > len(begin) {
				return true
			}
		}
	}
	return false
}

// typed: a test is not skipped in silence. Only a helper that says what is missing,
// and that fails in a strict run, may skip; it reads HOLDFAST_REQUIRE itself.
func typed(files []source) (c complaints) {
	skips := []string{"Skip", "Skipf", "SkipNow"}
	for _, f := range files {
		if !slices.Contains(slices.Collect(maps.Values(f.imports())), "testing") || f.pkg() == "internal/planted" {
			continue // planted is itself a testing.TB, and tests what becomes of skips
		}
		strict := false
		var found []ast.Node
		ast.Inspect(f.file, func(n ast.Node) bool {
			switch n := n.(type) {
			case *ast.BasicLit:
				strict = strict || n.Kind == token.STRING && strings.Contains(n.Value, "HOLDFAST_"+"REQUIRE")
			case *ast.Ident:
				strict = strict || n.Name == "RequireEnv" // testnet's name for it
			case *ast.CallExpr:
				if s, ok := n.Fun.(*ast.SelectorExpr); ok && slices.Contains(skips, s.Sel.Name) {
					found = append(found, n)
				}
			}
			return true
		})
		for _, n := range found {
			if !strict {
				c.addf("%s: a skip that HOLDFAST_REQUIRE does not turn into a failure", f.at(n))
			}
		}
	}
	return c
}

// homeless: no file names a folder of a developer's machine.
func homeless(texts map[string][]byte) (c complaints) {
	home := regexp.MustCompile(`(?:^|[^A-Za-z0-9._/-])(/` + `home/[a-z]|/` + `root/|/` + `Users/[A-Za-z])`)
	for name, text := range texts {
		if path.Base(name) == "go.sum" {
			continue
		}
		for i, line := range strings.Split(string(text), "\n") {
			if m := home.FindStringSubmatch(line); m != nil {
				c.addf("%s:%d: names a folder of one machine (%s…)", name, i+1, m[1])
			}
		}
	}
	slices.Sort(c)
	return c
}
