//go:build linux

package testnet

import (
	"fmt"

	"github.com/google/nftables"
	"github.com/google/nftables/binaryutil"
	"github.com/google/nftables/expr"
	"golang.org/x/sys/unix"
)

// natTable is the nftables table of [Host.Masquerade].
const natTable = "testnet_nat"

// Masquerade makes the host a home router, IPv4 and IPv6: what it forwards out
// of link carries the host's own address and a random port, and from link it
// lets in only what belongs to a flow that began behind it. It switches
// forwarding on. Once a host.
func (h *Host) Masquerade(link string) error {
	if err := h.Forward(); err != nil {
		return err
	}
	err := h.Do(func() error {
		c, err := nftables.New()
		if err != nil {
			return err
		}
		masquerade(c, link)
		return c.Flush()
	})
	if err != nil {
		return fmt.Errorf("testnet: masquerade %s of host %s: %w", link, h.name, err)
	}
	return nil
}

// masquerade writes the rules; nothing is applied before the caller flushes.
func masquerade(c *nftables.Conn, link string) {
	t := c.AddTable(&nftables.Table{Family: nftables.TableFamilyINet, Name: natTable})
	post := c.AddChain(&nftables.Chain{
		Table: t, Name: "postrouting", Type: nftables.ChainTypeNAT,
		Hooknum: nftables.ChainHookPostrouting, Priority: nftables.ChainPriorityNATSource,
	})
	c.AddRule(&nftables.Rule{Table: t, Chain: post, Exprs: append(
		device(expr.MetaKeyOIFNAME, expr.CmpOpEq, link), &expr.Masq{Random: true})})

	drop := nftables.ChainPolicyDrop
	forward := c.AddChain(&nftables.Chain{
		Table: t, Name: "forward", Type: nftables.ChainTypeFilter,
		Hooknum: nftables.ChainHookForward, Priority: nftables.ChainPriorityFilter, Policy: &drop,
	})
	accept := &expr.Verdict{Kind: expr.VerdictAccept}
	c.AddRule(&nftables.Rule{Table: t, Chain: forward, Exprs: append(known(), accept)})
	c.AddRule(&nftables.Rule{Table: t, Chain: forward, Exprs: append(
		device(expr.MetaKeyIIFNAME, expr.CmpOpNeq, link), accept)})
}

// device matches packets by the name of the device that they come or go by.
func device(key expr.MetaKey, op expr.CmpOp, link string) []expr.Any {
	name := make([]byte, unix.IFNAMSIZ)
	copy(name, link)
	return []expr.Any{
		&expr.Meta{Key: key, Register: 1},
		&expr.Cmp{Op: op, Register: 1, Data: name},
	}
}

// known matches packets of flows that the host has let through before, and
// errors about them.
func known() []expr.Any {
	states := binaryutil.NativeEndian.PutUint32(expr.CtStateBitESTABLISHED | expr.CtStateBitRELATED)
	return []expr.Any{
		&expr.Ct{Key: expr.CtKeySTATE, Register: 1},
		&expr.Bitwise{SourceRegister: 1, DestRegister: 1, Len: 4, Mask: states, Xor: make([]byte, 4)},
		&expr.Cmp{Op: expr.CmpOpNeq, Register: 1, Data: make([]byte, 4)},
	}
}
