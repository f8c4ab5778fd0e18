//go:build linux

package vm_test

import (
	"bytes"
	"compress/gzip"
	"context"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/holdfastvpn/holdfast/internal/testnet"
	"github.com/holdfastvpn/holdfast/internal/testnet/vm"
	"github.com/holdfastvpn/holdfast/internal/testnet/vm/module/moduletest"
)

// The commands that a kernel comes by, and what they do here: each is a script
// that writes down how it was called. What is between is put in at its start.
const (
	aptCache = `echo "  Depends: linux-image-9.9-cloud-amd64"; echo "  Depends: initramfs-tools"`
	aptGet   = `case "$*" in *download*) touch linux-image-9.9-cloud-amd64_9.9.1-1_amd64.deb;; esac`
	dpkgDeb  = `cp -r "$ARCHIVE" "$3"`
	// private is where the script has been given other lists than the machine's.
	private = `case "$*" in "-c "*/apt.conf\ *) private=1;; esac; `
)

// archive is a machine on which apt does what the scripts say, with an empty
// cache; it returns the folder of the cache and how often a command was called.
func archive(t *testing.T, scripts map[string]string) (cache string, calls func(command string) int) {
	t.Helper()
	bin, tree, log := t.TempDir(), filepath.Join(t.TempDir(), "tree"), filepath.Join(t.TempDir(), "calls")
	for name, text := range scripts {
		script := "#!/bin/sh\necho \"$(basename $0) $*\" >>\"$CALLS\"\n" + private + text + "\n"
		require.NoError(t, os.WriteFile(filepath.Join(bin, name), []byte(script), 0o700))
	}
	var packed bytes.Buffer
	z := gzip.NewWriter(&packed)
	_, err := z.Write(moduletest.File("depends=udp_tunnel,virtio"))
	require.NoError(t, errors.Join(err, z.Close()))
	for name, content := range map[string][]byte{
		"boot/vmlinuz-9.9":                                                 []byte("kernel"),
		"lib/modules/9.9/modules.builtin":                                  []byte("kernel/drivers/virtio/virtio.ko\n"),
		"lib/modules/9.9/kernel/net/ipv4/udp_tunnel.ko":                    moduletest.File("depends="),
		"lib/modules/9.9/kernel/drivers/net/wireguard/wireguard.ko.gz":     packed.Bytes(),
		"lib/modules/9.9/kernel/drivers/net/ethernet/intel/e1000/e1000.ko": []byte("not of use"),
	} {
		file := filepath.Join(tree, name)
		require.NoError(t, os.MkdirAll(filepath.Dir(file), 0o755))
		require.NoError(t, os.WriteFile(file, content, 0o600))
	}
	home := t.TempDir()
	t.Setenv("XDG_CACHE_HOME", home)
	t.Setenv("PATH", bin+":/usr/bin:/bin")
	if len(scripts) == 0 {
		t.Setenv("PATH", bin)
	}
	t.Setenv("ARCHIVE", tree)
	t.Setenv("CALLS", log)
	return filepath.Join(home, "holdfast", "vm", "kernel"), func(command string) int {
		text, err := os.ReadFile(log)
		if err != nil {
			return 0
		}
		return strings.Count(string(text), command)
	}
}

// entries are the names in a folder.
func entries(t *testing.T, dir string) []string {
	t.Helper()
	list, err := os.ReadDir(dir)
	require.NoError(t, err)
	names := make([]string, 0, len(list))
	for _, e := range list {
		names = append(names, e.Name())
	}
	return names
}

const debName = "linux-image-9.9-cloud-amd64_9.9.1-1_amd64"

func TestFetch(t *testing.T) {
	cache, calls := archive(t, map[string]string{"apt-cache": aptCache, "apt-get": aptGet, "dpkg-deb": dpkgDeb})
	// What a killed process has left, and a kernel that is not whole.
	require.NoError(t, os.MkdirAll(filepath.Join(cache, "fetch-1", "tree"), 0o755))
	require.NoError(t, os.MkdirAll(filepath.Join(cache, debName, "modules"), 0o755))
	name, image, err := vm.Obtain(t.Context())
	require.NoError(t, err)
	require.Equal(t, debName, name)
	text, err := os.ReadFile(image)
	require.NoError(t, err)
	require.Equal(t, "kernel", string(text))
	require.Equal(t, []string{".lock", debName}, entries(t, cache))
	require.Zero(t, calls("update"), "what apt knows was enough")
	all, err := vm.Modules(t.Context(), "wireguard")
	require.NoError(t, err)
	require.Equal(t, []string{"udp_tunnel", "wireguard"}, all)
	_, err = vm.Modules(t.Context(), "e1000")
	require.ErrorContains(t, err, "e1000")

	t.Setenv("PATH", t.TempDir()) // the network, and apt, are away
	again, _, err := vm.Obtain(t.Context())
	require.NoError(t, err)
	require.Equal(t, name, again)
}

func TestFetchWithoutLists(t *testing.T) {
	cache, calls := archive(t, map[string]string{
		"apt-cache": `[ "$private" ] || { echo "N: Unable to locate package" >&2; exit 100; }; ` + aptCache,
		"apt-get":   aptGet, "dpkg-deb": dpkgDeb,
	})
	_, _, err := vm.Obtain(t.Context())
	require.NoError(t, err)
	require.Equal(t, []string{".lock", debName}, entries(t, cache))
	require.Equal(t, 1, calls("update"))
}

func TestFetchWithOldLists(t *testing.T) {
	_, calls := archive(t, map[string]string{
		"apt-cache": aptCache,
		"apt-get":   `case "$private $*" in " "*download*) echo "E: 404 Not Found" >&2; exit 100;; esac; ` + aptGet,
		"dpkg-deb":  dpkgDeb,
	})
	_, _, err := vm.Obtain(t.Context())
	require.NoError(t, err)
	require.Equal(t, 1, calls("update"))
}

func TestFetchFails(t *testing.T) {
	for name, c := range map[string]struct {
		scripts map[string]string
		want    string
	}{
		"network": {map[string]string{
			"apt-cache": "exit 100", "apt-get": `echo "E: Could not resolve host" >&2; exit 100`, "dpkg-deb": dpkgDeb,
		}, "E: Could not resolve host"},
		"package": {map[string]string{"apt-cache": aptCache, "apt-get": aptGet, "dpkg-deb": "echo broken >&2; exit 2"}, "dpkg-deb: exit status 2: broken"},
		"meta":    {map[string]string{"apt-cache": "echo nothing", "apt-get": aptGet, "dpkg-deb": dpkgDeb}, "it names no kernel"},
		"tree":    {map[string]string{"apt-cache": aptCache, "apt-get": aptGet, "dpkg-deb": `mkdir "$3"`}, "there are 0 kernels and 0 trees of modules in it"},
		"module": {map[string]string{"apt-cache": aptCache, "apt-get": aptGet, "dpkg-deb": dpkgDeb + `; touch "$3/lib/modules/9.9/kernel/net/odd.ko.lz9"`},
			"odd.ko.lz9: compressed in an unknown way"},
	} {
		t.Run(name, func(t *testing.T) {
			cache, _ := archive(t, c.scripts)
			_, _, err := vm.Obtain(t.Context())
			require.ErrorContains(t, err, "vm: fetch a kernel: ")
			require.ErrorContains(t, err, c.want)
			require.Equal(t, []string{".lock"}, entries(t, cache))
		})
	}
}

func TestFetchWithoutApt(t *testing.T) {
	archive(t, nil)
	_, _, err := vm.Obtain(t.Context())
	missing, ok := errors.AsType[*testnet.MissingError](err)
	require.True(t, ok, "%v", err)
	require.ErrorContains(t, missing, "this needs Debian or Ubuntu")
}

func TestFetchByManyAtOnce(t *testing.T) {
	_, calls := archive(t, map[string]string{"apt-cache": aptCache, "apt-get": aptGet, "dpkg-deb": dpkgDeb})
	var wg sync.WaitGroup
	for range 4 {
		wg.Go(func() {
			name, _, err := vm.Obtain(t.Context())
			if err != nil || name != debName {
				t.Errorf("%q, %v", name, err)
			}
		})
	}
	wg.Wait()
	require.Equal(t, 1, calls("download"))
}

func TestFetchEndsWithContext(t *testing.T) {
	cache, _ := archive(t, map[string]string{"apt-cache": aptCache, "apt-get": "sleep 1000", "dpkg-deb": dpkgDeb})
	ctx, cancel := context.WithTimeoutCause(t.Context(), 300*time.Millisecond, errors.New("enough"))
	defer cancel()
	_, _, err := vm.Obtain(ctx)
	require.ErrorContains(t, err, "enough")
	require.Equal(t, []string{".lock"}, entries(t, cache))
}

func TestBrokenCache(t *testing.T) {
	cache, _ := archive(t, nil)
	dir := filepath.Join(cache, debName)
	require.NoError(t, os.MkdirAll(dir, 0o755))
	require.NoError(t, os.WriteFile(filepath.Join(dir, "modules.json"), []byte("{"), 0o600))
	_, _, err := vm.Obtain(t.Context())
	require.ErrorContains(t, err, "remove that folder")
}
