package main

import (
	"bytes"
	"context"
	"flag"
	"os"
	"os/exec"
	"os/user"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

var update = flag.Bool("update", false, "write what commands print into docs/commands.md")

const page = "../../docs/commands.md"

// hidden is what a page must not show, even of a key that nobody uses.
var hidden = []struct {
	of  *regexp.Regexp
	now string
}{
	{regexp.MustCompile(`holdfast://join/[A-Za-z0-9_-]+`), "holdfast://join/…"},
	{regexp.MustCompile(`holdfast_api_[A-Za-z0-9_-]{43}`), "holdfast_api_…"},
	{regexp.MustCompile(`(?m)^PrivateKey = .*$`), "PrivateKey = …"},
	{regexp.MustCompile(`(?m)(^[█▀▄ ]+\n){9,}`), "(the QR code)\n"},
}

// masks are what differs from run to run.
var masks = []struct {
	of  *regexp.Regexp
	now string
}{
	{regexp.MustCompile(`[A-Za-z0-9+/]{43}=`), "KEY"},
	{regexp.MustCompile(`"value":"[A-Za-z0-9+/]+"`), `"value":"DETAIL"`},
	{regexp.MustCompile(`\b[a-z][a-z2-7]{25}\b`), "ID"},
	{regexp.MustCompile(`\b[0-9]{20}-[0-9a-f]{8}\b`), "EVENT"},
	{regexp.MustCompile(`\b20\d\d-\d\d-\d\d[ T]\d\d:\d\d:\d\d(\.\d+)?Z`), "TIME"},
	{regexp.MustCompile(`\b[0-9a-f]{4}\.\d+\b`), "REVISION"},
	{regexp.MustCompile(`\(devel\)|v\d\S+|go1\.\S+ \w+/\w+`), "VERSION"},
	{regexp.MustCompile(`([:,]) (["{\[0-9])`), "$1$2"}, // protojson is not always as wide
	{regexp.MustCompile(` {2,}`), "  "},                // the width of a column
}

func masked(s string) string {
	for _, m := range masks {
		s = m.of.ReplaceAllString(s, m.now)
	}
	return s
}

// Each example of docs/commands.md is run, in their order, against one core.
func TestTheExamplesOfTheDocs(t *testing.T) {
	dir := t.TempDir()
	r := newRig(t, dir, t.Cleanup)
	text, err := os.ReadFile(page)
	require.NoError(t, err)
	require.NoError(t, os.WriteFile(dir+"/wg0.conf", []byte(serverFile), 0o600))
	var out strings.Builder
	examples := 0
	for i, part := range strings.SplitAfter(string(text), "```") {
		block, ok := strings.CutPrefix(part, "console\n")
		if i%2 == 0 || !ok {
			out.WriteString(part)
			continue
		}
		var now strings.Builder
		for _, example := range examplesIn(strings.TrimSuffix(block, "```")) {
			examples++
			now.WriteString("$ " + example + "\n" + r.play(t, example))
		}
		now.WriteString("```")
		if !*update {
			require.Equal(t, masked(block), masked(now.String()), "go test ./cmd/holdfast -run Docs -update writes it")
		}
		out.WriteString("console\n" + now.String())
	}
	require.Greater(t, examples, 20)
	if *update && masked(out.String()) != masked(string(text)) {
		require.NoError(t, os.WriteFile(page, []byte(out.String()), 0o644))
	}
}

// examplesIn are the commands of a block; a line that ends in \ goes on.
func examplesIn(block string) (all []string) {
	more := false
	for line := range strings.Lines(block) {
		line = strings.TrimSuffix(line, "\n")
		command, begins := strings.CutPrefix(line, "$ ")
		switch {
		case begins:
			all = append(all, command)
		case more:
			all[len(all)-1] += "\n" + line
		default:
			continue
		}
		more = strings.HasSuffix(line, `\`)
	}
	return all
}

// play runs an example as it would be on a machine of its own.
func (r *rig) play(t *testing.T, example string) string {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
	defer cancel()
	here := strings.NewReplacer("/run/holdfast/core.sock", r.socket, "https://core.example.org:8443", r.url).Replace(example)
	c := exec.CommandContext(ctx, "bash", "-c", here)
	c.Dir = r.dir
	c.Env = append(os.Environ(), "HOLDFAST_CORE=unix://"+r.socket)
	var b bytes.Buffer
	c.Stdout, c.Stderr = &b, &b
	err := c.Run()
	require.NotContains(t, b.String(), "command not found", "%s: install it (curl and bash: apt-get install curl bash)", example)
	if err != nil && !strings.Contains(example, "# refused") {
		require.NoError(t, err, "%s:\n%s", example, b.String())
	}
	me, err := user.Current()
	require.NoError(t, err)
	s := strings.NewReplacer(me.Username, "root", r.socket, "/run/holdfast/core.sock", r.url, "https://core.example.org:8443").Replace(b.String())
	if s != "" && !strings.HasSuffix(s, "\n") {
		s += "\n"
	}
	for _, h := range hidden {
		s = h.of.ReplaceAllString(s, h.now)
	}
	return s
}

// serverFile is the wg0.conf of the examples.
const serverFile = `[Interface]
Address = 10.8.0.1/24
ListenPort = 51820
PrivateKey = yAnz5TF+lXXJte14tji3zlMNq+hd2rYUIgJBgB3fBmk=
PostUp = iptables -A FORWARD -i wg0 -j ACCEPT

# Name = old-laptop
[Peer]
PublicKey = xTIBA5rboUvnH4htodjb6e697QjLERt1NAB4mZqp8Dg=
AllowedIPs = 10.8.0.2/32

# Name = branch
[Peer]
PublicKey = TrMvSoP4jYQlY6RIzBgbssQqY3vxI2Pi+y71lOWWXX0=
AllowedIPs = 10.8.0.3/32, 192.168.7.0/24
`
