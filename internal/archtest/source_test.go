package archtest

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"go/ast"
	"go/parser"
	"go/token"
	"io"
	"io/fs"
	"os"
	"os/exec"
	"path"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"

	"github.com/stretchr/testify/require"
)

// root is the root of the module, seen from this folder, where tests run.
const root = "../.."

// A source is one Go file of the module, whatever system it is built for.
type source struct {
	path string // from the root of the module, with slashes
	set  *token.FileSet
	file *ast.File
}

func (s source) pkg() string { return strings.TrimPrefix(path.Dir(s.path), ".") }

func (s source) test() bool { return strings.HasSuffix(s.path, "_test.go") }

// library says whether users import the file's package, and people wrote the file.
func (s source) library() bool {
	return !s.test() && s.file.Name.Name != "main" && !within(s.pkg(), free) && !ast.IsGenerated(s.file)
}

// at is where in the file a node is, as editors like it.
func (s source) at(n ast.Node) string {
	return s.path + ":" + strconv.Itoa(s.set.Position(n.Pos()).Line)
}

// imports gives the file's imports by the names that its code uses for them.
func (s source) imports() map[string]string {
	names := map[string]string{}
	for _, i := range s.file.Imports {
		p := unquote(i)
		name := path.Base(p)
		if i.Name != nil {
			name = i.Name.Name
		}
		names[name] = p
	}
	return names
}

func unquote(i *ast.ImportSpec) string {
	p, err := strconv.Unquote(i.Path.Value)
	if err != nil {
		return i.Path.Value
	}
	return p
}

// uses calls found for every mention of a name of another package, such as
// time.Now, with the import path of that package.
func (s source) uses(found func(n ast.Node, pkg, name string)) {
	names := s.imports()
	ast.Inspect(s.file, func(n ast.Node) bool {
		sel, ok := n.(*ast.SelectorExpr)
		if !ok {
			return true
		}
		if x, ok := sel.X.(*ast.Ident); ok && names[x.Name] != "" {
			found(sel, names[x.Name], sel.Sel.Name)
		}
		return true
	})
}

// within says whether a package is one that the patterns name: "a/b" itself,
// "a/b/..." also all below it, "*test" every package with that suffix which is
// not below internal/.
func within(pkg string, patterns []string) bool {
	return slices.ContainsFunc(patterns, func(p string) bool {
		if p == "*test" {
			return strings.HasSuffix(pkg, "test") && !strings.Contains("/"+pkg, "/internal/")
		}
		below, all := strings.CutSuffix(p, "/...")
		return pkg == below || all && strings.HasPrefix(pkg, below+"/")
	})
}

// parse reads one Go file from memory.
func parse(name string, text []byte) (source, error) {
	set := token.NewFileSet()
	file, err := parser.ParseFile(set, name, text, parser.ParseComments|parser.SkipObjectResolution)
	return source{path: name, set: set, file: file}, err
}

// tree reads every Go file and every other text file of the module.
var tree = sync.OnceValues(func() (t struct {
	sources []source
	texts   map[string][]byte
}, err error,
) {
	t.texts = map[string][]byte{}
	err = filepath.WalkDir(root, func(file string, e fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		name, err := filepath.Rel(root, file)
		if err != nil {
			return err
		}
		name = filepath.ToSlash(name)
		if e.IsDir() {
			if skipped(name) {
				return filepath.SkipDir
			}
			return nil
		}
		if !e.Type().IsRegular() {
			return nil
		}
		text, err := os.ReadFile(file)
		if err != nil {
			return err
		}
		if len(text) > 1<<20 || bytes.IndexByte(text, 0) >= 0 {
			return nil
		}
		t.texts[name] = text
		if path.Ext(name) != ".go" || strings.Contains("/"+name, "/testdata/") {
			return nil
		}
		s, err := parse(name, text)
		t.sources = append(t.sources, s)
		return err
	})
	return t, err
})

// skipped are the folders that are not part of the project: those that git
// ignores, and git itself.
func skipped(dir string) bool {
	return slices.Contains([]string{"bin", ".git", ".cache", ".idea", ".vscode"}, dir) || strings.HasSuffix(dir, "testdata/rapid")
}

func sources(t *testing.T) []source {
	t.Helper()
	all, err := tree()
	require.NoError(t, err)
	require.NotEmpty(t, all.sources)
	return all.sources
}

// linked gives, for each package of the module, all packages that its code (not
// its tests) links, as the go command sees it on this system.
func linked(ctx context.Context) (map[string][]string, error) {
	cmd := exec.CommandContext(ctx, "go", "list", "-json=ImportPath,Deps", "./...")
	cmd.Dir = root
	var said bytes.Buffer
	cmd.Stderr = &said
	out, err := cmd.Output()
	if err != nil {
		return nil, fmt.Errorf("go list: %w: %s", err, said.String())
	}
	deps := map[string][]string{}
	for d := json.NewDecoder(bytes.NewReader(out)); ; {
		var p struct {
			ImportPath string   `json:"ImportPath"` //nolint:tagliatelle // the go command's words
			Deps       []string `json:"Deps"`       //nolint:tagliatelle // the same
		}
		if err := d.Decode(&p); errors.Is(err, io.EOF) {
			return deps, nil
		} else if err != nil {
			return nil, fmt.Errorf("go list: %w", err)
		}
		name, _ := ours(p.ImportPath)
		deps[name] = p.Deps
	}
}

// ours gives the path of a package from the root of this module, and whether it
// is one of ours at all.
func ours(importPath string) (string, bool) {
	rest, ok := strings.CutPrefix(importPath, module)
	if !ok || rest != "" && rest[0] != '/' {
		return importPath, false
	}
	return strings.TrimPrefix(rest, "/"), true
}
