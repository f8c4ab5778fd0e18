//go:build linux

package wgdevice

// Internal: what is planted here is a rule that differs from ours in one bit, and
// only rules() knows ours.

import (
	"errors"
	"fmt"
	"net/netip"
	"reflect"
	"slices"
	"strings"
	"syscall"
	"testing"

	"github.com/google/nftables"
	"github.com/google/nftables/expr"
	"github.com/stretchr/testify/require"
	"github.com/vishvananda/netlink/nl"
	"golang.org/x/sys/unix"

	"github.com/holdfastvpn/holdfast/gateway"
	"github.com/holdfastvpn/holdfast/internal/testnet"
	"github.com/holdfastvpn/holdfast/vpn/wgkey"
)

var someSources = []netip.Prefix{
	netip.MustParsePrefix("0.0.0.0/0"), netip.MustParsePrefix("10.20.0.0/15"), netip.MustParsePrefix("10.24.0.0/16"),
	netip.MustParsePrefix("192.168.1.77/32"), netip.MustParsePrefix("fd20::/63"), netip.MustParsePrefix("fd24::/64"),
}

var someInner = []netip.Addr{netip.MustParseAddr("10.60.0.10"), netip.MustParseAddr("fd60::10")}

// someFilter is the filter of an interface in a host of its own.
func someFilter(t *testing.T, name string) *filter {
	t.Helper()
	testnet.Need(t, testnet.Netns, testnet.Nftables)
	ns, err := openNamespace(fmt.Sprintf("/proc/self/fd/%d", int(testnet.ForTest(t).Host("gw").NS())))
	require.NoError(t, err)
	f := newFilter(ns, name)
	t.Cleanup(func() { require.NoError(t, errors.Join(f.close(), ns.Close())) })
	return f
}

func TestFilterIsReadAsItWasSet(t *testing.T) {
	f := someFilter(t, "wg0")
	for _, p := range []policy{
		{}, {masquerade: someSources}, {masquerade: someSources[:1]}, {masquerade: someSources[3:5]},
		{masquerade: someSources, inner: someInner}, {masquerade: someSources[3:], inner: someInner[:1]}, {inner: someInner[1:]},
		{isolated: true, masquerade: someSources, inner: someInner, destinations: someSources},
		{isolated: true}, {destinations: someSources}, {destinations: someSources[:1], isolated: true},
		{masquerade: someSources[1:], destinations: someSources[3:5]}, {destinations: many(300), isolated: true}, {},
	} {
		require.NoError(t, f.set(p))
		have, whole, err := f.observe(t.Context())
		require.NoError(t, err)
		require.True(t, whole)
		require.Equal(t, p, have)
	}
	require.NoError(t, f.remove())
	require.NoError(t, f.remove(), "once more")
	have, whole, err := f.observe(t.Context())
	require.NoError(t, err)
	require.False(t, whole)
	require.Empty(t, have)
}

// Every field of every expression counts, and so do comment and order.
func TestRulesAreComparedInFull(t *testing.T) {
	f := someFilter(t, "wg0")
	// With a mask, and in whole bytes.
	p := policy{masquerade: []netip.Prefix{someSources[1], someSources[5]}, destinations: someSources[4:5], isolated: true}
	plant(t, f, p)

	require.NoError(t, f.set(p))
	other := newFilter(f.ns, "wg1")
	require.NoError(t, other.set(p))
	require.NoError(t, f.write(p, rules("wg1", p)))
	_, whole, err := f.observe(t.Context())
	require.NoError(t, err)
	require.False(t, whole, "rules of another interface")
	require.NoError(t, other.close())
}

// plant changes the rules for p in all ways, one after the other, and wants each
// to be seen.
func plant(t *testing.T, f *filter, p policy) {
	t.Helper()
	require.NoError(t, f.set(p))
	require.NoError(t, f.write(p, rules("wg0", p)))
	_, whole, err := f.observe(t.Context())
	require.NoError(t, err)
	require.True(t, whole, "written by hand, the same is the same")

	right := f.kept(t)
	var planted, refused int
	try := func(list []rule, what string) {
		if f.write(p, list) != nil {
			refused++ // the kernel knows that it makes no sense
			return
		}
		if f.kept(t) == right {
			return // the library does not send it, or the kernel does not care
		}
		planted++
		have, whole, err := f.observe(t.Context())
		require.NoError(t, err)
		require.False(t, whole && have.equal(p), what)
	}
	for r := range rules("wg0", p) {
		for e := range rules("wg0", p)[r].exprs {
			for n := 0; ; n++ {
				list := rules("wg0", p)
				what, more := mutate(list[r].exprs[e], n)
				if !more {
					break
				}
				try(list, fmt.Sprintf("rule %d expression %d: %s", r, e, what))
			}
			list := rules("wg0", p)
			list[r].exprs = slices.Delete(list[r].exprs, e, e+1)
			try(list, fmt.Sprintf("rule %d without expression %d", r, e))
		}
		list := rules("wg0", p)
		list[r].comment += "x"
		try(list, fmt.Sprintf("rule %d: comment", r))
		list = rules("wg0", p)
		list[r].exprs = append([]expr.Any{&expr.Counter{}}, list[r].exprs...)
		try(list, fmt.Sprintf("rule %d: counter", r))
		try(slices.Delete(rules("wg0", p), r, r+1), fmt.Sprintf("without rule %d", r))
		if r > 0 {
			list = rules("wg0", p)
			list[r], list[r-1] = list[r-1], list[r]
			try(list, fmt.Sprintf("rules %d and %d swapped", r-1, r))
		}
	}
	t.Logf("%d changes planted, %d refused by the kernel", planted, refused)
	require.Greater(t, planted, 100, "not much of a test")
}

// many makes n networks, in order.
func many(n int) []netip.Prefix {
	out := make([]netip.Prefix, n)
	for i := range out {
		out[i] = netip.PrefixFrom(netip.AddrFrom4([4]byte{172, 16, byte(i >> 8), byte(i)}), 32)
	}
	return out
}

// write makes the table with the chains for p and these rules in place of ours.
func (f *filter) write(p policy, list []rule) error {
	f.draft(p, list)
	return f.conn.Flush()
}

// kept is what the kernel has of all rules, as it tells them, but for their
// numbers.
func (f *filter) kept(t *testing.T) string {
	t.Helper()
	var out []string
	for _, chain := range []string{chainNAT, chainForward, chainReach, chainHost, chainTo, chainFrom} {
		r := dumpRules(f.table, chain)
		r.Sockets = f.raw
		messages, err := r.Execute(unix.NETLINK_NETFILTER, 0)
		if errors.Is(err, unix.ENOENT) {
			continue // none of these
		}
		require.NoError(t, err)
		for _, m := range messages {
			out = append(out, fmt.Sprintf("%x %x %x", attribute(m, nl.SizeofNfgenmsg, unix.NFTA_RULE_CHAIN),
				attribute(m, nl.SizeofNfgenmsg, unix.NFTA_RULE_USERDATA), attribute(m, nl.SizeofNfgenmsg, unix.NFTA_RULE_EXPRESSIONS)))
		}
	}
	return strings.Join(out, "\n")
}

// mutate changes one bit of one field of e: the nth of those that it knows of,
// some of each field.
func mutate(e expr.Any, n int) (what string, more bool) {
	some := []uint{0, 1, 7}
	if testing.Short() {
		some = some[:1]
	}
	v := reflect.ValueOf(e).Elem()
	field, bit := v.NumField(), some[n%len(some)]
	if n /= len(some); n >= field {
		return "", false
	}
	switch f := v.Field(n); f.Kind() {
	case reflect.Bool:
		f.SetBool(!f.Bool())
	case reflect.String:
		f.SetString(map[string]string{chainTo: chainFrom, chainFrom: chainTo, "": chainTo}[f.String()])
	case reflect.Int64: // a verdict
		f.SetInt(f.Int() ^ 1<<bit)
	case reflect.Slice:
		b := slices.Clone(f.Bytes())
		if len(b) > 0 {
			b[int(bit)%len(b)] ^= 1 << bit
		}
		f.SetBytes(b)
	default:
		f.SetUint(f.Uint() ^ 1<<bit)
	}
	return fmt.Sprintf("%s, bit %d", v.Type().Field(n).Name, bit), true
}

// A kernel without nftables, or with half of it: a sentence, and nothing half
// made.
func TestKernelWithoutNftables(t *testing.T) {
	testnet.Need(t, testnet.Netns, testnet.TUN, testnet.Nftables)
	net := testnet.ForTest(t)
	d, err := Open(Config{Name: "wg0", Backend: Userspace, NetNS: fmt.Sprintf("/proc/self/fd/%d", int(net.Host("gw").NS()))})
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, d.Close()) })
	want := gateway.Interface{Key: wgkey.NewPrivate(), Port: 51820, MTU: 1420, Addrs: someSources[3:4]}
	create := gateway.Plan{{Verb: gateway.Configure, Fields: gateway.FieldsAll, Interface: want}}
	working := d.filter.connect
	for _, errno := range []syscall.Errno{unix.EPROTONOSUPPORT, unix.EOPNOTSUPP} {
		d.filter.connect = func() (*nftables.Conn, *nl.NetlinkSocket, error) { return nil, nil, errno }
		err = d.Apply(t.Context(), create)
		require.ErrorIs(t, err, errno)
		require.ErrorContains(t, err, "this kernel lacks nftables")
		require.ErrorContains(t, err, "modprobe")
		_, err = d.nl.LinkByName("wg0")
		require.Error(t, err, "the interface was left behind")
		require.Nil(t, engines.get(d.spot()))

		var s gateway.State
		require.NoError(t, d.Observe(t.Context(), &s))
		require.Equal(t, gateway.State{Backend: "userspace"}, s)
	}

	d.filter.connect = working
	require.NoError(t, d.Apply(t.Context(), create))
	require.NoError(t, d.filter.close())
	d.filter.connect = func() (*nftables.Conn, *nl.NetlinkSocket, error) { return nil, nil, unix.EPROTONOSUPPORT }
	var s gateway.State
	require.NoError(t, d.Observe(t.Context(), &s))
	require.False(t, s.Filtered)
	require.Len(t, s.Problems, 1)
	require.Contains(t, s.Problems[0], "this kernel lacks nftables")
	require.NoError(t, d.Apply(t.Context(), gateway.Plan{{Verb: gateway.Destroy}}), "without nftables there is no table to remove")
	_, err = d.nl.LinkByName("wg0")
	require.Error(t, err)
}

func TestComments(t *testing.T) {
	for _, s := range []string{"", "masquerade 10.0.0.0/8", strings.Repeat("x", 250)} {
		require.Equal(t, s, commentOf(commentData(s)))
	}
	require.Equal(t, "c", commentOf([]byte{7, 2, 'a', 'b', 0, 2, 'c', 0}), "after other data")
	for _, b := range [][]byte{nil, {0}, {0, 9, 'x'}, {5, 1}, {5, 0, 0}} {
		require.Empty(t, commentOf(b), "%v", b)
	}
}
