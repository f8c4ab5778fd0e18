//go:build linux

package wgdevice

import (
	"encoding/binary"
	"errors"
	"fmt"
	"net/netip"
	"os"
	"strconv"
	"time"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"

	"github.com/holdfastvpn/holdfast/gateway"
	"github.com/holdfastvpn/holdfast/vpn/wgkey"
)

// dumper asks the kernel for a WireGuard device with its peers. Package wgctrl
// could do that too, but it does not notice that the kernel gave up half-way
// because a peer was removed meanwhile, forgets the zone of an endpoint, and
// allocates 22 times for each peer. It is for one goroutine at a time.
type dumper struct {
	fd     int
	family uint16
	seq    uint32
	buf    []byte
}

// dumpSize is the memory for one message. The kernel makes none of more than
// 32 KiB (netlink_dump in net/netlink/af_netlink.c), and makes them as large as
// what it was asked for with before.
const dumpSize = 32 << 10

// newDumper opens a socket in the namespace of the calling thread. The module
// has to be there: without it the kernel tries to load it, or says ENOENT.
func newDumper() (*dumper, error) {
	family, err := netlink.GenlFamilyGet(unix.WG_GENL_NAME)
	if err != nil {
		return nil, err
	}
	fd, err := unix.Socket(unix.AF_NETLINK, unix.SOCK_RAW|unix.SOCK_CLOEXEC, unix.NETLINK_GENERIC)
	if err != nil {
		return nil, os.NewSyscallError("socket", err)
	}
	if err := unix.Bind(fd, &unix.SockaddrNetlink{Family: unix.AF_NETLINK}); err != nil {
		_ = unix.Close(fd)
		return nil, os.NewSyscallError("bind", err)
	}
	return &dumper{fd: fd, family: family.ID, buf: make([]byte, dumpSize)}, nil
}

func (d *dumper) close() error { return unix.Close(d.fd) }

// read overwrites the key, port and mark of s.Interface, and s.Peers: see
// wireguard.read. The error is netlink.ErrDumpInterrupted if the device was
// changed meanwhile: what is in s then may lack peers.
func (d *dumper) read(name string, s *gateway.State) error {
	s.Interface.Key, s.Interface.Port, s.Interface.Mark = wgkey.Private{}, 0, 0
	s.Peers = s.Peers[:0]
	reply, err := d.ask(name, s)
	if err != nil {
		return err
	}
	return d.finish(reply)
}

// ask asks for the device of the name; the reply goes to s.
func (d *dumper) ask(name string, s *gateway.State) (*dump, error) {
	d.seq++
	b := appendDumpRequest(d.buf[:0], d.family, d.seq, name)
	if err := unix.Sendto(d.fd, b, 0, &unix.SockaddrNetlink{Family: unix.AF_NETLINK}); err != nil {
		return nil, os.NewSyscallError("sendto", err)
	}
	return &dump{family: d.family, seq: d.seq, to: s}, nil
}

// next takes in the next datagram of the reply. The kernel looks for what to
// put into it only now.
func (d *dumper) next(reply *dump) error {
	n, from, err := unix.Recvfrom(d.fd, d.buf, unix.MSG_TRUNC)
	switch {
	case errors.Is(err, unix.EINTR):
		return nil
	case err != nil:
		return os.NewSyscallError("recvfrom", err)
	case n > len(d.buf):
		return fmt.Errorf("a message of %d bytes from the kernel: %w", n, unix.EMSGSIZE)
	}
	if a, ok := from.(*unix.SockaddrNetlink); !ok || a.Pid != 0 {
		return nil // not from the kernel
	}
	return reply.read(d.buf[:n])
}

// finish takes in all datagrams that are still to come.
func (d *dumper) finish(reply *dump) error {
	defer clear(d.buf) // there are keys in it
	for !reply.done {
		if err := d.next(reply); err != nil {
			return err
		}
	}
	if reply.interrupted {
		return netlink.ErrDumpInterrupted
	}
	return nil
}

// appendDumpRequest asks for the device of the name.
func appendDumpRequest(b []byte, family uint16, seq uint32, name string) []byte {
	at := len(b)
	e := binary.NativeEndian
	b = e.AppendUint32(b, 0)
	b = e.AppendUint16(b, family)
	b = e.AppendUint16(b, unix.NLM_F_REQUEST|unix.NLM_F_DUMP)
	b = e.AppendUint32(b, seq)
	b = e.AppendUint32(b, 0)
	b = append(b, unix.WG_CMD_GET_DEVICE, unix.WG_GENL_VERSION, 0, 0)
	b = e.AppendUint16(b, uint16(unix.NLA_HDRLEN+len(name)+1))
	b = e.AppendUint16(b, unix.WGDEVICE_A_IFNAME)
	b = append(append(b, name...), 0)
	e.PutUint32(b[at:], uint32(len(b)-at))
	return b
}

// dump takes in what the kernel answers.
type dump struct {
	family uint16
	seq    uint32
	to     *gateway.State

	done        bool
	interrupted bool
}

// errMalformed is what messages give that are not as linux/wireguard.h says.
var errMalformed = errors.New("the kernel's answer is not understood")

// read takes in one datagram. Answers to what was asked earlier are skipped.
func (d *dump) read(b []byte) error {
	for !d.done && len(b) > 0 {
		if len(b) < unix.SizeofNlMsghdr {
			return errMalformed
		}
		size, kind := binary.NativeEndian.Uint32(b), binary.NativeEndian.Uint16(b[4:])
		flags, seq := binary.NativeEndian.Uint16(b[6:]), binary.NativeEndian.Uint32(b[8:])
		if size < unix.SizeofNlMsghdr || uint64(size) > uint64(len(b)) {
			return errMalformed
		}
		body := b[unix.SizeofNlMsghdr:size]
		b = b[min((uint64(size)+unix.NLMSG_ALIGNTO-1)&^(unix.NLMSG_ALIGNTO-1), uint64(len(b))):]
		if seq != d.seq {
			continue
		}
		d.interrupted = d.interrupted || flags&unix.NLM_F_DUMP_INTR != 0
		if err := d.message(kind, body); err != nil {
			return err
		}
	}
	return nil
}

// message takes in one message.
func (d *dump) message(kind uint16, body []byte) error {
	switch kind {
	case unix.NLMSG_DONE, unix.NLMSG_ERROR:
		d.done = true
		if len(body) < 4 {
			return errMalformed
		}
		if n := int32(binary.NativeEndian.Uint32(body)); n != 0 {
			return unix.Errno(-n)
		}
		return nil
	case d.family:
		if len(body) < unix.GENL_HDRLEN {
			return errMalformed
		}
		return eachAttribute(body[unix.GENL_HDRLEN:], d.device)
	default:
		return nil
	}
}

// device takes in an attribute of the device.
func (d *dump) device(kind uint16, v []byte) (err error) {
	in := &d.to.Interface
	switch kind {
	case unix.WGDEVICE_A_PRIVATE_KEY:
		var k [wgkey.Size]byte
		k, err = array(v)
		in.Key = wgkey.PrivateFrom(k)
	case unix.WGDEVICE_A_LISTEN_PORT:
		in.Port, err = number16(v)
	case unix.WGDEVICE_A_FWMARK:
		in.Mark, err = number32(v)
	case unix.WGDEVICE_A_PEERS:
		err = eachAttribute(v, func(_ uint16, v []byte) error {
			p := grow(d.to)
			return eachAttribute(v, func(kind uint16, v []byte) error { return readPeer(p, kind, v) })
		})
	}
	return err
}

// readPeer takes over an attribute of a peer.
func readPeer(p *gateway.PeerState, kind uint16, v []byte) (err error) {
	var k [wgkey.Size]byte
	switch kind {
	case unix.WGPEER_A_PUBLIC_KEY:
		k, err = array(v)
		p.Key = wgkey.Public(k)
	case unix.WGPEER_A_PRESHARED_KEY:
		k, err = array(v)
		p.Preshared = wgkey.PresharedFrom(k)
	case unix.WGPEER_A_PERSISTENT_KEEPALIVE_INTERVAL:
		var seconds uint16
		seconds, err = number16(v)
		p.Keepalive = time.Duration(seconds) * time.Second
	case unix.WGPEER_A_LAST_HANDSHAKE_TIME:
		p.Handshake, err = instant(v)
	case unix.WGPEER_A_RX_BYTES:
		p.Rx, err = number64(v)
	case unix.WGPEER_A_TX_BYTES:
		p.Tx, err = number64(v)
	case unix.WGPEER_A_ENDPOINT:
		p.Endpoint, err = socketAddress(v)
	case unix.WGPEER_A_ALLOWEDIPS:
		err = eachAttribute(v, func(_ uint16, v []byte) error {
			prefix, err := allowedIP(v)
			p.AllowedIPs = append(p.AllowedIPs, prefix)
			return err
		})
	}
	return err
}

// eachAttribute calls f with each attribute in b.
func eachAttribute(b []byte, f func(kind uint16, v []byte) error) error {
	for len(b) > 0 {
		if len(b) < unix.NLA_HDRLEN {
			return errMalformed
		}
		size, kind := int(binary.NativeEndian.Uint16(b)), binary.NativeEndian.Uint16(b[2:])
		if size < unix.NLA_HDRLEN || size > len(b) {
			return errMalformed
		}
		if err := f(kind&typeMask, b[unix.NLA_HDRLEN:size]); err != nil {
			return err
		}
		b = b[min((size+unix.NLA_ALIGNTO-1)&^(unix.NLA_ALIGNTO-1), len(b)):]
	}
	return nil
}

// array is v as a key.
func array(v []byte) (k [wgkey.Size]byte, err error) {
	if len(v) != len(k) {
		return k, errMalformed
	}
	return [wgkey.Size]byte(v), nil
}

// What numbers of a size v holds.
func number16(v []byte) (uint16, error) {
	if len(v) != 2 {
		return 0, errMalformed
	}
	return binary.NativeEndian.Uint16(v), nil
}

func number32(v []byte) (uint32, error) {
	if len(v) != 4 {
		return 0, errMalformed
	}
	return binary.NativeEndian.Uint32(v), nil
}

func number64(v []byte) (uint64, error) {
	if len(v) != 8 {
		return 0, errMalformed
	}
	return binary.NativeEndian.Uint64(v), nil
}

// instant is v, a struct __kernel_timespec, as a time; zero is never.
func instant(v []byte) (time.Time, error) {
	if len(v) != 16 {
		return time.Time{}, errMalformed
	}
	sec, nsec := int64(binary.NativeEndian.Uint64(v)), int64(binary.NativeEndian.Uint64(v[8:]))
	if sec == 0 && nsec == 0 {
		return time.Time{}, nil
	}
	return time.Unix(sec, nsec), nil
}

// socketAddress is v, a struct sockaddr_in or sockaddr_in6. Its scope is the
// number of a link of this machine, and as a number it becomes the zone.
func socketAddress(v []byte) (netip.AddrPort, error) {
	if len(v) < 2 {
		return netip.AddrPort{}, errMalformed
	}
	switch family := binary.NativeEndian.Uint16(v); {
	case family == unix.AF_INET && len(v) == unix.SizeofSockaddrInet4:
		return netip.AddrPortFrom(netip.AddrFrom4([4]byte(v[4:8])), binary.BigEndian.Uint16(v[2:])), nil
	case family == unix.AF_INET6 && len(v) == unix.SizeofSockaddrInet6:
		a := netip.AddrFrom16([16]byte(v[8:24])).Unmap()
		if scope := binary.NativeEndian.Uint32(v[24:]); scope != 0 && a.Is6() {
			a = a.WithZone(strconv.FormatUint(uint64(scope), 10))
		}
		return netip.AddrPortFrom(a, binary.BigEndian.Uint16(v[2:])), nil
	default:
		return netip.AddrPort{}, errMalformed
	}
}

// allowedIP is the prefix that the attributes in b make.
func allowedIP(b []byte) (netip.Prefix, error) {
	var addr netip.Addr
	bits := -1
	err := eachAttribute(b, func(kind uint16, v []byte) error {
		switch {
		case kind == unix.WGALLOWEDIP_A_IPADDR:
			addr, _ = netip.AddrFromSlice(v)
		case kind == unix.WGALLOWEDIP_A_CIDR_MASK && len(v) == 1:
			bits = int(v[0])
		}
		return nil
	})
	p := netip.PrefixFrom(addr, bits).Masked()
	if err != nil || !p.IsValid() {
		return netip.Prefix{}, errMalformed
	}
	return p, nil
}
