//go:build linux

package testnet

import (
	"context"
	"fmt"
	"strings"
	"time"
)

// tail is how many lines of the timeline a failed test shows.
const tail = 400

// ForTest returns a network that captures everything and that the end of the
// test closes; if the test has failed, it logs dump and timeline first. It skips
// the test where there can be no network (see [Need]).
func ForTest(t T) *Net {
	t.Helper()
	Need(t, Netns)
	n, err := New(context.Background(), Config{Capture: true})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if t.Failed() {
			t.Log("the hosts at the end of the test:\n" + n.Dump())
			t.Log("timeline, in seconds:\n" + lastLines(n.Timeline(), tail))
		}
		if err := n.Close(); err != nil {
			t.Log(err)
		}
	})
	return n
}

// lastLines is the end of a text.
func lastLines(text string, limit int) string {
	lines := strings.SplitAfter(text, "\n")
	if len(lines) <= limit {
		return text
	}
	return fmt.Sprintf("(%d earlier lines)\n", len(lines)-limit) + strings.Join(lines[len(lines)-limit:], "")
}

// Eventually asks f again and again until it returns nil, and fails the test
// with its last error when that takes longer than limit.
func Eventually(t Skipper, limit time.Duration, f func() error) {
	t.Helper()
	var last error
	err := until(limit, func() (bool, error) {
		last = f()
		return last == nil, nil
	})
	if err != nil {
		t.Fatal(err, "last error:", last)
	}
}
