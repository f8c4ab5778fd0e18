//go:build linux

package wgdevice_test

import (
	"errors"
	"fmt"
	"iter"
	"net"
	"net/netip"
	"slices"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"

	"github.com/holdfastvpn/holdfast/gateway"
	"github.com/holdfastvpn/holdfast/gateway/wgdevice"
	"github.com/holdfastvpn/holdfast/internal/testnet"
	"github.com/holdfastvpn/holdfast/internal/testnet/vm"
)

// heardFlows follows what a device tells of connections.
type heardFlows struct {
	next func() (gateway.FlowChange, bool)
	here []netip.Addr
	all  map[gateway.Flow]bool
}

func (f *fronted) follow(t *testing.T) *heardFlows {
	t.Helper()
	next, stop := iter.Pull(f.gate.Flows(t.Context(), f.wantGate.Interface))
	t.Cleanup(stop)
	h := &heardFlows{next: next}
	c, ok := next()
	require.True(t, ok)
	h.here, h.all = c.Here, map[gateway.Flow]bool{}
	return h
}

// until reads on until there are exactly these connections.
func (h *heardFlows) until(t *testing.T, want ...gateway.Flow) {
	t.Helper()
	for late := time.Now().Add(2 * patience); ; { // all is looked at each 30 s
		c, ok := h.next()
		require.True(t, ok, "it has ended")
		require.True(t, time.Now().Before(late), "told %v at %v, want %v", h.all, h.here, want)
		h.here = c.Here
		if c.All {
			h.all = map[gateway.Flow]bool{}
		}
		for _, f := range c.Ended {
			delete(h.all, f)
		}
		for _, f := range c.Began {
			h.all[f] = true
		}
		if len(h.all) == len(want) && !slices.ContainsFunc(want, func(f gateway.Flow) bool { return !h.all[f] }) && (c.All || len(c.Began)+len(c.Ended) > 0) {
			return
		}
	}
}

// flow is how the gateway translates it, with the port kept.
func (c conversation) flow(t *testing.T) gateway.Flow {
	t.Helper()
	seen := endOf(t, c.server.RemoteAddr())
	return gateway.Flow{
		From: endOf(t, c.client.LocalAddr()), To: endOf(t, c.client.RemoteAddr()),
		Inner: netip.AddrPortFrom(seen.Addr().Unmap(), seen.Port()),
	}
}

// hang has the host forget a connection.
func hang(h *testnet.Host, f gateway.Flow) error {
	family := netlink.InetFamily(unix.AF_INET)
	if f.From.Addr().Is6() {
		family = unix.AF_INET6
	}
	return h.Do(func() error {
		_, err := netlink.ConntrackDeleteFilters(netlink.ConntrackTable, family, exactly(f))
		return err
	})
}

// exactly matches one connection.
type exactly gateway.Flow

// MatchConntrackFlow implements netlink.CustomConntrackFilter.
func (f exactly) MatchConntrackFlow(c *netlink.ConntrackFlow) bool {
	return c.Forward.SrcIP.Equal(f.From.Addr().AsSlice()) && c.Forward.SrcPort == f.From.Port() &&
		c.Forward.DstIP.Equal(f.To.Addr().AsSlice()) && (c.Forward.Protocol == unix.IPPROTO_UDP) == f.UDP
}

// Connections are told when they are established and when they are not any more.
func TestFlowsAreTold(t *testing.T) { each(t, testFlowsAreTold) }

func testFlowsAreTold(t *testing.T, back wgdevice.Backend) {
	f := newFronted(t, back)
	before := f.connect(t, "10.60.0.2:80")
	h := f.follow(t)
	require.Equal(t, f.inner, h.here)
	h.until(t, before.flow(t))
	six, reset := f.connect(t, "[fd60::2]:80"), f.connect(t, "10.60.0.2:81")
	h.until(t, before.flow(t), six.flow(t), reset.flow(t))
	require.NoError(t, reset.client.SetLinger(0))
	require.NoError(t, reset.client.Close())
	h.until(t, before.flow(t), six.flow(t))

	// Of UDP, those that go on to and fro.
	l, err := f.lan.ListenUDP(at("10.60.0.2:53"))
	require.NoError(t, err)
	c, err := f.client.DialUDP(t.Context(), netip.AddrPort{}, at("10.60.0.2:53"))
	require.NoError(t, err)
	var seen netip.AddrPort
	stop := make(chan struct{})
	done := make(chan struct{})
	go func() { // an exchange now is one more in 2 s, when it is a stream to the kernel
		defer close(done)
		tick := time.NewTicker(200 * time.Millisecond)
		defer tick.Stop()
		b := make([]byte, 9)
		for {
			_, _ = c.Write([]byte("?"))
			if _, from, err := l.ReadFromUDPAddrPort(b); err == nil {
				seen = from
				_, _ = l.WriteToUDPAddrPort(b[:1], from)
			}
			select {
			case <-stop:
				return
			case <-tick.C:
			}
		}
	}()
	own := c.LocalAddr().(*net.UDPAddr).AddrPort() //nolint:forcetypeassert,errcheck // it is one of UDP
	udp := gateway.Flow{UDP: true, From: own, To: at("10.60.0.2:53"), Inner: netip.AddrPortFrom(f.inner[0], own.Port())}
	h.until(t, before.flow(t), six.flow(t), udp)
	close(stop)
	<-done
	require.Equal(t, own.Port(), seen.Port())
	require.NoError(t, six.client.Close())
	require.NoError(t, six.server.Close())
	h.until(t, before.flow(t), udp)

	// Of one that began before anybody listened the kernel may tell nothing more: it is
	// looked for, now and then.
	if vm.Inside() == vm.Virtual {
		require.NoError(t, errors.Join(before.client.Close(), before.server.Close()))
		h.until(t, udp)
	}
}

// What is forgotten with an address is not told as ended; one that comes back is told
// before what there is of it.
func TestFlowsOfAnAddressThatLeavesDoNotEnd(t *testing.T) {
	each(t, testFlowsOfAnAddressThatLeavesDoNotEnd)
}

func testFlowsOfAnAddressThatLeavesDoNotEnd(t *testing.T, back wgdevice.Backend) {
	f := newFronted(t, back)
	f.wantGate.Interface.Floating, f.wantGate.Interface.Mark = addrs("192.0.2.10"), moves
	reconcile(t, f.gate, f.wantGate)
	f.gate.Own(t.Context(), f.wantGate.Interface)
	four, six := f.connect(t, "10.60.0.2:80"), f.connect(t, "[fd60::2]:80")
	h := f.follow(t)
	h.until(t, four.flow(t), six.flow(t))
	require.NoError(t, move(f.gw, "lan0", f.inner[0], false))
	for !slices.Equal(h.here, f.inner[1:]) {
		c, ok := h.next()
		require.True(t, ok)
		require.Empty(t, c.Ended)
		h.here = c.Here
	}
	testnet.Eventually(t, patience, func() error {
		if n := f.flows(t, f.inner[0]); n > 0 {
			return fmt.Errorf("%d connections are remembered", n)
		}
		return nil
	})
	require.NoError(t, move(f.gw, "lan0", f.inner[0], true))
	for !slices.Equal(h.here, f.inner) {
		c, ok := h.next()
		require.True(t, ok)
		require.Empty(t, c.Ended)
		h.here = c.Here
		if slices.Equal(h.here, f.inner) {
			require.False(t, c.All)
			require.Empty(t, c.Began)
		}
	}
	require.NoError(t, f.gate.Adopt(t.Context(), f.wantGate.Interface, []gateway.Flow{four.flow(t)}))
	h.until(t, four.flow(t), six.flow(t))
	says(t, four.server, four.client, "hello")
}

// A gateway that knows of a connection from another one passes on what the server says,
// although its client says nothing.
func TestAdoptedFlowsGoOn(t *testing.T) { each(t, testAdoptedFlowsGoOn) }

func testAdoptedFlowsGoOn(t *testing.T, back wgdevice.Backend) {
	f := newFronted(t, back)
	for _, to := range []string{"10.60.0.2:80", "[fd60::2]:80"} {
		c := f.connect(t, to)
		says(t, c.client, c.server, "hello")
		for range 3 { // there and back again
			c.acknowledged(t)
			f.replaced(t)
			for range 2 { // what is there already stays
				require.NoError(t, f.gate.Adopt(t.Context(), f.wantGate.Interface, []gateway.Flow{c.flow(t)}))
			}
			says(t, c.server, c.client, "are you there?")
			says(t, c.client, c.server, "I am")
			says(t, c.server, c.client, "good")
		}
		// Far more than a window, either way.
		c.acknowledged(t)
		f.replaced(t)
		require.NoError(t, f.gate.Adopt(t.Context(), f.wantGate.Interface, []gateway.Flow{c.flow(t)}))
		big := string(make([]byte, 1<<20))
		for _, way := range [][2]*net.TCPConn{{c.server, c.client}, {c.client, c.server}} {
			failed := make(chan error, 1)
			go func() {
				_, err := way[0].Write([]byte(big))
				failed <- err
			}()
			hears(t, way[1], big)
			require.NoError(t, <-failed)
		}
		// It ends as others do.
		require.NoError(t, c.server.CloseWrite())
		_, err := c.client.Read(make([]byte, 1))
		require.Error(t, err)
		require.NoError(t, c.client.CloseWrite())
		_, err = c.server.Read(make([]byte, 1))
		require.Error(t, err)
	}
}

// Two clients with one port at one server are told apart, since ports are told.
func TestAdoptedFlowsKeepTheirPort(t *testing.T) { each(t, testAdoptedFlowsKeepTheirPort) }

func testAdoptedFlowsKeepTheirPort(t *testing.T, back wgdevice.Backend) {
	f := newFronted(t, back)
	require.NoError(t, f.client.Addr("wg0", prefix("10.20.0.3/32")))
	f.wantGate.Peers[0].AllowedIPs = append(f.wantGate.Peers[0].AllowedIPs, prefix("10.20.0.3/32"))
	slices.SortFunc(f.wantGate.Peers[0].AllowedIPs, netip.Prefix.Compare)
	reconcile(t, f.gate, f.wantGate)
	l, err := f.lan.ListenTCP(at("10.60.0.2:80"))
	require.NoError(t, err)
	var both []conversation
	var flows []gateway.Flow
	for _, from := range []string{"10.20.0.2:5000", "10.20.0.3:5000"} {
		c, err := f.client.DialTCP(t.Context(), at(from), at("10.60.0.2:80"))
		require.NoError(t, err)
		s, err := l.AcceptTCP()
		require.NoError(t, errors.Join(err, c.SetDeadline(time.Now().Add(patience)), s.SetDeadline(time.Now().Add(patience))))
		both = append(both, conversation{c, s})
		flows = append(flows, both[len(both)-1].flow(t))
	}
	require.NotEqual(t, flows[0].Inner, flows[1].Inner)
	for _, c := range both {
		says(t, c.client, c.server, "hello")
		c.acknowledged(t)
	}
	f.replaced(t)
	slices.Reverse(flows)
	require.NoError(t, f.gate.Adopt(t.Context(), f.wantGate.Interface, flows))
	for i := range both { // the second first, which has another port
		c := both[1-i]
		says(t, c.client, c.server, "me")
		says(t, c.server, c.client, "you")
	}
}

// What is adopted lets nothing pass that is kept out otherwise, nor anything to a peer
// that is gone; and what is none of the location's is not adopted.
func TestAdoptedFlowsGrantNothing(t *testing.T) { each(t, testAdoptedFlowsGrantNothing) }

func testAdoptedFlowsGrantNothing(t *testing.T, back wgdevice.Backend) {
	f := newFronted(t, back)
	c := f.connect(t, "10.60.0.2:80")
	says(t, c.client, c.server, "hello")
	c.acknowledged(t)
	silent := func() {
		t.Helper()
		_, err := c.server.Write([]byte("x"))
		require.NoError(t, err)
		require.NoError(t, c.client.SetReadDeadline(time.Now().Add(silence)))
		_, err = c.client.Read(make([]byte, 1))
		require.True(t, isTimeout(err), err)
		require.NoError(t, c.client.SetReadDeadline(time.Now().Add(patience)))
	}
	adopt := func(flows ...gateway.Flow) {
		t.Helper()
		f.replaced(t)
		require.NoError(t, f.gate.Adopt(t.Context(), f.wantGate.Interface, flows))
	}
	own := c.flow(t)
	stranger, elsewhere, unmasked := own, own, own
	stranger.From = netip.AddrPortFrom(netip.MustParseAddr("172.16.0.9"), own.From.Port())
	elsewhere.Inner = netip.AddrPortFrom(netip.MustParseAddr("10.60.0.1"), own.From.Port())
	unmasked.To = netip.AddrPortFrom(netip.MustParseAddr("fd60::2"), 80)
	adopt(stranger, elsewhere, unmasked)
	require.Zero(t, f.flows(t, f.inner[0]))
	require.Zero(t, f.flows(t, elsewhere.Inner.Addr()))

	adopt(own)
	says(t, c.server, c.client, "it would go on")
	c.acknowledged(t)
	f.wantGate.Interface.Destinations = list("10.20.0.0/16", "172.16.0.0/16")
	reconcile(t, f.gate, f.wantGate)
	adopt(own)
	require.Equal(t, 1, f.flows(t, f.inner[0]))
	silent()

	f.wantGate.Interface.Destinations = nil
	f.wantGate.Peers = nil
	reconcile(t, f.gate, f.wantGate)
	adopt(own)
	silent()
}

// How long it takes to adopt many, by a clock that counts instructions.
func TestManyFlowsAreAdopted(t *testing.T) { each(t, testManyFlowsAreAdopted) }

func testManyFlowsAreAdopted(t *testing.T, back wgdevice.Backend) {
	const many = 10_000
	f := newFronted(t, back)
	var flows []gateway.Flow
	for i := range many {
		port := uint16(1024 + i)
		flows = append(flows, gateway.Flow{
			From: netip.AddrPortFrom(netip.AddrFrom4([4]byte{10, 20, byte(1 + i%200), 2}), port), To: at("10.60.0.2:80"),
			Inner: netip.AddrPortFrom(f.inner[0], port),
		})
	}
	h := f.follow(t)
	h.until(t)
	began := time.Now()
	require.NoError(t, f.gate.Adopt(t.Context(), f.wantGate.Interface, flows))
	took := time.Since(began)
	require.Equal(t, many, f.flows(t, f.inner[0]))
	h.until(t, flows...)
	t.Logf("%d adopted in %v, and told after %v", many, took, time.Since(began))
	began = time.Now()
	require.NoError(t, f.gate.Adopt(t.Context(), f.wantGate.Interface, flows))
	t.Logf("the same again: %v", time.Since(began))
	if vm.Inside() == vm.Virtual {
		require.Less(t, took, 2*time.Second)
	}
	// Each as it was told.
	var one *netlink.ConntrackFlow
	require.NoError(t, f.gw.Do(func() error {
		all, err := netlink.ConntrackTableList(netlink.ConntrackTable, unix.AF_INET)
		for _, c := range all {
			if c.Forward.SrcPort == 1024 {
				one = c
			}
		}
		return err
	}))
	require.NotNil(t, one)
	require.Equal(t, uint16(1024), one.Reverse.DstPort)
	require.InDelta(t, 7440, one.TimeOut, 60)
	f.replaced(t) // or the kernel would do it while the next test looks at its clock
}
