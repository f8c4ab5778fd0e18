package gateway

import "time"

// Trace is what a Reconciler tells while it works, for metrics and tests. Each
// function may be nil. They are called from several goroutines, but each one
// from one goroutine at a time; the Reconciler waits for them to return, so they
// are quick and call none of its methods.
type Trace struct {
	// OnObserve is called after each look at the device: how long it took, and
	// how many peers there are.
	OnObserve func(took time.Duration, peers int, err error)
	// OnApply is called after each Plan that had steps. The plan is read-only.
	OnApply func(p Plan, took time.Duration, err error)
	// OnDrift is called for each change by others that was found.
	OnDrift func(Problem)
	// OnUpdate is called for each Update that was taken in.
	OnUpdate func(from, to Revision)
	// OnReport is called after each Report. The status is read-only.
	OnReport func(s Status, err error)
	// OnLink is called when the stream of updates ends: with the reason, or nil
	// when it answers again.
	OnLink func(err error)
}

func (t *Trace) observed(took time.Duration, peers int, err error) {
	if t.OnObserve != nil {
		t.OnObserve(took, peers, err)
	}
}

func (t *Trace) applied(p Plan, took time.Duration, err error) {
	if t.OnApply != nil {
		t.OnApply(p, took, err)
	}
}

func (t *Trace) drifted(p Problem) {
	if t.OnDrift != nil {
		t.OnDrift(p)
	}
}

func (t *Trace) updated(from, to Revision) {
	if t.OnUpdate != nil {
		t.OnUpdate(from, to)
	}
}

func (t *Trace) reported(s Status, err error) {
	if t.OnReport != nil {
		t.OnReport(s, err)
	}
}

func (t *Trace) linked(err error) {
	if t.OnLink != nil {
		t.OnLink(err)
	}
}
