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

	"github.com/holdfastvpn/holdfast/gateway"
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

// policy is what a table is made for.
type policy struct {
	masquerade   []netip.Prefix
	inner        []netip.Addr
	destinations []netip.Prefix
	isolated     bool
}

// policyOf is what the interface asks of its table.
func policyOf(i gateway.Interface) policy {
	return policy{masquerade: i.Masquerade, inner: i.Inner, destinations: i.Destinations, isolated: i.Isolated}
}

// equal says whether both ask for the same.
func (p policy) equal(other policy) bool {
	return slices.Equal(p.masquerade, other.masquerade) && slices.Equal(p.destinations, other.destinations) &&
		slices.Equal(p.inner, other.inner) && p.isolated == other.isolated
}

// observe says what the table asks for, and whether it is whole: exactly what
// set makes for that.
func (f *filter) observe(ctx context.Context) (asks policy, whole bool, err error) {
	const rounds = 2 // somebody may change other tables in between, and disturb the reading
	for n := 0; n < rounds && !whole && err == nil && ctx.Err() == nil; n++ {
		asks, whole, err = f.read(ctx)
	}
	if err != nil {
		err = fmt.Errorf("read table %s of nftables: %w", f.table, err)
		_ = f.close()
	}
	return asks, whole, err
}

// read is one try of observe.
func (f *filter) read(ctx context.Context) (policy, bool, error) {
	if err := f.open(); err != nil {
		return policy{}, false, err
	}
	table, err := f.conn.ListTableOfFamily(f.table, nftables.TableFamilyINet)
	if errors.Is(err, unix.ENOENT) {
		return policy{}, false, nil
	}
	if err != nil {
		return policy{}, false, filterError(err)
	}
	have := map[string]*nftables.Chain{}
	var texts, comments []string
	for _, c := range chains(table, everything()) {
		if have[c.Name], err = f.conn.ListChain(table, c.Name); errors.Is(err, unix.ENOENT) {
			continue
		}
		if err != nil {
			return policy{}, false, filterError(err)
		}
		t, c, err := f.readRules(ctx, c.Name)
		if err != nil {
			return policy{}, false, err
		}
		texts, comments = append(texts, t...), append(comments, c...)
	}
	asks := asked(comments)
	want, err := ruleTexts(rules(f.link, asks))
	return asks, sameTable(table, have, chains(table, asks)) && slices.Equal(texts, want), err
}

// sameTable says whether a table and its chains are as they shall be, but for
// the rules in them.
func sameTable(t *nftables.Table, have map[string]*nftables.Chain, want []*nftables.Chain) bool {
	for _, c := range want {
		if have[c.Name] == nil || !sameChain(have[c.Name], c) {
			return false
		}
	}
	// What is in the table is counted: chains, sets, maps, objects.
	return t.Flags == 0 && int(t.Use) == len(want)
}

// readRules writes down the rules of a chain, and their comments.
func (f *filter) readRules(ctx context.Context, chain string) (texts, comments []string, err error) {
	messages, err := again(ctx, func() ([][]byte, error) {
		r := dumpRules(f.table, chain)
		r.Sockets = f.raw
		return r.Execute(unix.NETLINK_NETFILTER, 0)
	})
	if err != nil {
		return nil, nil, filterError(err)
	}
	for _, m := range messages {
		text, comment, err := liveRule(m)
		if err != nil {
			return nil, nil, err
		}
		texts, comments = append(texts, text), append(comments, comment)
	}
	return texts, comments, nil
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

// chains are those of a table for p, in the order in which rules has their
// rules.
func chains(t *nftables.Table, p policy) []*nftables.Chain {
	base := func(name string, typ nftables.ChainType, hook *nftables.ChainHook, priority *nftables.ChainPriority) *nftables.Chain {
		accept := nftables.ChainPolicyAccept
		return &nftables.Chain{Name: name, Table: t, Type: typ, Policy: &accept, Hooknum: hook, Priority: priority}
	}
	out := []*nftables.Chain{
		base(chainNAT, nftables.ChainTypeNAT, nftables.ChainHookPostrouting, nftables.ChainPriorityNATSource),
		base(chainForward, nftables.ChainTypeFilter, nftables.ChainHookForward, nftables.ChainPriorityMangle),
	}
	if len(p.inner) > 0 {
		after := *nftables.ChainPriorityNATSource + 1
		out = append(out,
			base(chainInner, nftables.ChainTypeFilter, nftables.ChainHookInput, nftables.ChainPriorityFilter),
			base(chainStray, nftables.ChainTypeFilter, nftables.ChainHookForward, nftables.ChainPriorityFilter),
			&nftables.Chain{Name: chainUnknown, Table: t},
			base(chainLoose, nftables.ChainTypeFilter, nftables.ChainHookPostrouting, &after))
	}
	if p.isolated || len(p.destinations) > 0 {
		out = append(out, base(chainReach, nftables.ChainTypeFilter, nftables.ChainHookForward, nftables.ChainPriorityFilter))
	}
	if len(p.destinations) > 0 {
		out = append(out,
			base(chainHost, nftables.ChainTypeFilter, nftables.ChainHookInput, nftables.ChainPriorityFilter),
			&nftables.Chain{Name: chainTo, Table: t},
			&nftables.Chain{Name: chainFrom, Table: t})
	}
	return out
}

// everything is a policy that has all the chains.
func everything() policy {
	return policy{inner: make([]netip.Addr, 1), destinations: make([]netip.Prefix, 1)}
}

// sameChain says whether a chain is as it shall be, but for its rules.
func sameChain(have, want *nftables.Chain) bool {
	return have.Type == want.Type && equal(have.Policy, want.Policy) &&
		equal(have.Hooknum, want.Hooknum) && equal(have.Priority, want.Priority)
}

// equal compares what may not be there.
func equal[T comparable](a, b *T) bool {
	if a == nil || b == nil {
		return a == b
	}
	return *a == *b
}

// set makes the table, in place of the one that may be there, in one step: no
// packet meets anything between the old one and the new one.
func (f *filter) set(p policy) error {
	if err := f.open(); err != nil {
		return err
	}
	f.draft(p, rules(f.link, p))
	return f.flush("make")
}

// draft adds to the transaction a table with the chains for p and these rules,
// in place of the one that may be there.
func (f *filter) draft(p policy, list []rule) {
	t := f.clear()
	f.conn.AddTable(t)
	added := map[string]*nftables.Chain{}
	for _, c := range chains(t, p) {
		added[c.Name] = f.conn.AddChain(c)
	}
	for _, r := range list {
		f.conn.AddRule(&nftables.Rule{Table: t, Chain: added[r.chain], Exprs: r.exprs, UserData: commentData(r.comment)})
	}
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
		return fmt.Errorf("this kernel lacks nftables, or a part of it that is needed to masquerade, to clamp the MSS, or to keep "+
			"peers to their destinations: load its modules (modprobe -a nf_tables nft_chain_nat nft_masq nft_rt nft_exthdr nft_ct "+
			"nft_fib_inet nft_fib_ipv4 nft_fib_ipv6), or enable CONFIG_NF_TABLES_INET, NFT_NAT, NFT_MASQ, NF_NAT_MASQUERADE, "+
			"NFT_EXTHDR, NFT_CT and NFT_FIB_INET: %w", err)
	}
	return explain(err)
}
