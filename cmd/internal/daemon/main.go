package daemon

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"

	"os/signal"
	"runtime/debug"
	"strings"
	"syscall"

	"github.com/alecthomas/kong"
	"go.yaml.in/yaml/v3"
)

// Exit codes.
const (
	ExitOK     = 0
	ExitFailed = 1
	ExitUsage  = 2
)

// Common are the flags of every daemon.
type Common struct {
	Config    kong.ConfigFlag  `help:"A YAML file with values for flags, by their names." placeholder:"FILE" type:"existingfile"`
	LogLevel  slog.Level       `default:"info" help:"What is logged: debug, info, warn or error."`
	LogFormat string           `default:"text" enum:"text,json" help:"How it is logged: ${enum}."`
	Version   kong.VersionFlag `help:"Print the version and exit."`
}

// Logger returns what Common asks for.
func (c Common) Logger(w io.Writer) *slog.Logger {
	o := &slog.HandlerOptions{Level: c.LogLevel}
	if c.LogFormat == "json" {
		return slog.New(slog.NewJSONHandler(w, o))
	}
	return slog.New(slog.NewTextHandler(w, o))
}

// Version is that of the program, as the go command knows it.
func Version() string {
	info, ok := debug.ReadBuildInfo()
	if !ok || info.Main.Version == "" {
		return "unknown"
	}
	return strings.TrimPrefix(info.Main.Version, "v")
}

// Main parses the command line into cli, a pointer, whose commands have a method
// Run(context.Context, cli) error, and runs the one that was chosen. SIGINT and SIGTERM
// end its context. It returns the exit code.
func Main(name, about string, cli any, args []string, stdout, stderr io.Writer) int {
	var code *int
	parser, err := kong.New(
		cli,
		kong.Name(name), kong.Description(about),
		kong.DefaultEnvars(envPrefix(name)),
		kong.Configuration(yamlFile),
		kong.Vars{"version": name + " " + Version()},
		kong.Writers(stdout, stderr),
		kong.UsageOnError(),
		kong.Exit(func(n int) { code = &n }),
	)
	if err != nil {
		fmt.Fprintf(stderr, "%s: %v\n", name, err)
		return ExitUsage
	}
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGINT, syscall.SIGTERM)
	defer stop()
	k, err := parser.Parse(args)
	if code != nil { // --help, --version
		return *code
	}
	if err != nil {
		fmt.Fprintf(stderr, "%s: %v\n", name, err)
		return ExitUsage
	}
	k.BindTo(ctx, (*context.Context)(nil))
	k.Bind(cli)
	switch err := k.Run(); {
	case err == nil, errors.Is(err, context.Canceled) && ctx.Err() != nil:
		return ExitOK
	default:
		fmt.Fprintf(stderr, "%s: %v\n", name, err)
		return ExitFailed
	}
}

// envPrefix begins the variables of a daemon's environment: HOLDFAST_CORE_LOG_LEVEL.
func envPrefix(name string) string {
	return "HOLDFAST_" + strings.ToUpper(name)
}

// yamlFile reads values for flags from a file: "log-level: debug". A name that no
// flag has is an error, since a misspelt one would be as good as missing.
func yamlFile(r io.Reader) (kong.Resolver, error) {
	values := map[string]any{}
	d := yaml.NewDecoder(r)
	if err := d.Decode(&values); err != nil && !errors.Is(err, io.EOF) {
		return nil, fmt.Errorf("the configuration file: %w", err)
	}
	return resolver{values}, nil
}

type resolver struct{ values map[string]any }

// Validate says which values no flag is for.
func (r resolver) Validate(app *kong.Application) error {
	known := map[string]bool{}
	err := kong.Visit(app, func(node kong.Visitable, next kong.Next) error {
		if f, ok := node.(*kong.Flag); ok {
			known[f.Name] = true
		}
		return next(nil)
	})
	for name := range r.values {
		if !known[name] {
			err = errors.Join(err, fmt.Errorf("the configuration file: there is no flag %q", name))
		}
	}
	return err
}

// Resolve returns the value for a flag.
func (r resolver) Resolve(_ *kong.Context, _ *kong.Path, flag *kong.Flag) (any, error) {
	v, found := r.values[flag.Name]
	for _, name := range flag.Envs { // the environment is nearer than a file
		if _, set := os.LookupEnv(name); set {
			found = false
		}
	}
	if !found {
		return nil, nil
	}
	if list, ok := v.([]any); ok {
		parts := make([]string, len(list))
		for i, p := range list {
			parts[i] = fmt.Sprint(p)
		}
		return strings.Join(parts, ","), nil
	}
	return fmt.Sprint(v), nil
}
