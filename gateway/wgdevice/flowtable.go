//go:build linux

package wgdevice

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"os"

	"github.com/vishvananda/netlink/nl"
	"golang.org/x/sys/unix"

	"github.com/holdfastvpn/holdfast/gateway"
)

// flowTable speaks with connection tracking. It is for one goroutine at a time, but
// for close.
type flowTable struct {
	file *os.File
	buf  []byte
	seq  uint32
}

const (
	// flowBuffer is the memory for one datagram: more than the kernel makes of a dump.
	flowBuffer = 64 << 10
	// flowQueue is how much of what the kernel tells may wait, in bytes, where that is
	// allowed: some thousand connections that change at once.
	flowQueue = 8 << 20
	// flowBatch is how many connections are made by one call: all answers to it fit into
	// the queue of a socket as it is by default.
	flowBatch = 64
)

// openFlowTable opens a socket in the namespace, which hears of these groups.
func openFlowTable(ns *namespace, groups ...int) (*flowTable, error) {
	var fd int
	err := ns.do(func() (err error) {
		fd, err = unix.Socket(unix.AF_NETLINK, unix.SOCK_RAW|unix.SOCK_CLOEXEC|unix.SOCK_NONBLOCK, unix.NETLINK_NETFILTER)
		return err
	})
	if err != nil {
		return nil, fmt.Errorf("connect to connection tracking: %w", explain(err))
	}
	t := &flowTable{file: os.NewFile(uintptr(fd), "conntrack"), buf: make([]byte, flowBuffer)}
	_ = unix.SetsockoptInt(fd, unix.SOL_NETLINK, unix.NETLINK_CAP_ACK, 1)
	if len(groups) > 0 && unix.SetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_RCVBUFFORCE, flowQueue) != nil {
		_ = unix.SetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_RCVBUF, flowQueue) // as much as is allowed
	}
	err = unix.Bind(fd, &unix.SockaddrNetlink{Family: unix.AF_NETLINK})
	for _, g := range groups {
		if err == nil {
			err = unix.SetsockoptInt(fd, unix.SOL_NETLINK, unix.NETLINK_ADD_MEMBERSHIP, g)
		}
	}
	if err != nil {
		return nil, errors.Join(fmt.Errorf("hear of connection tracking (modprobe nf_conntrack_netlink): %w", explain(err)), t.close())
	}
	return t, nil
}

// close has a read that is under way end.
func (t *flowTable) close() error { return t.file.Close() }

// messages reads a datagram and calls f with each message in it; v is valid until then.
func (t *flowTable) messages(f func(kind uint16, seq uint32, v []byte)) error {
	n, err := t.file.Read(t.buf)
	if err != nil {
		return err
	}
	for b := t.buf[:n]; len(b) >= unix.SizeofNlMsghdr; {
		size := int(binary.NativeEndian.Uint32(b))
		if size < unix.SizeofNlMsghdr || size > len(b) {
			return errMalformed
		}
		f(binary.NativeEndian.Uint16(b[4:]), binary.NativeEndian.Uint32(b[8:]), b[unix.SizeofNlMsghdr:size])
		b = b[min(len(b), (size+unix.NLMSG_ALIGNTO-1)&^(unix.NLMSG_ALIGNTO-1)):]
	}
	return nil
}

// dump calls f with each connection that there is, of both families.
func (t *flowTable) dump(ctx context.Context, f func(gateway.Flow)) error {
	t.seq++
	r := nl.NewNetlinkRequest(unix.NFNL_SUBSYS_CTNETLINK<<8|nl.IPCTNL_MSG_CT_GET, unix.NLM_F_DUMP)
	r.Seq = t.seq
	r.AddData(&nl.Nfgenmsg{NfgenFamily: unix.AF_UNSPEC, Version: nl.NFNETLINK_V0})
	if _, err := t.file.Write(r.Serialize()); err != nil { //nolint:misspell // of the library
		return fmt.Errorf("list connections (modprobe nf_conntrack_netlink): %w", explain(err))
	}
	for done, failed := false, error(nil); ; {
		err := t.messages(func(kind uint16, seq uint32, v []byte) {
			switch {
			case seq != t.seq: // of an earlier one
			case kind == unix.NLMSG_DONE:
				done = true
			case kind == unix.NLMSG_ERROR:
				done, failed = true, ackError(v)
			default:
				if flow, news := parseFlow(kind, v); news == flowIs {
					f(flow)
				}
			}
		})
		if err = errors.Join(err, failed, ctx.Err()); err != nil {
			return fmt.Errorf("list connections: %w", explain(err))
		}
		if done {
			return nil
		}
	}
}

// add makes connections, but for those that are in the way of others that are there.
// It goes on when one is refused, and returns what was said of the first.
func (t *flowTable) add(ctx context.Context, flows []gateway.Flow) error {
	var refused error
	var b []byte
	for count := 0; len(flows) > 0; {
		if err := ctx.Err(); err != nil {
			return err
		}
		n := min(len(flows), flowBatch)
		b = b[:0]
		first := t.seq + 1
		for _, f := range flows[:n] {
			t.seq++
			b = appendFlow(b, f, t.seq)
		}
		if _, err := t.file.Write(b); err != nil {
			return fmt.Errorf("take over connections: %w", explain(err))
		}
		for answers := 0; answers < n; {
			err := t.messages(func(kind uint16, seq uint32, v []byte) {
				if kind != unix.NLMSG_ERROR || seq-first >= uint32(n) {
					return
				}
				answers++
				err := ackError(v)
				if err == nil || errors.Is(err, unix.EEXIST) {
					return
				}
				if count++; count == 1 {
					refused = fmt.Errorf("take over the connection from %s to %s: %w", flows[seq-first].From, flows[seq-first].To, err)
				}
			})
			if err != nil {
				return fmt.Errorf("take over connections: %w", explain(err))
			}
		}
		flows = flows[n:]
	}
	return refused
}

// ackError is what an answer says.
func ackError(v []byte) error {
	if len(v) < 4 {
		return errMalformed
	}
	if n := int32(binary.NativeEndian.Uint32(v)); n != 0 {
		return unix.Errno(-n)
	}
	return nil
}
