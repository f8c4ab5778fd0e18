package sim

import (
	"context"
	"fmt"
	"log/slog"
	"time"

	"github.com/holdfastvpn/holdfast/vpn"
)

// host is a machine with a core on it. The driver alone uses it.
type host struct {
	w    *world
	name string
	ears *ears

	core   *vpn.Core // nil: it is down
	conn   *conn
	cancel context.CancelFunc
	starts int
	ill    ill
	well   well // while it runs, and its way to the database is good
}

// well is since when something is well.
type well struct {
	wrong int
	since time.Time
}

func (h *well) worse() { h.wrong++ }

func (h *well) better(now time.Time) {
	if h.wrong--; h.wrong == 0 {
		h.since = now
	}
}

// before says whether it has been well since an instant or longer.
func (h *well) before(at time.Time) bool { return h.wrong == 0 && !h.since.After(at) }

func (h *host) start() error {
	w := h.w
	ctx, cancel := context.WithCancel(context.Background())
	db := w.db
	if w.parts.DB != nil {
		db = w.parts.DB(h.name, db)
	}
	h.conn = newConn(db)
	h.conn.set(h.ill)
	var stores vpn.Stores = newBackend(ctx, &w.wg, h.conn, w.hub, h.ears)
	if w.parts.Stores != nil {
		stores = w.parts.Stores(h.name, h.starts, stores)
	}
	core, err := vpn.New(vpn.Config{ID: h.name, Stores: stores, Keys: w.keys, Log: slog.New(slog.DiscardHandler)})
	if err != nil {
		cancel()
		return fmt.Errorf("sim: start %s: %w", h.name, err)
	}
	h.core, h.cancel = core, cancel
	h.starts++
	h.well.better(time.Now())
	w.wg.Go(func() { _ = core.Run(ctx) })
	for _, m := range w.machines {
		w.link(m, h)
	}
	return nil
}

// kill ends the core's process at once: what it had begun is not finished. If
// silent, nobody is told, as when the power fails.
func (h *host) kill(silent bool) {
	h.conn.die()
	h.end(silent)
}

// end lets the core's process end; it has a moment for what it had begun.
func (h *host) end(silent bool) {
	h.w.later(time.Second, h.conn.die)
	for _, m := range h.w.machines {
		h.w.unlink(m, h, silent)
	}
	h.cancel()
	h.core = nil
	h.well.worse()
}

// sicken makes the way to the database ill; it was well before.
func (h *host) sicken(now ill) {
	h.well.worse()
	h.ail(now)
}

// cure ends what sicken did.
func (h *host) cure() {
	h.well.better(time.Now())
	h.ail(ill{})
}

func (h *host) ail(now ill) {
	h.ill = now
	if h.core != nil {
		h.conn.set(now)
	}
}
