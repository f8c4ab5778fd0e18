//go:build linux

package wgdevice_test

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/holdfastvpn/holdfast/gateway"
	"github.com/holdfastvpn/holdfast/gateway/wgdevice"
	"github.com/holdfastvpn/holdfast/internal/testnet"
	"github.com/holdfastvpn/holdfast/vpn/wgkey"
)

// kept is what a gateway of hold wants to be.
func kept() (want gateway.Config, client wgkey.Private) {
	client = wgkey.PrivateFrom([32]byte{2: 7})
	return gate(gateway.Peer{
		Key: client.Public(), Preshared: wgkey.PresharedFrom([32]byte{3: 9}), AllowedIPs: list("10.20.0.2/32", "fd20::2/128"),
	}), client
}

// hold is a gateway that makes the interface in the namespace be as kept, and says
// each time that it finds it so.
func hold(ns string) {
	want, _ := kept()
	c := wgdevice.Config{Name: "wg0", NetNS: ns, Backend: wgdevice.Userspace, Process: command(), Sockets: sockets}
	var d *wgdevice.Device
	for range time.Tick(20 * time.Millisecond) {
		var err error
		if d == nil {
			d, err = wgdevice.Open(c)
		}
		var s gateway.State
		if err == nil {
			err = d.Observe(context.Background(), &s)
		}
		if err == nil {
			plan := gateway.Diff(want, s)
			if err = d.Apply(context.Background(), plan); err == nil && len(plan) == 0 {
				say("ready")
			}
		}
		if err != nil {
			say(err)
		}
	}
}

// holder is a process that runs hold.
type holder struct {
	cmd *exec.Cmd
	out *bufio.Reader
	log bytes.Buffer
}

func startHolder(t *testing.T, h *testnet.Host) *holder {
	t.Helper()
	ns := fmt.Sprintf("/proc/%d/fd/%d", os.Getpid(), int(h.NS()))
	cmd := exec.CommandContext(t.Context(), command()[0], holdArg, ns)
	pipe, err := cmd.StdoutPipe()
	require.NoError(t, err)
	require.NoError(t, cmd.Start())
	x := &holder{cmd: cmd, out: bufio.NewReader(pipe)}
	t.Cleanup(x.kill)
	return x
}

// ready waits until the interface is as it shall be, as it sees it.
func (x *holder) ready(t *testing.T) {
	t.Helper()
	limit := time.AfterFunc(patience, x.kill)
	defer limit.Stop()
	for {
		line, err := x.out.ReadString('\n')
		x.log.WriteString(line)
		require.NoError(t, err, "the gateway said: %s", &x.log)
		if line == "ready\n" {
			return
		}
	}
}

// kill ends it at once, as kill -9 does.
func (x *holder) kill() {
	_ = x.cmd.Process.Kill()
	_ = x.cmd.Wait()
}

// proves P2: a gateway that is killed under traffic takes no packet with it.
// proves P8: nor the session; who comes next adopts it.
func TestGatewayKilled(t *testing.T) { apart(t, testGatewayKilled) }

func testGatewayKilled(t *testing.T, _ *testnet.Host) {
	net := testnet.ForTest(t)
	gw, pc := net.Host("gw"), net.Host("pc")
	require.NoError(t, errors.Join(
		net.Link(gw, "eth0", pc, "eth0"), gw.Addr("eth0", prefix("192.0.2.1/24")), pc.Addr("eth0", prefix("192.0.2.2/24")),
	))
	want, secret := kept()
	now := startHolder(t, gw)
	now.ready(t)
	end := open(t, inside(pc, wgdevice.Userspace))
	reconcile(t, end, gateway.Config{
		Interface: gateway.Interface{Key: secret, Port: 51821, MTU: 1420, Addrs: list("10.20.0.2/32")},
		Peers: []gateway.Peer{{
			Key: want.Interface.Key.Public(), Preshared: want.Peers[0].Preshared, AllowedIPs: list("10.20.0.0/16"),
			Endpoint: at("192.0.2.1:51820"),
		}},
	})
	ctx, cancel := context.WithTimeout(t.Context(), 2*patience)
	defer cancel()
	echo, err := gw.Echo(at("10.20.0.1:7"))
	require.NoError(t, err)
	probe, err := pc.Probe(testnet.ProbeConfig{To: at("10.20.0.1:7"), Every: 2 * time.Millisecond})
	require.NoError(t, err)
	_, err = probe.WaitReply(ctx, time.Time{})
	require.NoError(t, err)
	first := probe.Replies()[0].Number // before it there was no session yet
	// A client's timer may make one more handshake after REKEY_TIMEOUT, 5 s and a third,
	// where the response overtook it: from then on only a lost session makes another.
	_, err = probe.WaitReply(ctx, probe.Replies()[0].Received.Add(6*time.Second))
	require.NoError(t, err)
	pid, before := server(t, gw), find(t, observe(t, end), want.Interface.Key.Public()).Handshake

	began := time.Now()
	for range 5 {
		now.kill()
		_, err = probe.WaitReply(ctx, time.Now().Add(100*time.Millisecond))
		require.NoError(t, err, "with no gateway at all")
		now = startHolder(t, gw)
		now.ready(t)
	}
	now.kill()
	d := open(t, inside(gw, process)) // and now this process
	s := observe(t, d)
	require.Empty(t, gateway.Diff(want, s), "adopting needs no change")
	require.Equal(t, before.Unix(), find(t, s, secret.Public()).Handshake.Unix(), "another handshake")
	require.Equal(t, before, find(t, observe(t, end), want.Interface.Key.Public()).Handshake, "another handshake")
	require.Equal(t, pid, server(t, gw))
	last, err := probe.WaitReply(ctx, time.Now())
	require.NoError(t, err)
	lost := last.Number - first + 1
	for _, r := range probe.Replies() {
		if r.Number >= first && r.Number <= last.Number {
			lost--
		}
	}
	t.Logf("%d packets in %v, lost %d, longest silence %v", last.Number-first+1, time.Since(began), lost, probe.Outage(began))
	require.Zero(t, lost)
	require.Greater(t, find(t, s, secret.Public()).Rx, uint64(1000))
	require.NoError(t, errors.Join(probe.Close(), echo.Close(), d.Apply(ctx, gateway.Plan{{Verb: gateway.Destroy}})))
	noServers(t, gw)
}

// A gateway that is killed at any moment of making an interface leaves nothing
// that the next one has to be afraid of.
func TestGatewayKilledWhileMaking(t *testing.T) { apart(t, testGatewayKilledWhileMaking) }

func testGatewayKilledWhileMaking(t *testing.T, h *testnet.Host) {
	want, _ := kept()
	for i := range 12 {
		x := startHolder(t, h)
		<-time.After(time.Duration(i) * 12 * time.Millisecond) // time itself: the moment of the crash, somewhere between nothing and all
		x.kill()
		var d *wgdevice.Device
		testnet.Eventually(t, patience, func() (err error) {
			d, err = wgdevice.Open(inside(h, process))
			return err
		})
		testnet.Eventually(t, patience, func() error {
			var s gateway.State
			if err := d.Observe(t.Context(), &s); err != nil {
				return err
			}
			return d.Apply(t.Context(), gateway.Diff(want, s))
		})
		require.Empty(t, gateway.Diff(want, observe(t, d)))
		require.NoError(t, errors.Join(d.Apply(t.Context(), gateway.Plan{{Verb: gateway.Destroy}}), d.Close()))
		noServers(t, h)
	}
}

// Several gateways that want one interface at once get one between them.
func TestGatewaysRace(t *testing.T) { apart(t, testGatewaysRace) }

func testGatewaysRace(t *testing.T, h *testnet.Host) {
	all := []*holder{startHolder(t, h), startHolder(t, h), startHolder(t, h)}
	for _, x := range all {
		x.ready(t)
	}
	pid := server(t, h)
	for _, x := range all {
		for range 10 {
			x.ready(t)
		}
	}
	require.Equal(t, pid, server(t, h), "they fight")
	for _, x := range all {
		x.kill()
	}
	d := open(t, inside(h, process))
	want, _ := kept()
	require.Empty(t, gateway.Diff(want, observe(t, d)))
}
