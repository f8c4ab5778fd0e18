package siblingrpc

import (
	"fmt"
	"iter"
	"time"

	"github.com/holdfastvpn/holdfast/gateway"
	"github.com/holdfastvpn/holdfast/transport/siblingrpc/internal/pb"
)

const (
	partRows = 4096 // peers and connections in a part
	// maxRows is how many peers a note may have, in all its parts.
	maxRows = 1 << 19
	// maxFlows is how many connections it may have.
	maxFlows = 1 << 17
)

// noteParts yields a note in parts, as of now.
func noteParts(n gateway.Note, now time.Time) iter.Seq[*pb.Part] {
	return func(yield func(*pb.Part) bool) {
		flows := n.Flows
		for first := true; first || len(n.Seen)+len(flows.Began)+len(flows.Ended) > 0; first = false {
			m := &pb.Note{}
			if first {
				m = &pb.Note{
					Full: n.Full, Ready: n.Ready, Isolated: n.Isolated, Applied: toRevision(n.Applied), Owns: toOwns(n.Owns),
					Clock:   toReading(n.Clock, now),
					Stalled: n.Stalled, Missing: toMissing(n.Missing),
				}
			}
			some := min(len(n.Seen), partRows)
			m.Seen = toSightings(n.Seen[:some], now)
			n.Seen = n.Seen[some:]
			m.Flows = cutFlows(&flows, partRows-some)
			if !yield(&pb.Part{Note: m, More: len(n.Seen)+len(flows.Began)+len(flows.Ended) > 0}) {
				return
			}
		}
	}
}

// notes puts a note together again.
type notes struct {
	by   gateway.ID
	sent time.Time // by the receiver's clock
	n    gateway.Note
	more bool
}

// begin starts a note that was sent at an instant of the receiver's clock.
func (j *notes) begin(by gateway.ID, sent time.Time) { *j = notes{by: by, sent: sent.Round(0)} }

// add takes in a part, and says whether it was the last.
func (j *notes) add(m *pb.Part) (whole bool, err error) {
	part := m.GetNote()
	switch {
	case !j.more:
		j.n = gateway.Note{
			Full: part.GetFull(), Ready: part.GetReady(), Isolated: part.GetIsolated(), Applied: fromRevision(part.GetApplied()),
			Clock:   fromReading(part.GetClock(), j.sent),
			Stalled: part.GetStalled(), Missing: fromMissing(part.GetMissing()),
			Flows: gateway.FlowNote{Full: part.GetFlows().GetFull()},
		}
		if j.n.Owns, err = fromOwns(part.GetOwns()); err != nil {
			return false, err
		}
		if j.n.Flows.Here, err = fromOwns(part.GetFlows().GetHere()); err != nil {
			return false, err
		}
	case part.GetFull() || part.GetReady() || part.GetIsolated() || part.GetStalled() || part.GetApplied() != nil,
		len(part.GetOwns()) > 0 || len(part.GetMissing()) > 0 || part.GetClock() != nil,
		part.GetFlows().GetFull() || len(part.GetFlows().GetHere()) > 0:
		return false, fmt.Errorf("%w: a later part of a note has more than sightings and connections", ErrInvalid)
	case len(part.GetSeen().GetKeys())+len(part.GetFlows().GetBegan())+len(part.GetFlows().GetEnded()) == 0:
		return false, fmt.Errorf("%w: an empty part of a note", ErrInvalid)
	}
	j.more = m.GetMore()
	if j.n.Seen, err = appendSightings(j.n.Seen, part.GetSeen(), j.by, j.sent); err != nil {
		return false, err
	}
	if len(j.n.Seen) > maxRows {
		return false, fmt.Errorf("%w: a note about more than %d peers", ErrTooLarge, maxRows)
	}
	if err = appendFlows(&j.n.Flows, part.GetFlows()); err != nil {
		return false, err
	}
	return !j.more, nil
}
