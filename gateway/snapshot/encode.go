package snapshot

import (
	"encoding/binary"
	"errors"
	"fmt"
	"net/netip"
	"strconv"
	"strings"
	"time"

	"github.com/holdfastvpn/holdfast/gateway"
	"github.com/holdfastvpn/holdfast/vpn/seal"
	"github.com/holdfastvpn/holdfast/vpn/wgkey"
)

// A file is a line that names the format and its version, and a sealed text. What
// is sealed is the fields in the order of this file: numbers as varints, lists and
// bytes with their lengths ahead. A change of it is a new version, and those before
// it are read on: a gateway that was upgraded while its core is away goes on from
// the file that is there.
const (
	head    = "holdfast snapshot "
	version = 3 // what is written
	oldest  = 1 // what is read at the least: without Floating and Siblings, and before 3 without Inner and Carried
)

// bound is what a file is for. The version is in it so that no line above the seal
// can make an old format be read as another.
func bound(v uint64, id gateway.ID, at gateway.LocationID) string {
	return fmt.Sprintf("snapshot/%d/%q/%q", v, string(id), string(at))
}

// close returns the file for k.
func (s *Store) close(k gateway.Kept) []byte {
	text := s.keys.Seal(encode(k), bound(version, s.c.Gateway, k.Location))
	return append([]byte(head+strconv.Itoa(version)+"\n"), text...)
}

// open returns what a file of a location has.
func (s *Store) open(at gateway.LocationID, file []byte) (gateway.Kept, error) {
	first, text, _ := strings.Cut(string(file), "\n")
	v, ours := strings.CutPrefix(first, head)
	n, err := strconv.ParseUint(v, 10, 32)
	switch {
	case !ours || err != nil || strconv.FormatUint(n, 10) != v:
		return gateway.Kept{}, errors.New("it is not a snapshot, or damaged")
	case n > version:
		return gateway.Kept{}, fmt.Errorf("it is of version %d, and this software reads %d to %d: a newer holdfast wrote it; install that one again", n, oldest, version)
	case n < oldest:
		return gateway.Kept{}, fmt.Errorf("it is of version %d, and this software reads %d to %d", n, oldest, version)
	}
	plain, err := s.keys.Open(seal.Text(text), bound(n, s.c.Gateway, at))
	if err != nil {
		return gateway.Kept{}, fmt.Errorf("it was changed or cut off, or is of another gateway or location: %w", err)
	}
	k, err := decode(plain, n)
	k.Location = at
	return k, err
}

func encode(k gateway.Kept) []byte {
	c := k.Config
	w := writer(make([]byte, 0, 256+96*len(c.Peers)))
	w.int(k.Heard.UnixMicro())
	w.uint(c.Revision.Epoch)
	w.uint(c.Revision.Number)
	i := c.Interface
	w.key(i.Key.Reveal())
	w.uint(uint64(i.Port))
	w.int(int64(i.MTU))
	w.uint(uint64(i.Mark))
	w.prefixes(i.Addrs)
	w.prefixes(i.Masquerade)
	w.prefixes(i.Destinations)
	w.bool(i.Isolated)
	w.addrs(i.Floating)
	w.addrs(i.Inner)
	w.bool(i.Carried)
	w.uint(uint64(len(c.Peers)))
	for _, p := range c.Peers {
		w = append(w, p.Key[:]...)
		w.key(p.Preshared.Reveal())
		w.prefixes(p.AllowedIPs)
		w.int(int64(p.Keepalive))
		w.port(p.Endpoint)
	}
	w.uint(uint64(len(k.Siblings)))
	for _, s := range k.Siblings {
		w.text(string(s.ID))
		w.text(s.Addr)
	}
	return w
}

// decode reads what was sealed in a file of version v.
func decode(b []byte, v uint64) (gateway.Kept, error) {
	r := reader{b: b}
	k := gateway.Kept{Heard: time.UnixMicro(r.int())}
	c := &k.Config
	c.Revision.Epoch = r.uint(64)
	c.Revision.Number = r.uint(64)
	i := &c.Interface
	i.Key = wgkey.PrivateFrom(r.key())
	i.Port = uint16(r.uint(16))
	i.MTU = int(r.int())
	i.Mark = uint32(r.uint(32))
	i.Addrs = r.prefixes()
	i.Masquerade = r.prefixes()
	i.Destinations = r.prefixes()
	i.Isolated = r.bool()
	if v >= 2 {
		i.Floating = r.addrs()
	}
	if v >= 3 {
		i.Inner = r.addrs()
		i.Carried = r.bool()
	}
	const least = wgkey.Size + 6 // bytes of a peer
	n := r.length(least)
	if n > 0 {
		c.Peers = make([]gateway.Peer, n)
	}
	for n := range c.Peers {
		p := &c.Peers[n]
		copy(p.Key[:], r.bytes(wgkey.Size))
		p.Preshared = wgkey.PresharedFrom(r.key())
		p.AllowedIPs = r.prefixes()
		p.Keepalive = time.Duration(r.int())
		p.Endpoint = r.port()
	}
	if v >= 2 {
		k.Siblings = r.siblings()
	}
	if r.bad || len(r.b) > 0 {
		return gateway.Kept{}, errors.New("what is in it makes no sense")
	}
	return k, nil
}

// writer appends.
type writer []byte

func (w *writer) uint(n uint64) { *w = binary.AppendUvarint(*w, n) }
func (w *writer) int(n int64)   { *w = binary.AppendVarint(*w, n) }

func (w *writer) bool(is bool) {
	n := uint64(0)
	if is {
		n = 1
	}
	w.uint(n)
}

func (w *writer) text(s string) {
	w.uint(uint64(len(s)))
	*w = append(*w, s...)
}

// key writes a secret key, most of which are none.
func (w *writer) key(k [wgkey.Size]byte) {
	w.bool(k != [wgkey.Size]byte{})
	if k != [wgkey.Size]byte{} {
		*w = append(*w, k[:]...)
	}
}

func (w *writer) addr(a netip.Addr) {
	b := a.AsSlice() // that of a prefix has no zone
	w.uint(uint64(len(b)))
	*w = append(*w, b...)
}

// prefixes writes lengths one up: 0 is that of no prefix.
func (w *writer) prefixes(list []netip.Prefix) {
	w.uint(uint64(len(list)))
	for _, p := range list {
		w.addr(p.Addr())
		w.uint(uint64(p.Bits() + 1))
	}
}

// addrs writes addresses as they are, zones and all, for the reason that port has.
func (w *writer) addrs(list []netip.Addr) {
	w.uint(uint64(len(list)))
	for _, a := range list {
		var room [32]byte
		b, _ := a.AppendBinary(room[:0]) // has no way to fail
		w.uint(uint64(len(b)))
		*w = append(*w, b...)
	}
}

// port writes an endpoint as it is, zone and all, though none may have one: what
// was refused as it was told is refused when it comes back.
func (w *writer) port(e netip.AddrPort) {
	var room [32]byte
	b, _ := e.AppendBinary(room[:0]) // has no way to fail
	w.uint(uint64(len(b)))
	*w = append(*w, b...)
}
