//go:build linux

package vm

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"time"

	"golang.org/x/sys/unix"

	"github.com/holdfastvpn/holdfast/internal/testnet"
	"github.com/holdfastvpn/holdfast/internal/testnet/vm/module"
)

// metaPackage depends on Debian's newest kernel for virtual machines.
const metaPackage = "linux-image-cloud-amd64"

// kernel is one that was fetched.
type kernel struct {
	name    string // of the package, with its version
	image   string
	dir     string // of the modules
	modules module.Index
}

// module is the file of a module.
func (k kernel) module(m module.Module) string { return filepath.Join(k.dir, m.File()) }

// Files in the folder of a kernel.
const (
	kernelFile  = "vmlinuz"
	modulesDir  = "modules"
	modulesFile = "modules.json" // written last
)

// obtain returns the kernel of the cache, or fetches one into it. A kernel that
// is in the cache stays, until somebody removes the folder.
func obtain(ctx context.Context, log *slog.Logger) (kernel, error) {
	dir, err := folder("kernel")
	if err != nil {
		return kernel{}, fmt.Errorf("vm: find a kernel: %w", err)
	}
	if k, err := cached(dir); err != nil || k.name != "" {
		return k, err
	}
	unlock, err := lock(ctx, filepath.Join(dir, ".lock"))
	if err != nil {
		return kernel{}, fmt.Errorf("vm: fetch a kernel: %w", err)
	}
	defer unlock()
	if k, err := cached(dir); err != nil || k.name != "" { // another process was faster
		return k, err
	}
	if err := fetch(ctx, dir, log); err != nil {
		return kernel{}, fmt.Errorf("vm: fetch a kernel: %w", err)
	}
	return cached(dir)
}

// cached returns the newest kernel in the cache; without a name if there is none.
func cached(dir string) (k kernel, err error) {
	found, err := filepath.Glob(filepath.Join(dir, "linux-*", modulesFile))
	if err != nil {
		return k, err
	}
	var newest time.Time
	for _, f := range found {
		info, err := os.Stat(f)
		if err != nil {
			continue // it was removed just now
		}
		if at := info.ModTime(); k.dir == "" || at.After(newest) {
			newest, k.dir = at, filepath.Dir(f)
		}
	}
	if k.dir == "" {
		return kernel{}, nil
	}
	text, err := os.ReadFile(filepath.Join(k.dir, modulesFile))
	if err == nil {
		err = json.Unmarshal(text, &k.modules)
	}
	if err != nil {
		return kernel{}, fmt.Errorf("vm: read the kernel in %s: %w; remove that folder", k.dir, err)
	}
	k.name, k.image, k.dir = filepath.Base(k.dir), filepath.Join(k.dir, kernelFile), filepath.Join(k.dir, modulesDir)
	return k, nil
}

// lock waits for its turn among processes; a lock ends with its process.
func lock(ctx context.Context, file string) (unlock func(), err error) {
	f, err := os.OpenFile(file, os.O_CREATE|os.O_RDWR, 0o600)
	if err != nil {
		return nil, err
	}
	again := time.NewTicker(100 * time.Millisecond)
	defer again.Stop()
	for {
		err := unix.Flock(int(f.Fd()), unix.LOCK_EX|unix.LOCK_NB)
		if err == nil {
			return func() { _ = f.Close() }, nil
		}
		if !errors.Is(err, unix.EWOULDBLOCK) {
			return nil, errors.Join(fmt.Errorf("lock %s: %w", file, err), f.Close())
		}
		select {
		case <-again.C:
		case <-ctx.Done():
			return nil, errors.Join(fmt.Errorf("another process fetches one: %w", context.Cause(ctx)), f.Close())
		}
	}
}

// fetch puts Debian's newest kernel for virtual machines into the cache. The
// caller holds the lock.
func fetch(ctx context.Context, dir string, log *slog.Logger) (err error) {
	for _, tool := range []string{"apt-cache", "apt-get", "dpkg-deb"} {
		if _, err := exec.LookPath(tool); err != nil {
			return &testnet.MissingError{
				What: "kernel to fetch", Why: err,
				Fix: "this needs Debian or Ubuntu; elsewhere load the machine's own module (modprobe wireguard)",
			}
		}
	}
	// What a process left that was killed.
	left, err := filepath.Glob(filepath.Join(dir, "fetch-*"))
	if err != nil {
		return err
	}
	for _, l := range left {
		if err := os.RemoveAll(l); err != nil {
			return err
		}
	}
	work, err := os.MkdirTemp(dir, "fetch-")
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, os.RemoveAll(work)) }()
	log.Info("fetching a kernel from the archive of Debian", "into", dir)
	deb, err := download(ctx, work)
	if err != nil {
		return err
	}
	name := strings.TrimSuffix(filepath.Base(deb), ".deb")
	if _, err := do(ctx, work, "dpkg-deb", "-x", deb, "tree"); err != nil {
		return err
	}
	made := filepath.Join(work, "made")
	if err := arrange(ctx, filepath.Join(work, "tree"), made); err != nil {
		return fmt.Errorf("take what is needed from %s: %w", name, err)
	}
	// A folder of that name has no index, or it would have been found.
	final := filepath.Join(dir, name)
	return errors.Join(os.RemoveAll(final), os.Rename(made, final))
}

// aptConf has apt keep to a folder. What administrators have it do after an update
// (such as to clean the machine's own folders) is not for this one.
const aptConf = `Dir::State::lists "%[1]s/state/lists";
Dir::Cache "%[1]s/cache";
APT::Sandbox::User "";
#clear APT::Update::Pre-Invoke;
#clear APT::Update::Post-Invoke;
#clear APT::Update::Post-Invoke-Success;
`

// download gets the package and returns its path. What apt knows of the archive
// on this machine may be missing or out of date; then it is asked for anew, into
// the folder, so that nothing of the machine changes.
func download(ctx context.Context, dir string) (string, error) {
	deb, first := get(ctx, dir)
	if first == nil {
		return deb, nil
	}
	for _, d := range []string{"state/lists/partial", "cache/archives/partial"} {
		if err := os.MkdirAll(filepath.Join(dir, d), 0o755); err != nil { //nolint:gosec // apt's other user reads it
			return "", err
		}
	}
	private := filepath.Join(dir, "apt.conf")
	if err := os.WriteFile(private, fmt.Appendf(nil, aptConf, dir), 0o644); err != nil { //nolint:gosec // apt's other user reads it
		return "", err
	}
	if _, err := do(ctx, dir, "apt-get", "-c", private, "update"); err != nil {
		return "", errors.Join(first, err)
	}
	deb, err := get(ctx, dir, "-c", private)
	if err != nil {
		return "", errors.Join(first, err)
	}
	return deb, nil
}

// dependency is a line of apt-cache depends that names a kernel's package.
var dependency = regexp.MustCompile(`(?m)^ *Depends: (linux-image-[0-9]\S*)$`)

// get asks apt with these options.
func get(ctx context.Context, dir string, options ...string) (string, error) {
	out, err := do(ctx, dir, "apt-cache", append(options, "depends", metaPackage)...)
	if err != nil {
		return "", err
	}
	m := dependency.FindStringSubmatch(out)
	if m == nil {
		return "", fmt.Errorf("apt-cache depends %s: it names no kernel", metaPackage)
	}
	if _, err := do(ctx, dir, "apt-get", append(options, "-o", "APT::Sandbox::User=", "download", m[1])...); err != nil {
		return "", err
	}
	debs, err := filepath.Glob(filepath.Join(dir, m[1]+"_*.deb"))
	if err == nil && len(debs) != 1 {
		err = fmt.Errorf("apt-get download %s: %d files came of it", m[1], len(debs))
	}
	if err != nil {
		return "", err
	}
	return debs[0], nil
}

// do runs a command in that folder and returns what it wrote.
func do(ctx context.Context, dir, name string, args ...string) (string, error) {
	cmd := exec.CommandContext(ctx, name, args...)
	cmd.Dir = dir
	cmd.Env = append(os.Environ(), "LC_ALL=C", "DEBIAN_FRONTEND=noninteractive")
	cmd.WaitDelay = time.Second // those that it has started hold its output
	var said bytes.Buffer
	cmd.Stderr = &said
	out, err := cmd.Output()
	if err != nil {
		if ctx.Err() != nil {
			err = context.Cause(ctx)
		}
		return "", fmt.Errorf("%s: %w: %s", name, err, strings.TrimSpace(said.String()))
	}
	return string(out), nil
}
