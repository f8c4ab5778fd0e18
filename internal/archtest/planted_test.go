package archtest

import (
	"maps"
	"slices"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

// files makes a small tree from memory: paths and their text.
func files(t *testing.T, texts map[string]string) (out []source) {
	t.Helper()
	for _, name := range slices.Sorted(maps.Keys(texts)) {
		s, err := parse(name, []byte(texts[name]))
		require.NoError(t, err)
		out = append(out, s)
	}
	return out
}

// A check that cannot fail proves nothing: each one has to find what is planted
// here, and nothing else.
func TestChecksFindWhatIsPlanted(t *testing.T) {
	rows := []row{
		{path: "key"},
		{path: "gate", may: []string{"key"}},
		{path: "later", planned: true},
	}
	ourTable := func(f []source) complaints { return imports(rows, f) }
	ourPure := func(f []source) complaints { return timeless([]string{"gate/*.go", "!gate/service*.go"}, f) }

	clean := map[string]string{
		"doc.go":            "// Package holdfast is the root.\npackage holdfast",
		"key/key.go":        "// Package key is a leaf.\npackage key\n\n// Key is a key.\ntype Key int",
		"gate/gate.go":      "// Package gate has a comment.\npackage gate\n\nimport \"" + module + "/key\"\n\n// K is one.\nconst K = key.Key(1)",
		"gate/gate_test.go": "package gate_test\n\nimport _ \"" + module + "/cmd/any\"",
	}
	for _, c := range []struct {
		name  string
		check func([]source) complaints
		path  string // of the planted file
		text  string
		want  string // part of the only complaint; "" means that it is allowed
	}{
		{"an import that the table lacks", ourTable, "key/up.go", "package key\n\nimport _ \"" + module + "/gate\"", "key/up.go:3: key must not import gate"},
		{"an import on another system", ourTable, "key/up_windows.go", "//go:build windows\n\npackage key\n\nimport _ \"" + module + "/gate\"", "key must not import gate"},
		{"the root as an import", ourTable, "key/up.go", "package key\n\nimport _ \"" + module + "\"", "key must not import "},
		{"a package that no row names", ourTable, "util/util.go", "package util", `"util" is not in the table`},
		{"a planned package that is there", ourTable, "later/later.go", "package later", "take its planned mark"},
		{"a part of a package", ourTable, "gate/internal/nft/nft.go", "package nft\n\nimport _ \"" + module + "/key\"", ""},
		{"the package that a part belongs to", ourTable, "gate/internal/nft/nft.go", "package nft\n\nimport _ \"" + module + "/gate\"", ""},
		{"a part that imports what its owner may not", ourTable, "key/internal/x/x.go", "package x\n\nimport _ \"" + module + "/gate\"", "key must not import gate"},
		{"the lab in a library", ourTable, "gate/lab.go", "package gate\n\nimport _ \"" + module + "/internal/testnet\"", "gate must not import internal/testnet"},
		{"anything in a program", ourTable, "examples/one/main.go", "package main\n\nimport _ \"" + module + "/gate\"", ""},

		{"a type without a comment", documented, "key/b.go", "package key\n\ntype B int", "key/b.go:3: B has no comment"},
		{"a function without a comment", documented, "key/b.go", "package key\n\nfunc B() {}", "B has no comment"},
		{"a method without a comment", documented, "key/b.go", "package key\n\nfunc (k *Key) B() {}", "B has no comment"},
		{"a generic method without a comment", documented, "key/b.go", "package key\n\nfunc (k *Key[T, U]) B() {}", "B has no comment"},
		{"a constant without a comment", documented, "key/b.go", "package key\n\nconst (\n\tb = 1\n\tB = 2\n)", "B has no comment"},
		{"a variable without a comment", documented, "key/b.go", "package key\n\nvar B = 1", "B has no comment"},
		{"a package without a comment", documented, "nude/b.go", "package nude", "nude: the package has no comment"},
		{"one comment for a group", documented, "key/b.go", "package key\n\n// B and C are two.\nconst (\n\tB = 2\n\tC = 3\n)", ""},
		{"a comment at the end of the line", documented, "key/b.go", "package key\n\nconst (\n\tB = 2 // two\n)", ""},
		{"a method of a hidden type", documented, "key/b.go", "package key\n\nfunc (k key) B() {}", ""},
		{"a method that everybody knows", documented, "key/b.go", "package key\n\nfunc (k Key) String() string { return \"\" }", ""},
		{"no comment below internal", documented, "internal/x/x.go", "package x\n\ntype B int", ""},

		{"six methods", small, "key/b.go", "package key\n\ntype B interface { A(); B(); C(); D(); E(); F() }", "B has 6 methods"},
		{"six methods over two lists", small, "key/b.go", "package key\n\ntype B interface { A(); B(); C(); D(); E(); C2 }", "B has 6 methods"},
		{"five methods", small, "key/b.go", "package key\n\ntype B interface { A(); B(); C(); D(); E() }", ""},
		{"six hidden methods", small, "key/b.go", "package key\n\ntype b interface { A(); B(); C(); D(); E(); F() }", ""},

		{"a clock", ourPure, "gate/plan.go", "package gate\n\nimport \"time\"\n\nvar a = time.Now()", "gate/plan.go:5: time.Now"},
		{"a clock by another name", ourPure, "gate/plan.go", "package gate\n\nimport tm \"time\"\n\nvar a = tm.Since", "time.Since"},
		{"a clock in a service", ourPure, "gate/service.go", "package gate\n\nimport \"time\"\n\nvar a = time.Now()", ""},
		{"a clock elsewhere", ourPure, "key/b.go", "package key\n\nimport \"time\"\n\nvar a = time.Now()", ""},
		{"a duration", ourPure, "gate/plan.go", "package gate\n\nimport \"time\"\n\nvar a = time.Second", ""},

		{"a line on the screen", silent, "key/b.go", "package key\n\nimport \"fmt\"\n\nfunc b() { fmt.Println() }", "fmt.Println"},
		{"the old log", silent, "key/b.go", "package key\n\nimport _ \"log\"", "package log"},
		{"the end of the process", silent, "key/b.go", "package key\n\nimport \"os\"\n\nfunc b() { os.Exit(1) }", "os.Exit"},
		{"a program on the screen", silent, "examples/b/b.go", "package main\n\nimport \"fmt\"\n\nfunc b() { fmt.Println() }", ""},
		{"a text", silent, "key/b.go", "package key\n\nimport \"fmt\"\n\nfunc b() { fmt.Sprintln() }", ""},

		{"a sleep", awake, "key/b_test.go", "package key\n\nimport \"time\"\n\nfunc b() { time.Sleep(1) }", "time.Sleep"},
		{"a sleep in a library", awake, "key/b.go", "package key\n\nimport \"time\"\n\nfunc b() { time.Sleep(1) }", "time.Sleep"},
		{"a sleep in the lab", awake, "internal/lab/b.go", "package lab\n\nimport \"time\"\n\nfunc b() { time.Sleep(1) }", ""},
		{"a sleep in a bubble", awake, "key/b_test.go", "package key\n\nimport (\n\t\"time\"\n\t_ \"testing/synctest\"\n)\n\nfunc b() { time.Sleep(1) }", ""},

		{"a silent skip", typed, "key/b_test.go", "package key\n\nimport \"testing\"\n\nfunc b(t *testing.T) { t.Skip() }", "key/b_test.go:5: a skip"},
		{"a skip that can be refused", typed, "key/b_test.go", "package key\n\nimport \"testing\"\n\nfunc b(t *testing.T) { e(\"HOLDFAST_" + "REQUIRE\"); t.Skip() }", ""},
		{"a skip that asks the lab's helper", typed, "key/b_test.go", "package key\n\nimport \"testing\"\n\nfunc b(t *testing.T) { e(testnet.RequireEnv); t.Skip() }", ""},
		{"another thing that skips", typed, "key/b.go", "package key\n\nfunc b(t reader) { t.Skip() }", ""},
	} {
		t.Run(c.name, func(t *testing.T) {
			require.Empty(t, c.check(files(t, clean)), "the tree without the planted file")
			texts := maps.Clone(clean)
			texts[c.path] = c.text
			got := c.check(files(t, texts))
			if c.want == "" {
				require.Empty(t, got)
				return
			}
			require.Len(t, got, 1)
			require.Contains(t, got[0], c.want)
		})
	}
}

func TestTableWithoutItsPackagesIsStale(t *testing.T) {
	got := imports([]row{{path: "gone"}, {path: "later", planned: true}}, nil)
	require.Equal(t, complaints{"gone: in the table, not in the tree; take the row out or mark it planned"}, got)
	require.Equal(t, complaints{"pure files: no file is gate/*.go; correct the pattern"}, timeless([]string{"gate/*.go", "!x"}, nil))
}

func TestOrderFindsWhatIsPlanted(t *testing.T) {
	for name, c := range map[string]struct {
		rows []row
		want string
	}{
		"a circle":      {[]row{{path: "a", may: []string{"b"}}, {path: "b", may: []string{"a"}}}, "a: may import b, which no row above it has"},
		"itself":        {[]row{{path: "a", may: []string{"a"}}}, "no row above"},
		"two rows":      {[]row{{path: "a"}, {path: "a"}}, "a: two rows"},
		"planned":       {[]row{{path: "a", planned: true}, {path: "b", may: []string{"a"}}}, "b: may import a, which is only planned"},
		"up to the sum": {[]row{{path: "vpn"}, {path: "transport/x", may: []string{"vpn"}}}, "never import each other"},
		"down to wires": {[]row{{path: "transport"}, {path: "vpn/y", may: []string{"transport"}}}, "never import each other"},
	} {
		t.Run(name, func(t *testing.T) {
			got := order(c.rows)
			require.Len(t, got, 1)
			require.Contains(t, got[0], c.want)
		})
	}
	require.Empty(t, order([]row{{path: "vpn/wgkey"}, {path: "transport/x", may: []string{"vpn/wgkey"}}}), "a leaf takes no side")
}

func TestReachFindsWhatIsPlanted(t *testing.T) {
	for name, c := range map[string]struct {
		pkg, linked string
		bad         bool
	}{
		"wiring in a library":          {"vpn", "go.uber.org/fx", true},
		"wiring in a daemon":           {"cmd/core", "go.uber.org/fx", false},
		"a part of an assertion suite": {"peer", "github.com/stretchr/testify/require", true},
		"assertions in a suite":        {"peer/peertest", "github.com/stretchr/testify/require", false},
		"test flags in a library":      {"gateway", "testing", true},
		"another package, same start":  {"gateway", "testing2", false},
		"a kernel in the domain":       {"gateway", "github.com/vishvananda/netlink/nl", true},
		"a kernel in its device":       {"gateway/wgdevice", "github.com/vishvananda/netlink/nl", false},
		"the lab in a suite":           {"gateway/gatewaytest", module + "/internal/testnet", true},
		"the lab in an example":        {"examples/quickstart", module + "/internal/testnet", false},
		"messages in the composer":     {"vpn", "google.golang.org/protobuf/proto", true},
	} {
		t.Run(name, func(t *testing.T) {
			got := reached(reaches, map[string][]string{c.pkg: {"fmt", c.linked}})
			if !c.bad {
				require.Empty(t, got)
				return
			}
			require.Len(t, got, 1)
			require.Contains(t, got[0], c.pkg+": links "+c.linked)
		})
	}
}

func TestHomelessFindsWhatIsPlanted(t *testing.T) {
	plant := func(s string) complaints {
		return homeless(map[string][]byte{"a.md": []byte("one\n" + strings.ReplaceAll(s, "~", "/"))})
	}
	for _, bad := range []string{"see ~home~ann~x", "`~root~go`", "\"~Users~Ann\"", "~home~ann"} {
		require.Len(t, plant(bad), 1, bad)
	}
	require.Contains(t, plant("~root~x")[0], "a.md:2:")
	for _, good := range []string{"~homes", "https:~~x.example~home~page", "$ROOT~root~x", "/proc"} {
		require.Empty(t, plant(good), good)
	}
}
