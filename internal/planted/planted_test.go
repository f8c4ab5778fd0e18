package planted_test

import (
	"iter"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/holdfastvpn/holdfast/internal/planted"
)

func TestFails(t *testing.T) {
	for name, c := range map[string]struct {
		test   func(testing.TB)
		failed bool
		log    string
	}{
		"passing": {func(tb testing.TB) { tb.Log("fine") }, false, "fine\n"},
		"error":   {func(tb testing.TB) { tb.Error("bad", 1); tb.Log("on") }, true, "bad 1\non\n"},
		"errorf":  {func(tb testing.TB) { tb.Errorf("bad %d", 1) }, true, "bad 1\n"},
		"fatal": {func(tb testing.TB) {
			tb.Fatal("bad")
			tb.Log("never")
		}, true, "bad\n"},
		"fatalf": {func(tb testing.TB) {
			tb.Fatalf("bad %d", 1)
			tb.Log("never")
		}, true, "bad 1\n"},
		"only fails": {func(tb testing.TB) { tb.Fail() }, true, ""},
		"output":     {func(tb testing.TB) { _, _ = tb.Output().Write([]byte("x")) }, false, "x"},
		"attribute":  {func(tb testing.TB) { tb.Attr("k", "v") }, false, "k=v\n"},
	} {
		t.Run(name, func(t *testing.T) {
			failed, log := planted.Fails(t, c.test)
			require.Equal(t, c.failed, failed)
			require.Equal(t, c.log, log)
		})
	}
}

func TestARequirementThatFailsEndsTheCase(t *testing.T) {
	failed, log := planted.Fails(t, func(tb testing.TB) {
		require.Equal(tb, 1, 2)
		tb.Log("never")
	})
	require.True(t, failed)
	require.Contains(t, log, "Not equal")
	require.NotContains(t, log, "never")
}

func TestCleanupsRunLastFirstAfterTheContextEnded(t *testing.T) {
	failed, log := planted.Fails(t, func(tb testing.TB) {
		tb.Cleanup(func() { tb.Log("first", tb.Context().Err()) })
		tb.Cleanup(func() {
			tb.Cleanup(func() { tb.Log("added late") })
			tb.Fatal("second fails, and holds up nobody")
		})
		tb.Log("case", tb.Context().Err())
	})
	require.True(t, failed)
	require.Equal(t, "case <nil>\nsecond fails, and holds up nobody\nadded late\nfirst context canceled\n", log)
}

func TestAPanicIsAFailure(t *testing.T) {
	failed, log := planted.Fails(t, func(testing.TB) { panic("at the disco") })
	require.True(t, failed)
	require.Contains(t, log, "panic: at the disco")
}

func TestACaseThatHangsIsAFailure(t *testing.T) {
	ended := make(chan struct{})
	failed, log := planted.FailsWithin(t, 10*time.Millisecond, func(tb testing.TB) {
		defer close(ended)
		<-tb.Context().Done()
	})
	require.True(t, failed)
	require.Contains(t, log, "did not end within 10ms")
	<-ended // its context told it to
}

func TestACaseThatSkipsIsNoVerdict(t *testing.T) {
	failed, log := planted.Fails(t, func(tb testing.TB) {
		planted.Fails(tb, func(tb testing.TB) { tb.Skip("no database") })
	})
	require.True(t, failed)
	require.Contains(t, log, "skipped")
	require.Contains(t, log, "no database")
}

func TestExactly(t *testing.T) {
	var cases iter.Seq2[string, func(testing.TB)] = func(yield func(string, func(testing.TB)) bool) {
		_ = yield("good", func(testing.TB) {}) &&
			yield("bad", func(tb testing.TB) { tb.Error("noticed") })
	}
	for name, c := range map[string]struct {
		want []string
		log  string // "" passes
	}{
		"just the one":      {[]string{"bad"}, ""},
		"nothing named":     {nil, "say which cases"},
		"one too many":      {[]string{"bad", "good"}, `"good" did not notice`},
		"another one":       {[]string{"good"}, `"bad" failed, and is not about this fault`},
		"one that is not":   {[]string{"bad", "ugly"}, `no case "ugly", only: good; bad`},
		"shows what it saw": {[]string{"good"}, "noticed"},
	} {
		t.Run(name, func(t *testing.T) {
			failed, log := planted.Fails(t, func(tb testing.TB) { planted.Exactly(tb, cases, c.want...) })
			require.Equal(t, c.log != "", failed, log)
			require.Contains(t, log, c.log)
		})
	}
}
