//go:build linux

package wgdevice_test

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"

	"github.com/holdfastvpn/holdfast/gateway"
	"github.com/holdfastvpn/holdfast/gateway/wgdevice"
	"github.com/holdfastvpn/holdfast/internal/testnet"
	"github.com/holdfastvpn/holdfast/internal/testnet/vm"
	"github.com/holdfastvpn/holdfast/vpn/wgkey"
)

// sockets is where the processes of these tests are spoken to.
const sockets = "/tmp/holdfast-wgdevice-test"

// What this program is, by its first argument, when a test starts it.
const (
	serveArg = "wgdevice-serve" // what Config.Process starts
	holdArg  = "wgdevice-hold"  // a gateway (see hold)
)

// command is a Config.Process: this program.
func command() []string {
	self, err := os.Executable()
	if err != nil {
		panic(err)
	}
	return []string{self, serveArg}
}

// main runs the tests, or is one of the programs that they start.
func main(m *testing.M) {
	switch {
	case len(os.Args) == 3 && os.Args[1] == serveArg:
		if err := serve(os.Args[2]); err != nil {
			say(err)
			os.Exit(1)
		}
	case len(os.Args) == 3 && os.Args[1] == holdArg:
		hold(os.Args[2])
	default:
		testnet.Main(m)
	}
}

// say writes a line for the test that started this program.
func say(what any) {
	if _, err := fmt.Fprintln(os.Stdout, what); err != nil {
		os.Exit(1) // nobody is there to hear
	}
}

func serve(name string) error {
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGTERM)
	defer stop()
	return wgdevice.Serve(ctx, name, nil)
}

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

// servers are the processes of interfaces in the host's namespace.
func servers(tb testing.TB, h *testnet.Host) (pids []int) {
	tb.Helper()
	var at, is unix.Stat_t
	require.NoError(tb, unix.Fstat(int(h.NS()), &at))
	all, err := filepath.Glob("/proc/[0-9]*")
	require.NoError(tb, err)
	for _, dir := range all {
		line, err := os.ReadFile(dir + "/cmdline")
		if err != nil || !strings.Contains(string(line), "\x00"+serveArg+"\x00") {
			continue
		}
		if unix.Stat(dir+"/ns/net", &is) == nil && is.Dev == at.Dev && is.Ino == at.Ino {
			pid, err := strconv.Atoi(filepath.Base(dir))
			require.NoError(tb, err)
			pids = append(pids, pid)
		}
	}
	return pids
}

// server is the process of the one interface there; one that has just given it up
// may take a moment to end.
func server(tb testing.TB, h *testnet.Host) (pid int) {
	tb.Helper()
	testnet.Eventually(tb, patience, func() error {
		pids := servers(tb, h)
		if len(pids) != 1 {
			return fmt.Errorf("there are %v", pids)
		}
		pid = pids[0]
		return nil
	})
	return pid
}

// noServers waits until all of them have ended.
func noServers(tb testing.TB, h *testnet.Host) {
	tb.Helper()
	testnet.Eventually(tb, patience, func() error {
		if pids := servers(tb, h); len(pids) > 0 {
			return fmt.Errorf("still there: %v", pids)
		}
		return nil
	})
}

// socketAt is where the process of the host's interface is spoken to.
func socketAt(tb testing.TB, h *testnet.Host) string {
	tb.Helper()
	var s unix.Stat_t
	require.NoError(tb, unix.Fstat(int(h.NS()), &s))
	return fmt.Sprintf("%s/wg0.%d", sockets, s.Ino)
}

// apart runs a test of processes of their own. They are not for the machine with
// WireGuard in its kernel.
func apart(t *testing.T, test func(t *testing.T, h *testnet.Host)) {
	t.Helper()
	testnet.Need(t, testnet.Netns, testnet.TUN, testnet.Nftables)
	if vm.Inside() != "" {
		t.Log("nothing to test: this is about user space")
		return
	}
	test(t, testnet.ForTest(t).Host("gw"))
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

// A process that is killed takes its interface with it. That is noticed, and
// another takes its place, in spite of the socket that was left.
func TestServerKilled(t *testing.T) { apart(t, testServerKilled) }

func testServerKilled(t *testing.T, h *testnet.Host) {
	d := open(t, inside(h, process))
	want := gate(others(3)...)
	for range 5 {
		reconcile(t, d, want)
		pid, changes := server(t, h), d.Changes(t.Context())
		require.NoError(t, unix.Kill(pid, unix.SIGKILL))
		select {
		case <-changes:
		case <-time.After(patience):
			require.Fail(t, "not noticed")
		}
		require.FileExists(t, socketAt(t, h))
		testnet.Eventually(t, patience, func() error {
			var s gateway.State
			if err := d.Observe(t.Context(), &s); err != nil {
				return err
			}
			if s.Exists {
				return errors.New("it is still there")
			}
			return nil
		})
		reconcile(t, d, want) // at once: the port is free
		require.NotEqual(t, pid, server(t, h))
	}
}

// What ends a process is a signal that is meant for it, the end of its link, and
// nothing that happens to who started it.
func TestServerEnds(t *testing.T) { apart(t, testServerEnds) }

func testServerEnds(t *testing.T, h *testnet.Host) {
	d := open(t, inside(h, process))
	want := gate(others(1)...)
	reconcile(t, d, want)
	pid := server(t, h)
	session, err := unix.Getsid(pid)
	require.NoError(t, err)
	require.Equal(t, pid, session)
	require.NoError(t, unix.Kill(pid, unix.SIGHUP))
	require.NoError(t, d.Close())
	d = open(t, inside(h, process))
	require.Empty(t, gateway.Diff(want, observe(t, d)))
	require.Equal(t, pid, server(t, h))

	require.NoError(t, unix.Kill(pid, unix.SIGTERM))
	noServers(t, h)
	require.NoFileExists(t, socketAt(t, h))
	require.False(t, observe(t, d).Exists)
	reconcile(t, d, want)
	run(t, h, "ip", "link", "delete", "wg0")
	noServers(t, h)
	require.NoFileExists(t, socketAt(t, h))
}

// An interface that somebody renamed ends with the one that takes its place.
func TestServerRenamed(t *testing.T) { apart(t, testServerRenamed) }

func testServerRenamed(t *testing.T, h *testnet.Host) {
	d := open(t, inside(h, process))
	want := gate(others(1)...)
	for _, again := range []bool{true, false} {
		reconcile(t, d, want)
		run(t, h, "sh", "-ec", "ip link set wg0 down; ip link set wg0 name other")
		require.False(t, observe(t, d).Exists)
		require.NoError(t, d.Close())
		d = open(t, inside(h, process)) // knows nothing of it
		if again {
			reconcile(t, d, want)
			server(t, h)
		} else {
			require.NoError(t, d.Apply(t.Context(), gateway.Plan{{Verb: gateway.Destroy}}))
			noServers(t, h)
		}
		require.NotContains(t, run(t, h, "ip", "link"), "other")
	}
}

// Without the mark an interface is still ours for who knew it, and nobody else's.
func TestServerWithoutMark(t *testing.T) { apart(t, testServerWithoutMark) }

func testServerWithoutMark(t *testing.T, h *testnet.Host) {
	d := open(t, inside(h, process))
	want := gate(others(1)...)
	reconcile(t, d, want)
	for _, mark := range []string{"", "mine", "holdfast userspace 1", "holdfast userspace", "holdfast userspace x"} {
		run(t, h, "ip", "link", "set", "wg0", "alias", mark)
		require.Empty(t, gateway.Diff(want, observe(t, d)))
		_, err := wgdevice.Open(inside(h, process))
		require.ErrorIs(t, err, gateway.ErrForeign, mark)
	}
	run(t, h, "ip", "link", "set", "wg0", "alias", fmt.Sprintf("holdfast userspace %d", server(t, h)))
	other := open(t, inside(h, process))
	require.Empty(t, gateway.Diff(want, observe(t, other)))
	own := inside(h, wgdevice.Userspace)
	_, err := wgdevice.Open(own)
	require.ErrorIs(t, err, gateway.ErrForeign, "who did not ask for processes does not look for them")
}

// A socket that was taken away comes back. What somebody puts in its place is
// told nothing.
func TestSocketTaken(t *testing.T) { apart(t, testSocketTaken) }

func testSocketTaken(t *testing.T, h *testnet.Host) {
	d := open(t, inside(h, process))
	want := gate(others(1)...)
	reconcile(t, d, want)
	path := socketAt(t, h)
	found := func() {
		t.Helper()
		testnet.Eventually(t, patience, func() error {
			other, err := wgdevice.Open(inside(h, process))
			if err != nil {
				return err
			}
			require.Empty(t, gateway.Diff(want, observe(t, other)))
			return other.Close()
		})
		is, err := os.Lstat(path)
		require.NoError(t, err)
		require.Equal(t, os.ModeSocket|0o600, is.Mode())
		is, err = os.Lstat(sockets)
		require.NoError(t, err)
		require.Equal(t, os.ModeDir|0o700, is.Mode())
	}
	found()
	for _, take := range []func() error{
		func() error { return os.Remove(path) },
		func() error { return errors.Join(os.Remove(path), os.WriteFile(path, nil, 0o600)) },
	} {
		require.NoError(t, take())
		require.Empty(t, gateway.Diff(want, observe(t, d)), "who knew it does not need it")
		found()
	}

	require.NoError(t, os.Remove(path))
	l, err := net.ListenUnix("unix", &net.UnixAddr{Name: path, Net: "unix"})
	require.NoError(t, err)
	l.SetUnlinkOnClose(false) // by then it is not there any more
	heard := make(chan int, 1)
	go func() {
		c, err := l.Accept()
		if err != nil {
			heard <- 0
			return
		}
		n, _ := io.Copy(io.Discard, c)
		heard <- int(n)
	}()
	_, err = wgdevice.Open(inside(h, process))
	require.ErrorIs(t, err, gateway.ErrForeign)
	found()
	require.NoError(t, l.Close())
	require.Zero(t, <-heard)
}

// Sockets that take private keys are not put where others can go.
func TestSocketDirectory(t *testing.T) { apart(t, testSocketDirectory) }

func testSocketDirectory(t *testing.T, h *testnet.Host) {
	open := func(dir string) error {
		c := inside(h, process)
		c.Sockets = dir
		d, err := wgdevice.Open(c)
		if err != nil {
			return err
		}
		err = d.Apply(t.Context(), gateway.Diff(gate(), gateway.State{}))
		return errors.Join(err, d.Apply(t.Context(), gateway.Plan{{Verb: gateway.Destroy}}), d.Close())
	}
	wide := filepath.Join(t.TempDir(), "wide")
	require.NoError(t, os.Mkdir(wide, 0o755)) // that is the point
	err := open(wide)
	require.ErrorIs(t, err, syscall.EPERM)
	require.ErrorContains(t, err, "nobody else may enter")
	require.NoError(t, os.Symlink(t.TempDir(), wide+"2"))
	require.ErrorContains(t, open(wide+"2"), "is not a directory of user")
	require.ErrorContains(t, open("/"+strings.Repeat("long/", 30)), "too long for a socket")
	require.ErrorContains(t, open("here"), "no absolute path")
	require.NoError(t, open(filepath.Join(t.TempDir(), "new", "one")))

	c := inside(h, process)
	c.Process = []string{"gateway", "device"}
	_, err = wgdevice.Open(c)
	require.ErrorContains(t, err, "no absolute path of a program")
	for program, says := range map[string]string{"/bin/true": "is that a program that calls wgdevice.Serve?", "/nowhere": "no such file"} {
		c.Process = []string{program}
		d, err := wgdevice.Open(c)
		require.NoError(t, err)
		require.ErrorContains(t, d.Apply(t.Context(), gateway.Diff(gate(), gateway.State{})), says)
		require.NoError(t, d.Close())
	}
	noServers(t, h)
}

// proves P15: others on this machine see no key, nor anything else that the
// gateway was started with.
func TestServerShowsNothing(t *testing.T) { apart(t, testServerShowsNothing) }

func testServerShowsNothing(t *testing.T, h *testnet.Host) {
	t.Setenv("HOLDFAST_SOMETHING", "hush")
	d := open(t, inside(h, process))
	want := gate(others(1)...)
	want.Interface.Key = wgkey.NewPrivate()
	reconcile(t, d, want)
	pid := server(t, h)
	for _, file := range []string{"cmdline", "environ"} {
		b, err := os.ReadFile(fmt.Sprintf("/proc/%d/%s", pid, file))
		require.NoError(t, err)
		require.NotContains(t, string(b), "hush")
		require.NotContains(t, string(b), want.Interface.Key.RevealText())
		require.NotContains(t, string(b), fmt.Sprintf("%x", want.Interface.Key.Reveal()))
	}
}

// However many come and go, the process keeps nothing of them.
func TestServerLeaksNothing(t *testing.T) { apart(t, testServerLeaksNothing) }

func testServerLeaksNothing(t *testing.T, h *testnet.Host) {
	d := open(t, inside(h, process))
	reconcile(t, d, gate(others(1)...))
	dir := fmt.Sprintf("/proc/%d/fd", server(t, h))
	count := func() int {
		list, err := os.ReadDir(dir)
		require.NoError(t, err)
		return len(list)
	}
	before := count()
	for range 50 {
		other, err := wgdevice.Open(inside(h, process))
		require.NoError(t, err)
		observe(t, other)
		require.NoError(t, other.Close())
	}
	testnet.Eventually(t, patience, func() error {
		if n := count(); n > before {
			return fmt.Errorf("%d files, there were %d", n, before)
		}
		return nil
	})
}

// Started by hand it says what it is for.
func TestServeByHand(t *testing.T) {
	for name, says := range map[string]string{"wg0": "for the gateway to start, and not by hand", "a b": "has the character"} {
		out, err := exec.CommandContext(t.Context(), command()[0], serveArg, name).CombinedOutput()
		require.Error(t, err)
		require.Contains(t, string(out), says)
	}
}
