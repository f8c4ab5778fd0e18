package main

import (
	"context"
	"crypto/x509"
	"errors"
	"fmt"
	"os"
	"regexp"
	"slices"
	"strings"
	"syscall"

	"github.com/alecthomas/kong"

	"github.com/holdfastvpn/holdfast/location"
	"github.com/holdfastvpn/holdfast/transport/adminrpc"
)

// How a command ends.
const (
	exitOK    = 0
	exitError = 1
	exitUsage = 2 // something that was typed is wrong
)

// cli is the tree of commands.
type cli struct {
	Core      string `default:"unix:///run/holdfast/core.sock" env:"HOLDFAST_CORE" help:"Where the core is: unix:///path or https://host:port." placeholder:"ADDRESS"`
	TokenFile string `env:"HOLDFAST_TOKEN_FILE" help:"File with the token of the API; not needed on the socket." placeholder:"FILE"`
	CA        string `env:"HOLDFAST_CA" help:"File with the certificates (PEM) that may have signed the core's; default: the system's." name:"ca" placeholder:"FILE"`

	Location   locationCmd   `cmd:"" help:"Where people connect."`
	Device     deviceCmd     `cmd:"" help:"Who connects."`
	Gateway    gatewayCmd    `cmd:"" help:"Who serves locations."`
	Owner      ownerCmd      `cmd:"" help:"Whom devices belong to."`
	Overview   overviewCmd   `cmd:"" help:"Who is connected, and who carries whom."`
	Events     eventsCmd     `cmd:"" help:"What happened."`
	Token      tokenCmd      `cmd:"" help:"Who may use the API from elsewhere."`
	Backup     backupCmd     `cmd:"" help:"Copy everything to a file, while the core is running."`
	Care       careCmd       `cmd:"" help:"Care for the core itself." name:"core"`
	Completion completionCmd `cmd:"" help:"A script that completes commands in a shell."`
	Version    versionCmd    `cmd:"" help:"Which release this is."`
}

// env is what a command has to work with.
type env struct {
	context.Context //nolint:containedctx // that of the process, for the one command it runs

	streams

	*adminrpc.Client

	core  string
	model *kong.Application
}

// newParser makes the parser of a tree.
func newParser(c *cli, s streams, exit func(int)) (*kong.Kong, error) {
	return kong.New(c,
		kong.Name("holdfast"), kong.Description("Operate a Holdfast core: locations, devices, gateways."),
		kong.Writers(s.out, s.err), kong.Exit(exit), kong.UsageOnError(),
		kong.ConfigureHelp(kong.HelpOptions{Compact: true, NoExpandSubcommands: true}),
	)
}

// run does what the arguments say, and returns the exit code.
func run(ctx context.Context, args []string, s streams, exit func(int)) int {
	var c cli
	parser, err := newParser(&c, s, exit)
	if err != nil {
		fmt.Fprintf(s.err, "holdfast: %v\n", err)
		return exitError
	}
	k, err := parser.Parse(args)
	if err != nil {
		at := "holdfast"
		if p, ok := errors.AsType[*kong.ParseError](err); ok && p.Context != nil {
			at = strings.TrimSpace("holdfast " + commandOf(p.Context.Path))
		}
		fmt.Fprintf(s.err, "holdfast: %v\nTry: %s --help\n", err, at)
		return exitUsage
	}
	e := &env{Context: ctx, streams: s, core: c.Core, model: parser.Model}
	if k.Command() != "version" && !strings.HasPrefix(k.Command(), "completion") {
		if e.Client, err = c.dial(); err != nil {
			return e.failed(k, err)
		}
	}
	if err := k.Run(e); err != nil {
		if ctx.Err() != nil && errors.Is(err, context.Canceled) {
			fmt.Fprintln(s.err, "holdfast: interrupted")
			return exitError
		}
		return e.failed(k, err)
	}
	return exitOK
}

func commandOf(path []*kong.Path) string {
	var words []string
	for _, p := range path {
		if p.Command != nil {
			words = append(words, p.Command.Name)
		}
	}
	return strings.Join(words, " ")
}

// dial makes the client that the global flags ask for.
func (c *cli) dial() (*adminrpc.Client, error) {
	d := adminrpc.DialConfig{Core: c.Core}
	if c.TokenFile != "" {
		info, err := os.Stat(c.TokenFile)
		if err != nil {
			return nil, usagef("--token-file", "%v", err)
		}
		if info.Mode().IsRegular() && info.Mode().Perm()&0o007 != 0 {
			return nil, usagef("--token-file", "everybody on this machine may open %s: chmod 600 %[1]s", c.TokenFile)
		}
		text, err := os.ReadFile(c.TokenFile)
		if err != nil {
			return nil, usagef("--token-file", "%v", err)
		}
		if d.Token, err = adminrpc.ParseSecret(string(text)); err != nil {
			return nil, usagef("--token-file", "%s: %s", c.TokenFile, strings.TrimPrefix(err.Error(), "adminrpc: "))
		}
	}
	if c.CA != "" {
		text, err := os.ReadFile(c.CA)
		if err != nil {
			return nil, usagef("--ca", "%v", err)
		}
		d.Roots = x509.NewCertPool()
		if !d.Roots.AppendCertsFromPEM(text) {
			return nil, usagef("--ca", "%s holds no certificate in PEM", c.CA)
		}
	}
	return adminrpc.Dial(d)
}

// usage is an error of what was typed.
type usage struct{ flag, reason string }

func (u usage) Error() string { return u.flag + ": " + u.reason }

func usagef(flag, format string, args ...any) error { return usage{flag, fmt.Sprintf(format, args...)} }

// failed says what went wrong, and which exit code that is.
func (e *env) failed(k *kong.Context, err error) int {
	text, code := explain(err, e.core, func(field string) string { return flagOf(k, field) })
	fmt.Fprintf(e.err, "holdfast: %s\n", text)
	return code
}

// explain makes of an error what people can act on.
func explain(err error, core string, flag func(field string) string) (text string, code int) {
	path, local := strings.CutPrefix(core, "unix://")
	field, wrong := errors.AsType[*location.FieldError](err)
	switch {
	case errors.Is(err, adminrpc.ErrAway) && local && errors.Is(err, os.ErrNotExist):
		return fmt.Sprintf("no core is running here: there is no socket %s (start the core, or name another one with --core or HOLDFAST_CORE)", path), exitError
	case errors.Is(err, adminrpc.ErrAway) && local && errors.Is(err, syscall.ECONNREFUSED):
		return fmt.Sprintf("the core is not running: nobody answers on %s (start it, or name another one with --core or HOLDFAST_CORE)", path), exitError
	case errors.Is(err, os.ErrPermission) && local && errors.Is(err, adminrpc.ErrAway):
		return fmt.Sprintf("%s is for root and the user that the core runs as: use sudo, or a token (--core https://… --token-file FILE)", path), exitError
	case errors.Is(err, adminrpc.ErrAway):
		return fmt.Sprintf("no answer from the core at %s: %s", core, strings.TrimPrefix(err.Error(), adminrpc.ErrAway.Error()+": ")), exitError
	case errors.Is(err, adminrpc.ErrToken) && !local:
		return fmt.Sprintf("%s (give one with --token-file or HOLDFAST_TOKEN_FILE)", plain(strings.TrimPrefix(err.Error(), "adminrpc: "))), exitError
	case wrong && errors.As(err, new(usage)):
	case wrong:
		return plain(flag(field.Field) + ": " + field.Reason), exitUsage
	}
	if errors.As(err, new(usage)) {
		return plain(err.Error()), exitUsage
	}
	return plain(strings.TrimPrefix(err.Error(), "adminrpc: ")), exitError
}

var indices = regexp.MustCompile(`\[\d+\]`)

// flagNames are flags that are called otherwise than their fields.
var flagNames = map[string]string{ //nolint:gochecknoglobals // a table that nobody writes
	"networks": "network", "gateway": "gateway-address", "reserved": "reserve", "host": "endpoint", "allowedips": "allowed-ip",
	"destinations": "destination", "clientkeepalive": "keepalive", "addrs": "address", "addresses": "address", "routes": "route",
	"key": "public-key", "publickey": "public-key", "cores": "dial", "locations": "location", "allowoverlap": "allow-overlap",
	"gatewayid": "rejoin", "privatekey": "file",
}

// flagOf names the flag or argument of a command that a field of the API came
// from, such as "--network" for "Networks[0]".
func flagOf(k *kong.Context, field string) string {
	last := field[strings.LastIndexByte(field, '.')+1:]
	name := strings.ToLower(strings.ReplaceAll(indices.ReplaceAllString(last, ""), "_", ""))
	if other, ok := flagNames[name]; ok {
		name = other
	}
	node := k.Selected()
	for ; node != nil; node = node.Parent {
		if slices.ContainsFunc(node.Flags, func(f *kong.Flag) bool { return f.Name == name }) {
			return "--" + name
		}
		if slices.ContainsFunc(node.Positional, func(p *kong.Positional) bool { return p.Name == name }) {
			return strings.ToUpper(name)
		}
	}
	return field
}
