//go:build linux

package wgdevice

import (
	"context"
	"errors"
	"fmt"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"

	"github.com/holdfastvpn/holdfast/gateway"
)

// Apply does the steps in order. Peers go in batches, and if a batch fails, its
// steps are done one by one, so that the error names the ones that failed. If
// ctx ends, the error is that of ctx, and how far it got is not known.
func (d *Device) Apply(ctx context.Context, p gateway.Plan) error {
	if d.closed {
		return errClosed
	}
	if len(p) == 0 {
		return nil
	}
	r := round{Device: d, ctx: ctx, plan: p, failed: map[int]error{}}
	if err := r.start(); err != nil {
		return err
	}
	return r.run()
}

// round is one Apply.
type round struct {
	*Device

	ctx    context.Context //nolint:containedctx // of the one call that the round is
	plan   gateway.Plan
	failed map[int]error

	link netlink.Link // nil: not there
	wg   wireguard    // of link
	have present
}

// start looks at what is there, and whether it is ours.
func (r *round) start() error {
	link, whose, err := r.find()
	if err != nil && (whose != stranger || !r.sameKey(link)) {
		return err
	}
	if link == nil {
		return nil
	}
	if whose == stranger {
		r.log.Warn("marking an interface as ours that is not", "interface", r.name, "alias", link.Attrs().Alias)
	}
	if whose == stranger || link.Attrs().Group == group {
		if err := r.markLink(link, Kernel); err != nil {
			return fmt.Errorf("wgdevice: adopt %s: %w", r.name, err)
		}
	}
	if r.wg, err = r.wireguard(link); err != nil {
		return fmt.Errorf("wgdevice: apply to %s: %w", r.name, err)
	}
	r.link = link
	return nil
}

// run does the steps.
func (r *round) run() error {
	if err := r.count(); err != nil {
		return err
	}
	for i := 0; i < len(r.plan); {
		if err := r.ctx.Err(); err != nil {
			return fmt.Errorf("wgdevice: apply to %s: stopped after %d of %d steps: %w", r.name, i, len(r.plan), err)
		}
		n, goOn := r.step(i)
		if !goOn {
			break
		}
		i += n
	}
	if len(r.failed) > 0 {
		return &gateway.ApplyError{Failed: r.failed}
	}
	return nil
}

// sameKey says whether the plan wants the private key that the link has: who
// knows it owns the interface.
func (r *round) sameKey(link netlink.Link) bool {
	wg, err := r.wireguard(link)
	if err != nil {
		return false
	}
	var s gateway.State
	if err := wg.read(&s); err != nil || s.Interface.Key.IsZero() {
		return false
	}
	for _, step := range r.plan {
		if step.Verb == gateway.Configure {
			return step.Interface.Key == s.Interface.Key
		}
	}
	return false
}

// count finds out which peers there are, if the plan depends on it.
func (r *round) count() error {
	if !needsPresent(r.plan) {
		return nil
	}
	r.have = present{}
	if r.link == nil {
		return nil
	}
	var s gateway.State
	if err := r.wg.read(&s); err != nil {
		return fmt.Errorf("wgdevice: apply to %s: %w", r.name, explain(err))
	}
	for _, p := range s.Peers {
		r.have[p.Key] = struct{}{}
	}
	return nil
}

// errAbsent is what a step gives that needs an interface where there is none.
var errAbsent = fmt.Errorf("the interface is not there: %w", unix.ENODEV)

// step does the step at i, and those that go together with it. It returns how
// many, and whether to go on.
func (r *round) step(i int) (n int, goOn bool) {
	var err error
	switch s := r.plan[i]; {
	case s.Verb == gateway.Configure:
		return 1, r.configureStep(i)
	case s.Verb == gateway.Destroy:
		err = r.destroy(r.ctx, r.link)
		if err == nil {
			r.link, r.wg = nil, nil
			clear(r.have)
		}
	case s.Verb == gateway.Kick && !s.Peer.Endpoint.IsValid():
		err = fmt.Errorf("kick peer %s: nobody knows where it is: %w", s.Peer.Key, unix.EDESTADDRREQ)
	case ofPeer(s.Verb):
		return r.peers(i), true
	case s.Verb == gateway.Unroute && r.link != nil:
		err = r.unroute(r.link, s.Route)
	case s.Verb == gateway.Unroute: // it has gone with the link
	case s.Verb == gateway.Route && r.link == nil:
		err = errAbsent
	case s.Verb == gateway.Route:
		err = r.route(r.ctx, r.link, s.Route)
	default:
		err = fmt.Errorf("verb %d is not known here: %w", s.Verb, errors.ErrUnsupported)
	}
	r.fail(i, err)
	return 1, true
}

// fail notes what came of the step at i.
func (r *round) fail(i int, err error) {
	if err != nil {
		r.failed[i] = fmt.Errorf("wgdevice: %s: %w", r.name, err)
	}
}

// configureStep does the Configure step at i. Only when it should have made
// the interface, and could not, there is no going on.
func (r *round) configureStep(i int) bool {
	s := r.plan[i]
	if r.link != nil {
		r.fail(i, r.configure(r.ctx, r.link, r.wg, s.Interface, s.Fields))
		return true
	}
	if s.Fields&gateway.FieldCreate == 0 {
		r.fail(i, errAbsent)
		return true
	}
	link, err := r.create(r.ctx, s.Interface)
	if err == nil {
		r.wg, err = r.wireguard(link)
	}
	r.fail(i, err)
	if err != nil {
		return false
	}
	r.link = link
	if needsPresent(r.plan) {
		r.have = present{}
	}
	return true
}

// peers does the batch of Remove or Set steps at i and returns its size.
func (r *round) peers(i int) int {
	if r.link == nil {
		n := run(r.plan[i:], r.plan[i].Verb)
		if r.plan[i].Verb != gateway.Remove {
			for at := range n {
				r.fail(i+at, errAbsent)
			}
		}
		return n
	}
	if all := run(r.plan[i:], gateway.Remove); all >= wipeFrom && r.have.allIn(r.plan[i:i+all]) {
		if err := r.wg.wipe(); err == nil {
			clear(r.have)
			return all
		}
	}
	n := batch(r.plan[i:])
	steps := r.plan[i : i+n]
	if err := r.send(steps); err != nil {
		for at := range steps {
			r.fail(i+at, r.alone(steps[at:at+1], n, err))
		}
	}
	return n
}

// alone does again one step of a batch of n that failed with err.
func (r *round) alone(step gateway.Plan, n int, err error) error {
	if n > 1 && !errors.Is(err, unix.ENODEV) && r.ctx.Err() == nil {
		err = r.send(step)
	}
	if err == nil {
		return nil
	}
	return fmt.Errorf("%s peer %s: %w", step[0].Verb, step[0].Peer.Key, explain(err))
}

// send does the steps in one message.
func (r *round) send(steps gateway.Plan) error {
	changes := make([]change, len(steps))
	for i, s := range steps {
		changes[i] = r.have.change(s)
	}
	if steps[0].Verb == gateway.Kick {
		first, second := kicks(changes)
		if err := r.wg.change(first); err != nil {
			return err
		}
		changes = second
	}
	if err := r.wg.change(changes); err != nil {
		return err
	}
	for _, s := range steps {
		r.have.did(s)
	}
	return nil
}
