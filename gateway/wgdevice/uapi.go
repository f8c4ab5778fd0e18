package wgdevice

import (
	"bytes"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"net/netip"
	"strconv"
	"syscall"
	"time"

	"github.com/holdfastvpn/holdfast/gateway"
	"github.com/holdfastvpn/holdfast/vpn/wgkey"
)

// uapi is the text protocol by which WireGuard outside the kernel is asked and
// told. The WireGuard of this process has the two operations as methods; over a
// socket (remote) they are a "get=1" and a "set=1".
type uapi interface {
	IpcGetOperation(w io.Writer) error
	IpcSetOperation(r io.Reader) error
}

// askUAPI overwrites what the text protocol tells of s.
func askUAPI(u uapi, s *gateway.State) error {
	r := readState(s)
	if err := u.IpcGetOperation(r); err != nil {
		return err
	}
	return r.end()
}

// tellUAPI sends lines, and then forgets them: there are keys in them.
func tellUAPI(u uapi, lines []byte) error {
	err := u.IpcSetOperation(bytes.NewReader(lines))
	clear(lines)
	return err
}

// settings are what a device has beside its peers. What is nil stays as it is.
type settings struct {
	key  *wgkey.Private
	port *uint16
	mark *uint32
}

// change is what to do with one peer.
type change struct {
	// peer is how it shall be. A zero Endpoint leaves that alone, all else is
	// set.
	peer gateway.Peer
	// remove ends the peer; only its key is read then.
	remove bool
	// kick sets the endpoint and the keepalive of a peer that is there, and
	// nothing else.
	kick bool
}

// appendSettings appends the lines that set what s has.
func appendSettings(b []byte, s settings) []byte {
	if s.key != nil {
		b = appendKey(b, "private_key", s.key.Reveal())
	}
	if s.port != nil {
		b = appendNumber(b, "listen_port", uint64(*s.port))
	}
	if s.mark != nil {
		b = appendNumber(b, "fwmark", uint64(*s.mark))
	}
	return b
}

// appendChanges appends the lines that make the peers as they shall be.
func appendChanges(b []byte, changes []change) []byte {
	for _, c := range changes {
		p := c.peer
		b = appendKey(b, "public_key", p.Key)
		if c.remove {
			b = append(b, "remove=true\n"...)
			continue
		}
		if c.kick {
			b = append(b, "update_only=true\n"...)
		} else {
			b = appendKey(b, "preshared_key", p.Preshared.Reveal())
		}
		if p.Endpoint.IsValid() {
			b = append(b, "endpoint="...)
			b = append(p.Endpoint.AppendTo(b), '\n')
		}
		b = appendNumber(b, "persistent_keepalive_interval", uint64(p.Keepalive/time.Second))
		if c.kick {
			continue
		}
		b = append(b, "replace_allowed_ips=true\n"...)
		for _, a := range p.AllowedIPs {
			b = append(b, "allowed_ip="...)
			b = append(a.AppendTo(b), '\n')
		}
	}
	return b
}

func appendKey(b []byte, name string, key [wgkey.Size]byte) []byte {
	b = append(append(b, name...), '=')
	return append(hex.AppendEncode(b, key[:]), '\n')
}

func appendNumber(b []byte, name string, n uint64) []byte {
	b = append(append(b, name...), '=')
	return append(strconv.AppendUint(b, n, 10), '\n')
}

// reader reads the answer to a get, in whatever pieces it is written to it, into
// a State: private key, port, mark and peers, in the order of the answer. It
// reuses the State's memory. Keys that it does not know it skips: a newer
// WireGuard may have more to say.
type reader struct {
	to   *gateway.State
	rest []byte        // a line that has begun
	sec  time.Duration // of the peer's handshake
	why  string        // of a refusal
	bad  error
}

// refusal is a no from the other side, with the error's number there.
type refusal struct {
	errno syscall.Errno
	why   string // "" if it does not say
}

// Error returns the other side's words.
func (r *refusal) Error() string {
	if r.why == "" {
		return fmt.Sprintf("WireGuard refused: %v", r.errno)
	}
	return r.why
}

// Unwrap returns the number.
func (r *refusal) Unwrap() error { return r.errno }

// errText is all that an error says of text that it does not quote: it may have
// a key in it.
var errText = errors.New("not what it should be")

// readState prepares to read into s.
func readState(s *gateway.State) *reader {
	s.Interface.Key, s.Interface.Port, s.Interface.Mark = wgkey.Private{}, 0, 0
	s.Peers = s.Peers[:0]
	return &reader{to: s}
}

// Write reads whole lines of b, and keeps what is left.
func (r *reader) Write(b []byte) (int, error) {
	all := len(b)
	for r.bad == nil {
		line, after, whole := bytes.Cut(b, []byte{'\n'})
		if !whole {
			r.rest = append(r.rest, b...)
			break
		}
		if len(r.rest) > 0 {
			r.rest = append(r.rest, line...)
			line = r.rest
		}
		r.bad = r.line(line)
		r.rest, b = r.rest[:0], after
	}
	return all, r.bad
}

// end says whether everything was read, to the last line's end.
func (r *reader) end() error {
	if r.bad == nil && len(r.rest) > 0 {
		return errors.New("the answer ends within a line")
	}
	return r.bad
}

// line reads one line.
func (r *reader) line(line []byte) error {
	if len(line) == 0 {
		return nil
	}
	name, value, ok := bytes.Cut(line, []byte{'='})
	if !ok {
		return fmt.Errorf("a line without =: %w", errText)
	}
	err := r.field(string(name), value)
	if no := (*refusal)(nil); err == nil || errors.As(err, &no) {
		return err
	}
	return fmt.Errorf("%s: %w", name, err)
}

// field takes one field of the device or of the peer that was named last.
func (r *reader) field(name string, value []byte) error {
	i := &r.to.Interface
	switch name {
	case "private_key":
		k, err := key(value)
		i.Key = wgkey.PrivateFrom(k)
		return err
	case "listen_port":
		n, err := number(value, 16)
		i.Port = uint16(n)
		return err
	case "fwmark":
		n, err := number(value, 32)
		i.Mark = uint32(n)
		return err
	case "message": // ours: why the number that follows is not 0
		r.why, _ = strconv.Unquote(string(value))
		return nil
	case "errno":
		n, err := strconv.ParseInt(string(value), 10, 32)
		switch {
		case err != nil:
			return errText
		case n != 0:
			return &refusal{syscall.Errno(max(n, -n)), r.why}
		}
		return nil
	case "public_key":
		k, err := key(value)
		grow(r.to).Key = k
		r.sec = 0
		return err
	}
	if len(r.to.Peers) == 0 {
		return nil
	}
	return r.peer(name, value, &r.to.Peers[len(r.to.Peers)-1])
}

// peer takes one field of p.
func (r *reader) peer(name string, value []byte, p *gateway.PeerState) (err error) {
	var n uint64
	switch name {
	case "preshared_key":
		var k [wgkey.Size]byte
		k, err = key(value)
		p.Preshared = wgkey.PresharedFrom(k)
	case "endpoint":
		var e netip.AddrPort
		err = e.UnmarshalText(value)
		p.Endpoint = netip.AddrPortFrom(e.Addr().Unmap(), e.Port())
	case "allowed_ip":
		var a netip.Prefix
		if err = a.UnmarshalText(value); err == nil {
			p.AllowedIPs = append(p.AllowedIPs, a.Masked())
		}
	case "persistent_keepalive_interval":
		n, err = number(value, 16)
		p.Keepalive = time.Duration(n) * time.Second
	case "last_handshake_time_sec":
		n, err = number(value, 33)
		r.sec = time.Duration(n) * time.Second
	case "last_handshake_time_nsec":
		n, err = number(value, 30)
		p.Handshake = time.Time{}
		if at := r.sec + time.Duration(n); at != 0 {
			p.Handshake = time.Unix(0, int64(at))
		}
	case "rx_bytes":
		p.Rx, err = number(value, 64)
	case "tx_bytes":
		p.Tx, err = number(value, 64)
	}
	return err
}

// grow adds a peer to s in memory that s had for one before, and returns it.
func grow(s *gateway.State) *gateway.PeerState {
	n := len(s.Peers)
	if n == cap(s.Peers) {
		s.Peers = append(s.Peers, gateway.PeerState{})
	}
	s.Peers = s.Peers[:n+1]
	p := &s.Peers[n]
	*p = gateway.PeerState{AllowedIPs: p.AllowedIPs[:0]}
	return p
}

func key(value []byte) (k [wgkey.Size]byte, err error) {
	if len(value) != hex.EncodedLen(len(k)) {
		return k, errText
	}
	if _, err := hex.Decode(k[:], value); err != nil {
		return [wgkey.Size]byte{}, errText // hex says which byte, and that may be of a secret
	}
	return k, nil
}

func number(value []byte, bits int) (uint64, error) {
	n, err := strconv.ParseUint(string(value), 10, bits)
	if err != nil {
		return 0, errText
	}
	return n, nil
}
