package sim

import (
	"time"

	"github.com/holdfastvpn/holdfast/gateway"
	"github.com/holdfastvpn/holdfast/transport/memtransport"
)

// wire is the way between a gateway and a core. On it is a link while both run
// and nothing has cut it. The driver alone uses it.
type wire struct {
	link  *memtransport.Link
	plane gateway.ControlPlane // what the gateway has of it
	well  well
	cut   bool // nothing can be linked
}

// silence is how long it takes until a link that is silent is found to be dead.
const silence = 4 * time.Second

// link makes a new link, if both run and there is a way. The one before ends when
// whoever holds it notices.
func (w *world) link(m *machine, h *host) {
	wr := w.wires[m.n][h.name]
	if wr.cut || m.proc == nil || h.core == nil {
		return
	}
	if wr.link != nil {
		w.bury(wr.link)
	}
	wr.link = memtransport.New(h.core)
	wr.plane = wr.link
	if w.parts.Plane != nil {
		wr.plane = w.parts.Plane(m.name, h.name, wr.link)
	}
	m.pool.Put(h.name, wr.plane)
}

// unlink ends the link. If silent, streams on it say nothing until somebody
// notices.
func (w *world) unlink(m *machine, h *host, silent bool) {
	wr := w.wires[m.n][h.name]
	if wr.link == nil {
		return
	}
	pool, plane, link := m.pool, wr.plane, wr.link
	wr.link, wr.plane = nil, nil
	end := func() {
		link.Cut()
		pool.Drop(h.name, plane)
	}
	if !silent {
		end()
		return
	}
	link.Stall()
	w.later(silence, end)
}

// bury ends a link that nobody uses any more, after a while.
func (w *world) bury(old *memtransport.Link) {
	old.Stall()
	w.later(silence, old.Cut)
}
