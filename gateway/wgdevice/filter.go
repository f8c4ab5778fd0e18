//go:build linux

package wgdevice

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"slices"

	"github.com/google/nftables"
	"github.com/vishvananda/netlink/nl"
	"golang.org/x/sys/unix"
)

// filter is the table of nftables that belongs to the interface.
type filter struct {
	ns    *namespace
	link  string
	table string

	connect func() (*nftables.Conn, *nl.NetlinkSocket, error) // in the namespace of the thread

	conn *nftables.Conn           // nil until it is needed
	raw  map[int]*nl.SocketHandle // beside conn, to read rules as they are
}

func newFilter(ns *namespace, link string) *filter {
	return &filter{ns: ns, link: link, table: "holdfast-" + link, connect: connectNft}
}

// connectNft opens sockets to nftables.
func connectNft() (*nftables.Conn, *nl.NetlinkSocket, error) {
	conn, err := nftables.New(nftables.AsLasting())
	if err != nil {
		return nil, nil, err
	}
	s, err := nl.Subscribe(unix.NETLINK_NETFILTER)
	if err != nil {
		_ = conn.CloseLasting()
		return nil, nil, err
	}
	return conn, s, nil
}

// open connects to nftables in the namespace.
func (f *filter) open() error {
	if f.conn != nil {
		return nil
	}
	return f.ns.do(func() error {
		conn, s, err := f.connect()
		if err != nil {
			return filterError(err)
		}
		f.conn, f.raw = conn, map[int]*nl.SocketHandle{unix.NETLINK_NETFILTER: {Socket: s}}
		return nil
	})
}

// close lets go of the connection; it can be opened again.
func (f *filter) close() error {
	if f.conn == nil {
		return nil
	}
	err := f.conn.CloseLasting()
	for _, s := range f.raw {
		s.Close()
	}
	f.conn, f.raw = nil, nil
	return err
}

// observe says what the table asks for, and whether it is whole: exactly what
// set makes for that.
func (f *filter) observe(ctx context.Context) (masquerade []netip.Prefix, whole bool, err error) {
	const rounds = 2 // somebody may change other tables in between, and disturb the reading
	for n := 0; n < rounds && !whole && err == nil && ctx.Err() == nil; n++ {
		masquerade, whole, err = f.read(ctx)
	}
	if err != nil {
		err = fmt.Errorf("read table %s of nftables: %w", f.table, err)
		_ = f.close()
	}
	return masquerade, whole, err
}

// read is one try of observe.
func (f *filter) read(ctx context.Context) ([]netip.Prefix, bool, error) {
	if err := f.open(); err != nil {
		return nil, false, err
	}
	table, err := f.conn.ListTableOfFamily(f.table, nftables.TableFamilyINet)
	if errors.Is(err, unix.ENOENT) {
		return nil, false, nil
	}
	if err != nil {
		return nil, false, filterError(err)
	}
	whole := table.Flags == 0
	chains := f.chains(table)
	// What is in the table is counted: chains, sets, maps, objects.
	whole = whole && int(table.Use) == len(chains)
	var texts, comments []string
	for _, want := range chains {
		have, err := f.conn.ListChain(table, want.Name)
		if errors.Is(err, unix.ENOENT) {
			whole = false
			continue
		}
		if err != nil {
			return nil, false, filterError(err)
		}
		whole = whole && sameChain(have, want)
		messages, err := again(ctx, func() ([][]byte, error) {
			r := dumpRules(f.table, want.Name)
			r.Sockets = f.raw
			return r.Execute(unix.NETLINK_NETFILTER, 0)
		})
		if err != nil {
			return nil, false, filterError(err)
		}
		for _, m := range messages {
			text, comment, err := liveRule(m)
			if err != nil {
				return nil, false, err
			}
			texts, comments = append(texts, text), append(comments, comment)
		}
	}
	masquerade := prefixes(comments)
	want, err := ruleTexts(rules(f.link, masquerade))
	return masquerade, whole && slices.Equal(texts, want), err
}

// ruleTexts writes down all the rules.
func ruleTexts(list []rule) ([]string, error) {
	out := make([]string, len(list))
	for i, r := range list {
		var err error
		if out[i], err = r.text(); err != nil {
			return nil, err
		}
	}
	return out, nil
}

// chains are those of the table, in the order in which rules has their rules.
func (f *filter) chains(t *nftables.Table) []*nftables.Chain {
	accept := nftables.ChainPolicyAccept
	return []*nftables.Chain{
		{Name: chainNAT, Table: t, Type: nftables.ChainTypeNAT, Policy: &accept,
			Hooknum: nftables.ChainHookPostrouting, Priority: nftables.ChainPriorityNATSource},
		{Name: chainForward, Table: t, Type: nftables.ChainTypeFilter, Policy: &accept,
			Hooknum: nftables.ChainHookForward, Priority: nftables.ChainPriorityMangle},
	}
}

// sameChain says whether a chain is as it shall be, but for its rules.
func sameChain(have, want *nftables.Chain) bool {
	return have.Type == want.Type &&
		have.Policy != nil && *have.Policy == *want.Policy &&
		have.Hooknum != nil && *have.Hooknum == *want.Hooknum &&
		have.Priority != nil && *have.Priority == *want.Priority
}

// set makes the table, in place of the one that may be there, in one step: no
// packet meets anything between the old one and the new one.
func (f *filter) set(masquerade []netip.Prefix) error {
	if err := f.open(); err != nil {
		return err
	}
	t := f.clear()
	f.conn.AddTable(t)
	chains := map[string]*nftables.Chain{}
	for _, c := range f.chains(t) {
		chains[c.Name] = f.conn.AddChain(c)
	}
	for _, r := range rules(f.link, masquerade) {
		f.conn.AddRule(&nftables.Rule{Table: t, Chain: chains[r.chain], Exprs: r.exprs, UserData: commentData(r.comment)})
	}
	return f.flush("make")
}

// remove takes the table away, if it is there.
func (f *filter) remove() error {
	if err := f.open(); err != nil {
		if missing(err) {
			return nil // without nftables there is no table
		}
		return err
	}
	f.clear()
	if err := f.flush("remove"); err != nil && !missing(err) {
		return err
	}
	return nil
}

// clear adds to the transaction what makes sure that there is no table: it is
// an error to delete one that is not there, and none to make one that is.
func (f *filter) clear() *nftables.Table {
	t := &nftables.Table{Name: f.table, Family: nftables.TableFamilyINet}
	f.conn.AddTable(t)
	f.conn.DelTable(t)
	return t
}

// flush does the transaction.
func (f *filter) flush(what string) error {
	if err := f.conn.Flush(); err != nil {
		_ = f.close()
		return fmt.Errorf("%s table %s of nftables: %w", what, f.table, filterError(err))
	}
	return nil
}

// missing says whether err means that the kernel has no nftables, or not all of
// it.
func missing(err error) bool {
	return errors.Is(err, unix.EPROTONOSUPPORT) || errors.Is(err, unix.EAFNOSUPPORT) || errors.Is(err, unix.EOPNOTSUPP) ||
		errors.Is(err, unix.ENOENT)
}

// filterError says what the kernel lacks, and what to do.
func filterError(err error) error {
	if missing(err) {
		return fmt.Errorf("this kernel lacks nftables, or a part of it that is needed to masquerade and to clamp the MSS: "+
			"load its modules (modprobe -a nf_tables nft_chain_nat nft_masq nft_rt nft_exthdr), or enable CONFIG_NF_TABLES_INET, "+
			"NFT_NAT, NFT_MASQ, NF_NAT_MASQUERADE and NFT_EXTHDR: %w", err)
	}
	return explain(err)
}
