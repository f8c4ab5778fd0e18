package planted

import (
	"context"
	"fmt"
	"io"
	"runtime"
	"runtime/debug"
	"strings"
	"sync"
	"testing" //nolint:depguard // only suites and tests import this package
)

// recorder is a testing.TB that keeps its verdict to itself. What it does not
// override (TempDir, Setenv, ArtifactDir) is the real test's.
type recorder struct {
	testing.TB

	ctx    context.Context //nolint:containedctx // testing.TB.Context hands it out
	cancel context.CancelFunc

	mu       sync.Mutex
	failed   bool
	skipped  bool
	out      strings.Builder
	cleanups []func()
}

func newRecorder(tb testing.TB) *recorder {
	r := &recorder{TB: tb}
	r.ctx, r.cancel = context.WithCancel(tb.Context())
	return r
}

// run runs the case and its cleanups; all may end their goroutine or panic.
func (r *recorder) run(test func(testing.TB)) {
	r.guard(func() { test(r) })
	r.cancel()
	for {
		r.mu.Lock()
		n := len(r.cleanups)
		if n == 0 {
			r.mu.Unlock()
			return
		}
		f := r.cleanups[n-1]
		r.cleanups = r.cleanups[:n-1]
		r.mu.Unlock()
		r.guard(f)
	}
}

// guard runs f on a goroutine of its own, and returns when that has ended by
// whatever way.
func (r *recorder) guard(f func()) {
	done := make(chan struct{})
	go func() {
		defer close(done)
		defer func() {
			if p := recover(); p != nil {
				r.Errorf("planted: panic: %v\n%s", p, debug.Stack())
			}
		}()
		f()
	}()
	<-done
}

func (r *recorder) text() string {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.out.String()
}

func (r *recorder) set(flag *bool) {
	r.mu.Lock()
	defer r.mu.Unlock()
	*flag = true
}

func (r *recorder) get(flag *bool) bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	return *flag
}

// Write is the recorder's Output.
func (r *recorder) Write(p []byte) (int, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.out.Write(p)
}

func (r *recorder) Attr(key, value string)   { r.Logf("%s=%s", key, value) }
func (r *recorder) Context() context.Context { return r.ctx }
func (r *recorder) Helper()                  {}
func (r *recorder) Name() string             { return r.TB.Name() + "/planted" }
func (r *recorder) Output() io.Writer        { return r }

func (r *recorder) Cleanup(f func()) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.cleanups = append(r.cleanups, f)
}

func (r *recorder) Log(args ...any)            { _, _ = fmt.Fprintln(r, args...) }
func (r *recorder) Logf(f string, args ...any) { _, _ = fmt.Fprintf(r, f+"\n", args...) }

func (r *recorder) Fail()        { r.set(&r.failed) }
func (r *recorder) Failed() bool { return r.get(&r.failed) }

func (r *recorder) FailNow() {
	r.Fail()
	runtime.Goexit()
}

func (r *recorder) Error(args ...any) {
	r.Log(args...)
	r.Fail()
}

func (r *recorder) Errorf(f string, args ...any) {
	r.Logf(f, args...)
	r.Fail()
}

func (r *recorder) Fatal(args ...any) {
	r.Log(args...)
	r.FailNow()
}

func (r *recorder) Fatalf(f string, args ...any) {
	r.Logf(f, args...)
	r.FailNow()
}

func (r *recorder) Skipped() bool { return r.get(&r.skipped) }

func (r *recorder) SkipNow() {
	r.set(&r.skipped)
	runtime.Goexit()
}

func (r *recorder) Skip(args ...any) {
	r.Log(args...)
	r.SkipNow()
}

func (r *recorder) Skipf(f string, args ...any) {
	r.Logf(f, args...)
	r.SkipNow()
}
