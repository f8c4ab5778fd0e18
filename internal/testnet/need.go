package testnet

import (
	"errors"
	"fmt"
	"os"
	"strings"
)

// Requirement is something that a machine or a user may lack.
type Requirement string

// What can be required.
const (
	Netns           Requirement = "network namespaces"
	TUN             Requirement = "TUN devices"
	Nftables        Requirement = "nftables"
	KernelWireGuard Requirement = "WireGuard in the kernel"
	Netem           Requirement = "netem" // delay and loss, for [Host.Impair]
	Keepalived      Requirement = "keepalived"
	WGTools         Requirement = "wg and ip" // the commands
)

// MissingError is the error for a [Requirement] that is not met. Find it with
// errors.As.
type MissingError struct {
	What Requirement
	Why  error  // what was tried, and how it failed
	Fix  string // what to do about it
}

// Error says what is missing, why, and what to do.
func (m *MissingError) Error() string {
	return fmt.Sprintf("testnet: no %s here: %v; %s", m.What, m.Why, m.Fix)
}

// Unwrap returns what was found when it was tried.
func (m *MissingError) Unwrap() error { return m.Why }

// Check tries each requirement, in a namespace that it throws away, and returns
// nil if all are met, else the [MissingError] ones joined.
func Check(needs ...Requirement) error {
	var errs []error
	for _, r := range needs {
		if m := try(r); m != nil {
			errs = append(errs, m)
		}
	}
	return errors.Join(errs...)
}

// Skipper is what [Need] and [Eventually] use of a *testing.T, B or F.
type Skipper interface {
	Helper()
	Skip(args ...any)
	Fatal(args ...any)
}

// T is what [ForTest] uses of a *testing.T, B or F.
type T interface {
	Skipper
	Failed() bool
	Cleanup(f func())
	Log(args ...any)
}

// RequireEnv is the environment variable that, set to "all", turns every skip of
// [Need] into a failure, so that a green run cannot mean that nothing ran.
const RequireEnv = "HOLDFAST_REQUIRE"

// Need skips the test, saying what to do, unless all requirements are met.
func Need(t Skipper, needs ...Requirement) {
	t.Helper()
	err := Check(needs...)
	switch {
	case err == nil:
	case required():
		t.Fatal(fmt.Sprintf("%v (%s=all allows no skip)", err, RequireEnv))
	default:
		t.Skip(strings.ReplaceAll(err.Error(), "\n", "; "))
	}
}

// required reports whether skips are forbidden.
func required() bool { return os.Getenv(RequireEnv) == "all" }
