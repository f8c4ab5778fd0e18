package vpntest

import (
	"context"
	"fmt"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/holdfastvpn/holdfast/vpn"
)

// patience is how long a hint may take. It is no promise of any backend's. The
// suite's own tests have less.
var patience = 10 * time.Second //nolint:gochecknoglobals // see above

// await reads hints until one says to look where want says, and fails if none
// does. Meanwhile it writes again, now and then, unless again is nil.
func await(tb testing.TB, hints <-chan vpn.Hint, want vpn.Hint, again func()) {
	tb.Helper()
	late, now := time.NewTimer(patience), time.NewTicker(patience/20)
	defer late.Stop()
	defer now.Stop()
	for {
		select {
		case h := <-hints:
			if h == want || h == (vpn.Hint{}) {
				return
			}
		case <-now.C:
			if again != nil {
				again()
			}
		case <-late.C:
			require.Fail(tb, "no hint came", "of %+v, within %v", want, patience)
		}
	}
}

// read passes hints on until ctx ends, and says when they have ended.
func read(ctx context.Context, s vpn.Stores) (hints chan vpn.Hint, ended chan struct{}) {
	hints, ended = make(chan vpn.Hint), make(chan struct{})
	seq := s.Feed().Hints(ctx)
	go func() {
		defer close(ended)
		for h := range seq {
			select {
			case hints <- h:
			case <-ctx.Done():
			}
		}
	}()
	return hints, ended
}

func hintsCome(tb testing.TB, s vpn.Stores) {
	tb.Helper()
	seq := s.Feed().Hints(tb.Context()) // from here on, before it is read
	putLocation(tb, s, "l", 1)
	hints := make(chan vpn.Hint)
	go func() {
		for h := range seq {
			select {
			case hints <- h:
			case <-tb.Context().Done():
			}
		}
	}()
	await(tb, hints, vpn.Hint{Location: "l"}, nil)
	putDevice(tb, s, "d", device("d", 1, "m", "n"))
	await(tb, hints, vpn.Hint{Location: "n"}, nil)
	record(tb, s, "r/1", "1")
	await(tb, hints, vpn.Hint{Record: "r/1"}, nil)
	dropDevice(tb, s, "d")
	await(tb, hints, vpn.Hint{Location: "n"}, nil)
}

func slowReader(tb testing.TB, s vpn.Stores) {
	tb.Helper()
	const writes = 600
	s.Feed().Hints(tb.Context()) // never read
	began, stop := make(chan struct{}), make(chan struct{})
	slow := s.Feed().Hints(tb.Context())
	go func() { // stands still at the first
		for range slow {
			close(began)
			<-stop
			return
		}
	}()
	hints, _ := read(tb.Context(), s)
	defer close(stop)
	for i := range writes {
		write := func() { record(tb, s, fmt.Sprintf("r/%d", i), "1") }
		if write(); i%100 == 0 {
			await(tb, hints, vpn.Hint{Record: fmt.Sprintf("r/%d", i)}, write)
		}
	}
	write := func() { putLocation(tb, s, "l", 1) }
	write()
	await(tb, hints, vpn.Hint{Location: "l"}, write)
	select {
	case <-began:
	case <-time.After(patience):
		require.Fail(tb, "the slow reader got nothing at all")
	}
}

func hintsEnd(tb testing.TB, s vpn.Stores) {
	tb.Helper()
	ctx, cancel := context.WithCancel(tb.Context())
	hints, ended := read(ctx, s)
	write := func() { putLocation(tb, s, "l", 1) }
	write()
	await(tb, hints, vpn.Hint{Location: "l"}, write)
	cancel()
	select {
	case <-ended:
	case <-time.After(patience):
		require.Fail(tb, "hints go on after their context has ended")
	}
	for range s.Feed().Hints(ctx) { // ends at once
		break
	}
}
