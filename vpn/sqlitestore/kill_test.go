package sqlitestore_test

import (
	"bytes"
	"context"
	"fmt"
	"math/rand/v2"
	"net/netip"
	"os"
	"os/exec"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/holdfastvpn/holdfast/peer"
	"github.com/holdfastvpn/holdfast/vpn"
	"github.com/holdfastvpn/holdfast/vpn/sqlitestore"
	"github.com/holdfastvpn/holdfast/vpn/wgkey"
)

const (
	// victimEnv is "ROUND PATH" of a store that this binary, started again, writes
	// to until somebody kills it.
	victimEnv = "HOLDFAST_TEST_VICTIM"
	// killsEnv is how many are killed, if not as many as on every day.
	killsEnv = "HOLDFAST_TEST_KILLS"
)

func TestMain(m *testing.M) {
	if what := os.Getenv(victimEnv); what != "" {
		round, path, _ := strings.Cut(what, " ")
		say("failed", victim(round, path))
		os.Exit(1)
	}
	os.Exit(m.Run())
}

// victim has writers that write as fast as they can, and say what they are about
// to remove and what has been acknowledged.
func victim(round, path string) error {
	ctx := context.Background()
	s, err := sqlitestore.Open(ctx, sqlitestore.Config{Path: path})
	if err != nil {
		return err
	}
	v, err := s.Feed().View(ctx, "l", vpn.Revision{})
	if err != nil {
		return err
	}
	say("epoch", v.Rev.Epoch)
	r, err := strconv.Atoi(round)
	if err != nil {
		return err
	}
	var wg sync.WaitGroup
	failed := make(chan error, 3)
	for n := range 3 {
		wg.Go(func() { failed <- write(ctx, s, r, n) })
	}
	wg.Wait()
	return <-failed
}

// say is for the one who is going to kill us.
func say(words ...any) { _, _ = fmt.Fprintln(os.Stdout, words...) }

func write(ctx context.Context, s vpn.Stores, round, n int) error {
	for i := 0; ; i++ {
		id := peer.DeviceID(fmt.Sprintf("d%d-%d-%d", round, n, i))
		unique := [16]byte{0xfd, 9: byte(round), 10: byte(n), 13: byte(i >> 16), 14: byte(i >> 8), 15: byte(i)}
		d, err := s.Devices().Update(ctx, id, func(d *peer.Device) error {
			*d = peer.Device{ID: id, Key: wgkey.Public(append(unique[:], unique[:]...)), Peers: []peer.Peer{
				{Location: "l", Addrs: []netip.Addr{netip.AddrFrom16(unique)}},
			}}
			return nil
		})
		if err != nil {
			return err
		}
		say("put", id, d.Peers[0].Rev)
		key := fmt.Sprintf("r/%d", n)
		err = s.Records().Update(ctx, key, func([]byte) ([]byte, error) { return fmt.Appendf(nil, "%d", round<<32+i), nil })
		if err != nil {
			return err
		}
		say("record", key, round<<32+i)
		if i%3 > 0 {
			continue
		}
		say("removing", id)
		_, err = s.Devices().Update(ctx, id, func(d *peer.Device) error {
			*d = peer.Device{}
			return nil
		})
		if err != nil {
			return err
		}
		say("removed", id)
	}
}

// victims starts a victim and kills it when it has said so many lines, or for as
// long as that takes at most, and a moment later. It returns what it said.
func victims(t *testing.T, round int, path string, lines int, atMost, moment time.Duration) string {
	t.Helper()
	said := &transcript{lines: lines, enough: make(chan struct{})}
	cmd := exec.CommandContext(t.Context(), os.Args[0])
	cmd.Env = append(os.Environ(), fmt.Sprintf("%s=%d %s", victimEnv, round, path))
	cmd.Stdout, cmd.Stderr = said, os.Stderr
	require.NoError(t, cmd.Start())
	select {
	case <-said.enough:
	case <-time.After(atMost):
	}
	<-time.After(moment) // time itself: the moment of the crash
	require.NoError(t, cmd.Process.Kill())
	err := cmd.Wait()
	var ended *exec.ExitError
	require.ErrorAs(t, err, &ended)
	require.Equal(t, "signal: killed", err.Error(), "%s", said.out.String())
	return said.out.String()
}

// transcript is what a victim says, read by one goroutine.
type transcript struct {
	out    bytes.Buffer
	lines  int
	enough chan struct{}
}

func (s *transcript) Write(p []byte) (int, error) {
	if s.lines > 0 {
		if s.lines -= bytes.Count(p, []byte("\n")); s.lines <= 0 {
			close(s.enough)
		}
	}
	return s.out.Write(p)
}

// ledger is what has been acknowledged, as far as it is certain.
type ledger struct {
	epoch   string
	devices map[string]uint64 // the number of each device's write
	gone    map[string]bool
	records map[string]int
	numbers map[uint64]string
	acks    int
}

func (l *ledger) read(t *testing.T, said string) {
	t.Helper()
	for line := range strings.Lines(said) {
		if !strings.HasSuffix(line, "\n") {
			continue // it died while it said that
		}
		word := strings.Fields(line)
		switch word[0] {
		case "epoch":
			require.Contains(t, []string{"", word[1]}, l.epoch, "the epoch changed")
			l.epoch = word[1]
			continue
		case "put":
			n, err := strconv.ParseUint(word[2], 10, 64)
			require.NoError(t, err)
			require.Empty(t, l.numbers[n], "%s has the number of another", line)
			l.devices[word[1]], l.numbers[n] = n, word[1]
		case "removing":
			delete(l.devices, word[1])
			continue
		case "removed":
			l.gone[word[1]] = true
		case "record":
			n, err := strconv.Atoi(word[2])
			require.NoError(t, err)
			l.records[word[1]] = n
		default:
			t.Fatalf("the victim said: %s", said)
		}
		l.acks++
	}
}

// check compares with what is there.
func (l *ledger) check(t *testing.T, s *sqlitestore.Store) {
	t.Helper()
	v, err := s.Feed().View(t.Context(), "l", vpn.Revision{})
	require.NoError(t, err)
	if l.epoch != "" {
		require.Equal(t, l.epoch, fmt.Sprint(v.Rev.Epoch))
	}
	there := map[string]uint64{}
	for _, d := range v.Devices {
		there[string(d.ID)] = d.Peers[0].Rev
		require.LessOrEqual(t, d.Peers[0].Rev, v.Rev.Number)
	}
	for id, n := range l.devices {
		require.Equal(t, n, there[id], "device %s was acknowledged with number %d", id, n)
	}
	for id := range l.gone {
		require.NotContains(t, there, id)
	}
	for key, n := range l.records {
		value, err := s.Records().Get(t.Context(), key)
		require.NoError(t, err)
		is, err := strconv.Atoi(string(value))
		require.NoError(t, err)
		require.GreaterOrEqual(t, is, n, "record %s", key)
	}
	whole, err := s.Ask(t.Context(), false, "PRAGMA integrity_check")
	require.NoError(t, err)
	require.Equal(t, "ok", whole)
}

func kills(t *testing.T) int {
	t.Helper()
	text, set := os.LookupEnv(killsEnv)
	if !set {
		return 25
	}
	n, err := strconv.Atoi(text)
	require.NoError(t, err, killsEnv)
	return n
}

// proves P9: what a killed process was told is written, is written.
func TestNoAcknowledgedWriteIsLost(t *testing.T) {
	path := place(t)
	l := &ledger{devices: map[string]uint64{}, gone: map[string]bool{}, records: map[string]int{}, numbers: map[uint64]string{}}
	n := kills(t)
	for round := range n {
		lines := 1 + rand.IntN(120)
		moment := time.Duration(rand.IntN(5000)) * time.Microsecond
		l.read(t, victims(t, round, path, lines, time.Minute, moment))
		if round%2 == 0 && round < n-1 {
			continue // the next victim finds what this one left beside the file
		}
		s, err := sqlitestore.Open(t.Context(), sqlitestore.Config{Path: path})
		require.NoError(t, err, "after %d kills", round+1)
		l.check(t, s)
		require.NoError(t, s.Close())
	}
	t.Logf("%d kills, %d acknowledged writes, none lost", n, l.acks)
}

// A store that was killed before it was one becomes one.
func TestKilledWhileItIsMade(t *testing.T) {
	n := kills(t)
	opened := 0
	for round := range n {
		path := place(t)
		l := &ledger{devices: map[string]uint64{}, gone: map[string]bool{}, records: map[string]int{}, numbers: map[uint64]string{}}
		l.read(t, victims(t, round, path, 0, time.Duration(rand.IntN(40_000))*time.Microsecond, 0))
		if l.epoch != "" {
			opened++
		}
		s, err := sqlitestore.Open(t.Context(), sqlitestore.Config{Path: path})
		require.NoError(t, err)
		l.check(t, s)
		require.NoError(t, s.Close())
	}
	t.Logf("%d kills, %d of them before the store was open", n, n-opened)
}
