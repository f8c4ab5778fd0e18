package sim

import (
	"cmp"
	"fmt"
	"slices"
	"time"

	"github.com/holdfastvpn/holdfast/gateway"
	"github.com/holdfastvpn/holdfast/vpn/wgkey"
)

// resync is how long a connected gateway may be on an old revision.
const resync = 30 * time.Second

// shown is what a device has, in the words of the stories.
func shown(at int, have gateway.State) map[subject]string {
	out := map[subject]string{}
	if !have.Exists {
		return out
	}
	i := have.Interface
	list := func(n int, each func(int) string) string {
		var all []string
		for k := range n {
			all = append(all, each(k))
		}
		return words(all)
	}
	out[subject{at: at}] = face(i.Port, i.MTU,
		list(len(i.Addrs), func(k int) string { return i.Addrs[k].String() }),
		list(len(i.Masquerade), func(k int) string { return i.Masquerade[k].String() }), i.Isolated)
	for _, p := range have.Peers {
		row := list(len(p.AllowedIPs), func(k int) string { return p.AllowedIPs[k].String() })
		if row == "" {
			row = "no addresses"
		}
		out[subject{at, p.Key}] = row
	}
	return out
}

// sessions are when the peers of a device shook hands.
func sessions(have gateway.State) map[wgkey.Public]time.Time {
	out := map[wgkey.Public]time.Time{}
	for _, p := range have.Peers {
		if !p.Handshake.IsZero() {
			out[p.Key] = p.Handshake
		}
	}
	return out
}

// name of a subject, for people.
func (w *world) called(sub subject) string {
	if sub.key.IsZero() {
		return "its interface"
	}
	for _, s := range w.model.slots {
		if i := slices.Index(s.keys[:], sub.key); i >= 0 {
			return fmt.Sprintf("device %d (key %d)", s.n, i)
		}
	}
	return "peer " + sub.key.String()
}

func say(state string) string {
	if state == "" {
		return "nothing"
	}
	return state
}

// applied is called after each Apply of a process. known says that the process
// had seen all that was done to the device by others, and could know that it was:
// one that starts takes what it finds for what it was told, until somebody tells
// it more. The caller holds s.mu.
func (s *seat) applied(before, after gateway.State, carried map[wgkey.Public]bool, known bool) {
	w := s.w
	w.model.mu.Lock()
	defer w.model.mu.Unlock()
	w.count.Applies++
	then, now := shown(s.at, before), shown(s.at, after)
	s.kept(before, after, carried, then, now)
	if !known {
		return
	}
	w.count.Known++
	s.sound = true
	if !after.Exists {
		s.gone()
		return
	}
	for sub, row := range w.model.rows {
		if sub.at == s.at {
			s.forward(sub, row, now[sub])
		}
	}
	for sub, state := range now {
		if w.model.rows[sub] == nil {
			w.log.violatef("P9", "%s at location %d has %s (%s), which nobody asked for", s.m.name, s.at, w.called(sub), state)
		}
	}
}

// kept checks that no session was lost without a reason.
func (s *seat) kept(before, after gateway.State, carried map[wgkey.Public]bool, then, now map[subject]string) {
	have := sessions(after)
	for key, at := range sessions(before) {
		sub := subject{s.at, key}
		row := s.w.model.rows[sub]
		if row == nil || now[sub] == "" || !carried[key] {
			continue // it is gone: see forward; or it is no loss
		}
		low := s.low[sub]
		_, same := row.find(low, then[sub])
		if same && row.still(low) && !have[key].Equal(at) {
			s.w.log.violatef("P8", "%s at location %d reset %s, which has not changed", s.m.name, s.at, s.w.called(sub))
		}
	}
}

// forward checks that a row is at the same place in its story as before, or
// further.
func (s *seat) forward(sub subject, row *story, state string) {
	i, ok := row.find(s.low[sub], state)
	if ok {
		s.low[sub] = i
		return
	}
	_, ever := row.find(0, state)
	promise, why := "P9", "which nobody asked for"
	if ever {
		why = "which is older than what it had before"
	}
	if state == "" && (!ever || !s.told) {
		promise = "P2"
	}
	s.w.log.violatef(promise, "%s at location %d has %s for %s, %s (%d of %v)",
		s.m.name, s.at, say(state), s.w.called(sub), why, s.low[sub], row.states())
}

// gone checks that there is a reason for having no interface.
func (s *seat) gone() {
	if i, ok := s.m.posted[s.at].find(s.posted, ""); ok {
		s.posted = i
		return
	}
	sub := subject{at: s.at}
	if i, ok := s.w.model.rows[sub].find(s.low[sub], ""); ok {
		s.low[sub] = i
		return
	}
	s.w.log.violatef("P2", "%s took its interface at location %d away, which nobody asked for", s.m.name, s.at)
}

// closed checks that a process that ends leaves all in place.
func (s *seat) closed(before, after gateway.State) {
	if len(before.Peers) != len(after.Peers) || before.Exists != after.Exists {
		s.w.log.violatef("P2", "%s ended, and took %d peers at location %d with it", s.m.name, len(before.Peers)-len(after.Peers), s.at)
	}
}

// stand checks that devices whose process had time to do something are no less
// than they were, whoever is connected: what was there has come back after a
// reboot. The driver calls it.
func (w *world) stand() {
	since := w.log.now().Add(-10 * time.Second)
	for _, m := range w.machines {
		for _, s := range m.seats {
			s.stand(m.well.before(since) && m.alive.Load() && s.well.before(since))
		}
	}
}

func (s *seat) stand(check bool) {
	w := s.w
	s.mu.Lock()
	defer s.mu.Unlock()
	w.model.mu.Lock()
	defer w.model.mu.Unlock()
	s.past = s.past.next(w.log.now(), s.low, s.posted)
	if !check || !s.sound {
		return
	}
	have := s.state()
	if !have.Exists {
		s.gone()
		return
	}
	w.count.Stands++
	now := shown(s.at, have)
	for sub, row := range w.model.rows {
		if sub.at != s.at {
			continue
		}
		if _, ok := row.find(s.low[sub], now[sub]); !ok {
			w.log.violatef("P2", "%s at location %d has %s for %s, and had %s", s.m.name, s.at, say(now[sub]), w.called(sub), say(row.versions[s.low[sub]].state))
		}
	}
}

// connected says whether a gateway has been connected to some core since an
// instant or longer. The driver calls it.
func (w *world) connected(m *machine, since time.Time) bool {
	if !m.well.before(since) || !m.alive.Load() {
		return false
	}
	return slices.ContainsFunc(w.hosts, func(h *host) bool {
		return h.well.before(since) && w.wires[m.n][h.name].well.before(since)
	})
}

// look checks everything that is connected: what was acknowledged a while ago is
// there. The driver calls it.
func (w *world) look(within time.Duration, promise string) {
	since := w.log.now().Add(-within)
	for _, m := range w.machines {
		if !w.connected(m, since) {
			continue
		}
		for _, s := range m.seats {
			w.current(s, since, promise)
		}
	}
}

// families checks that every machine knows exactly who else serves its locations,
// when nothing is wrong and what is true is known. The driver calls it.
func (w *world) families() {
	for at, id := range w.ids {
		for _, m := range w.machines {
			have := m.proc.Siblings(gateway.LocationID(id))
			want := w.siblings(m, at)
			if (have == nil) != (want == nil) || !slices.Equal(have, want) {
				w.log.violatef("P1", "%s at location %d knows the siblings %v, and they are %v", m.name, at, have, want)
			}
			w.count.Siblings += len(want)
		}
	}
}

// siblings are those that a machine has at a location, in order; nil: it does not
// serve that. What is true of each machine is known.
func (w *world) siblings(m *machine, at int) []gateway.Sibling {
	if !m.may[0].at(at) {
		return nil
	}
	all := []gateway.Sibling{}
	for _, o := range w.machines {
		if o != m && o.may[0].at(at) {
			all = append(all, gateway.Sibling{ID: o.id, Addr: o.may[0].addr})
		}
	}
	slices.SortFunc(all, func(a, b gateway.Sibling) int { return cmp.Compare(a.ID, b.ID) })
	return all
}

func (w *world) current(s *seat, since time.Time, promise string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if !s.well.before(since) {
		return
	}
	w.model.mu.Lock()
	defer w.model.mu.Unlock()
	have := s.state()
	post := s.m.posted[s.at]
	_, yes := post.find(post.floor(since), "yes")
	_, no := post.find(post.floor(since), "")
	switch {
	case yes && no:
		return
	case no && have.Exists:
		w.log.violatef(promise, "%s has location %d still, %v after it was taken away", s.m.name, s.at, resync)
		return
	case no:
		return
	}
	w.count.Looks++
	now := shown(s.at, have)
	for sub, row := range w.model.rows {
		if sub.at != s.at {
			continue
		}
		floor := row.floor(since)
		if _, ok := row.find(floor, now[sub]); !ok && (have.Exists || sub.key.IsZero()) {
			w.log.violatef(promise, "%s at location %d is connected, and has %s for %s; %v ago it was acknowledged that it is %s",
				s.m.name, s.at, say(now[sub]), w.called(sub), time.Since(row.versions[floor].acked).Round(time.Millisecond), say(row.versions[floor].state))
			continue
		}
		if have.Exists {
			s.low[sub] = max(s.low[sub], floor)
		}
	}
	for sub := range now {
		if w.model.rows[sub] == nil {
			w.log.violatef(promise, "%s at location %d is connected, and has %s, which is nobody's", s.m.name, s.at, w.called(sub))
		}
	}
}
