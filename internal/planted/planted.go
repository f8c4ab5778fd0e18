// Package planted tests the tests: it runs a case of a contract suite against a
// broken implementation, and says whether the case noticed.
//
// A suite that passes a broken store is itself broken, so each suite has a few
// implementations with one planted fault each. [Exactly] runs all cases of a
// suite against one of them, and fails unless just the cases that name the
// fault fail:
//
//	planted.Exactly(t, cases, "update keeps the error of edit")
//
// [Fails] is the same for one case. The case gets a testing.TB that records
// instead of failing the real test: FailNow and Skip end the case's goroutine,
// Cleanup functions run (last first, also after a failure), Context ends before
// they do, a panic is a failure, and so is a case that hangs.
//
// A suite offers its cases to its own tests in any order; how they get the
// implementation is up to it. With sub-tests written as functions of a
// testing.TB and an opener, the pieces fit like this:
//
//	func cases(open func(testing.TB) location.Store) iter.Seq2[string, func(testing.TB)]
//
//	func RunStore(t *testing.T, open func(testing.TB) location.Store) {
//		for name, test := range cases(open) {
//			t.Run(name, func(t *testing.T) { test(t) })
//		}
//	}
package planted

import (
	"iter"
	"slices"
	"strings"
	"testing" //nolint:depguard // only suites and tests import this package
	"time"
)

// Patience is how long a case may take before it counts as hung, and so as
// failed.
const Patience = 30 * time.Second

// Fails runs one case and says whether it failed, with everything that it
// logged. A case that skips proves nothing, and fails tb itself.
//
// A case that hangs is left behind with its goroutine, its Context ended.
func Fails(tb testing.TB, test func(testing.TB)) (failed bool, log string) {
	tb.Helper()
	return failsWithin(tb, Patience, test)
}

func failsWithin(tb testing.TB, patience time.Duration, test func(testing.TB)) (failed bool, log string) {
	tb.Helper()
	r := newRecorder(tb)
	done := make(chan struct{})
	go func() {
		defer close(done)
		r.run(test)
	}()
	hung := time.NewTimer(patience)
	defer hung.Stop()
	select {
	case <-done:
	case <-hung.C:
		r.Errorf("planted: the case did not end within %v", patience)
		r.cancel()
	}
	if r.Skipped() && !r.Failed() {
		tb.Fatalf("planted: the case skipped, so it says nothing about the fault:\n%s", r.text())
	}
	return r.Failed(), r.text()
}

// Exactly runs every case and fails tb unless those named in want fail and all
// others pass. It also fails tb when want names no case, or names one that is
// not there. What the wrongly failing cases logged is shown.
func Exactly(tb testing.TB, cases iter.Seq2[string, func(testing.TB)], want ...string) {
	tb.Helper()
	if len(want) == 0 {
		tb.Fatalf("planted: say which cases have to notice the fault")
	}
	var known []string
	for name, test := range cases {
		known = append(known, name)
		failed, log := Fails(tb, test)
		switch expected := slices.Contains(want, name); {
		case failed && !expected:
			tb.Errorf("planted: case %q failed, and is not about this fault:\n%s", name, log)
		case !failed && expected:
			tb.Errorf("planted: case %q did not notice the fault", name)
		}
	}
	for _, name := range want {
		if !slices.Contains(known, name) {
			tb.Errorf("planted: there is no case %q, only: %s", name, strings.Join(known, "; "))
		}
	}
}
