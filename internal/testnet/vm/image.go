//go:build linux

package vm

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"maps"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strings"

	"github.com/holdfastvpn/holdfast/internal/testnet/vm/cpio"
	"github.com/holdfastvpn/holdfast/internal/testnet/vm/module"
	"github.com/holdfastvpn/holdfast/internal/testnet/vm/wire"
)

// Where things lie in the machine.
const (
	guestPath   = "/init"
	programPath = "/bin/"
	modulesPath = "/lib/modules"
)

// always are the modules that every machine loads before the program starts. What
// they need comes with them.
var always = []string{ //nolint:gochecknoglobals // a table
	"virtio_pci", "virtio_console", // the line to the host
	"wireguard", "veth", "bridge", "tun", "dummy",
	"nf_tables", "nft_chain_nat", "nft_ct", "nft_nat", "nft_masq", "nf_conntrack_netlink",
}

// shipped are those that are loaded when the kernel asks for them.
var shipped = []string{ //nolint:gochecknoglobals // a table
	"nft_redir", "nft_reject_inet", "nft_limit", "nft_log", "nft_quota", "nft_hash", "nft_numgen", "nft_objref",
	"nft_fib_inet", "nft_fib_ipv4", "nft_fib_ipv6", "nf_log_syslog",
	"sch_netem", "sch_tbf", "sch_htb", "sch_prio", "sch_fq_codel", "sch_ingress", "cls_u32", "cls_matchall", "act_mirred",
	"af_packet_diag", "udp_diag", "inet_diag", "crc32c_intel",
}

// entry is a file of the image: one of its sources is set, or none for a folder.
type entry struct {
	perm uint32
	from string // a file of this machine
	text []byte
	link string
	char *[2]uint32
}

// tree is the first file system of a machine, by absolute paths.
type tree map[string]entry

// add adds an entry, and the folders above it.
func (t tree) add(at string, e entry) {
	t[at] = e
	for dir := path.Dir(at); dir != "/"; dir = path.Dir(dir) {
		if _, there := t[dir]; !there {
			t[dir] = entry{perm: 0o755}
		}
	}
}

// copy adds a file or folder of this machine, links followed.
func (t tree) copy(at, from string) error {
	return filepath.WalkDir(from, func(file string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		info, err := os.Stat(file)
		if err != nil {
			return err
		}
		rel, err := filepath.Rel(from, file)
		if err != nil {
			return err
		}
		to := path.Join(at, filepath.ToSlash(rel))
		switch {
		case info.IsDir():
			t.add(to, entry{perm: uint32(info.Mode().Perm())})
			if d.Type()&fs.ModeSymlink != 0 && file != from {
				return fmt.Errorf("%s is a link to a folder", file)
			}
		case info.Mode().IsRegular():
			t.add(to, entry{perm: uint32(info.Mode().Perm()), from: file})
		default:
			return fmt.Errorf("%s is neither a file nor a folder", file)
		}
		return nil
	})
}

// write writes the tree as an archive.
func (t tree) write(to io.Writer) error {
	w := cpio.NewWriter(to)
	for _, at := range slices.Sorted(maps.Keys(t)) {
		if err := t[at].write(w, strings.TrimPrefix(at, "/")); err != nil {
			return err
		}
	}
	return w.Close()
}

func (e entry) write(w *cpio.Writer, name string) error {
	switch {
	case e.link != "":
		return w.Link(name, e.link)
	case e.char != nil:
		return w.Char(name, e.perm, e.char[0], e.char[1])
	case e.text != nil:
		return w.File(name, e.perm, int64(len(e.text)), bytes.NewReader(e.text))
	case e.from == "":
		return w.Dir(name, e.perm)
	}
	f, err := os.Open(e.from)
	if err != nil {
		return err
	}
	info, err := f.Stat()
	if err == nil {
		err = w.File(name, e.perm, info.Size(), f)
	}
	return errors.Join(err, f.Close())
}

// plant makes the tree of a machine for c.
func plant(c Config, k kernel, guest string) (tree, error) {
	if err := static(c.Program); err != nil {
		return nil, fmt.Errorf("vm: %w", err)
	}
	t := tree{}
	t.add("/dev/console", entry{perm: 0o600, char: &[2]uint32{5, 1}}) // what the kernel gives the first process
	t.add("/sbin/modprobe", entry{link: guestPath})
	t.add("/usr/bin", entry{link: "/bin"})
	t.add("/usr/sbin", entry{link: "/sbin"})
	t.add("/etc/passwd", entry{perm: 0o644, text: []byte("root:x:0:0:root:/tmp:/bin/sh\n")})
	t.add("/etc/group", entry{perm: 0o644, text: []byte("root:x:0:\n")})
	t.add("/etc/hosts", entry{perm: 0o644, text: []byte("127.0.0.1 localhost vm\n::1 localhost vm\n")})
	task := wire.Task{
		Program: programPath + path.Base(c.Program),
		Args:    c.Args,
		Env:     append([]string{"PATH=/bin:/sbin", "HOME=/tmp", "TMPDIR=/tmp", insideEnv + "=" + string(c.Clock)}, c.Env...),
		Dir:     c.Dir,
		Limit:   c.Within,
	}
	load, err := k.modules.Order(always...)
	if err != nil {
		return nil, err
	}
	for _, m := range load {
		task.Load = append(task.Load, path.Join(modulesPath, m.File()))
	}
	all, err := k.modules.Order(slices.Concat(always, shipped, c.Modules)...)
	if err != nil {
		return nil, err
	}
	for _, m := range all {
		t.add(path.Join(modulesPath, m.File()), entry{perm: 0o644, from: k.module(m)})
	}
	if c.Dir != "/" {
		t.add(c.Dir, entry{perm: 0o755})
	}
	for _, tool := range c.Tools {
		if err := t.tool(tool); err != nil {
			return nil, err
		}
	}
	for _, at := range keys(c.Files) {
		if err := t.copy(at, c.Files[at]); err != nil {
			return nil, fmt.Errorf("vm: put %s into the machine: %w", at, err)
		}
	}
	t.add(guestPath, entry{perm: 0o755, from: guest})
	t.add(task.Program, entry{perm: 0o755, from: c.Program})
	return t, errors.Join(t.json(wire.TaskPath, task), t.json(wire.IndexPath, module.Index(all)))
}

func (t tree) json(at string, v any) error {
	text, err := json.Marshal(v)
	if err != nil {
		return err
	}
	t.add(at, entry{perm: 0o644, text: text})
	return nil
}

func keys(m map[string]string) []string { return slices.Sorted(maps.Keys(m)) }
