package gatewayrpc

import (
	"fmt"
	"iter"
	"net/netip"
	"time"

	"github.com/holdfastvpn/holdfast/gateway"
	"github.com/holdfastvpn/holdfast/transport/gatewayrpc/internal/pb"
	"github.com/holdfastvpn/holdfast/vpn/wgkey"
)

const (
	maxMessage = 1 << 20   // bytes
	partSize   = 512 << 10 // bytes: a part ends with the row that reaches it
	partRows   = 32768
	// maxWhole is how many bytes an update or a report may have, in all its parts.
	maxWhole = 128 << 20
)

// filling says how full a part is.
type filling struct{ size, rows int }

func (f *filling) add(size int) {
	f.size += size
	f.rows++
}

func (f *filling) full() bool { return f.size >= partSize || f.rows >= partRows }

// updateParts yields an update in parts, or the error that one row of it is too large.
func updateParts(u gateway.Update) iter.Seq2[*pb.WatchResponse, error] {
	return func(yield func(*pb.WatchResponse, error) bool) {
		for first := true; first || len(u.Remove)+len(u.Set) > 0; first = false {
			m := &pb.Update{From: toRevision(u.From), To: &pb.Revision{Epoch: u.To.Epoch, Number: u.To.Number}}
			var f filling
			var err error
			if first && u.Interface != nil {
				m.Interface, err = toInterface(u.Interface)
				f.add(interfaceSize(u.Interface))
			}
			removed, set := 0, 0
			for removed < len(u.Remove) && !f.full() {
				f.add(wgkey.Size + 2)
				removed++
			}
			for set < len(u.Set) && !f.full() {
				f.add(peerSize(&u.Set[set]))
				set++
			}
			m.Remove = toKeys(u.Remove[:removed])
			if err == nil {
				m.Set, err = toPeers(u.Set[:set])
			}
			if err != nil {
				yield(nil, err)
				return
			}
			u.Remove, u.Set = u.Remove[removed:], u.Set[set:]
			if !yield(&pb.WatchResponse{Update: m, More: len(u.Remove)+len(u.Set) > 0}, nil) {
				return
			}
		}
	}
}

func toKeys(list []wgkey.Public) [][]byte {
	out := make([][]byte, len(list))
	for i := range list {
		out[i] = list[i][:]
	}
	return out
}

func toPeers(list []gateway.Peer) ([]*pb.Peer, error) {
	rows, out := make([]pb.Peer, len(list)), make([]*pb.Peer, len(list))
	for i := range list {
		if err := toPeer(&rows[i], &list[i]); err != nil {
			return nil, err
		}
		out[i] = &rows[i]
	}
	return out, nil
}

// peerSize is about what a peer takes on the wire, rather more.
func peerSize(p *gateway.Peer) int {
	n := 64 + prefixSize(p.AllowedIPs) + 2*len(p.AllowedIPs)
	if !p.Preshared.IsZero() {
		n += wgkey.Size + 2
	}
	return n
}

func interfaceSize(i *gateway.Interface) int {
	n := 128 + 18*(len(i.Floating)+len(i.Inner))
	for _, list := range [][]netip.Prefix{i.Addrs, i.Masquerade, i.Destinations} {
		n += prefixSize(list) + 2*len(list)
	}
	return n
}

// updates puts an update together again.
type updates struct {
	u    gateway.Update
	more bool
	size int
}

// add takes in a part, of so many bytes or about, and says whether it was the last.
func (j *updates) add(m *pb.WatchResponse) (whole bool, err error) {
	part := m.GetUpdate()
	from, to := fromRevision(part.GetFrom()), fromRevision(part.GetTo())
	switch {
	case !j.more:
		j.u, j.size = gateway.Update{From: from, To: to}, 0
		if j.u.Interface, err = fromInterface(part.GetInterface()); err != nil {
			return false, err
		}
	case from != j.u.From || to != j.u.To || part.GetInterface() != nil:
		return false, fmt.Errorf("%w: parts of two updates, to %v and to %v", ErrInvalid, j.u.To, to)
	case len(part.GetRemove())+len(part.GetSet()) == 0:
		return false, fmt.Errorf("%w: an empty part of the update to %v", ErrInvalid, to)
	}
	if len(part.GetRemove()) > 0 && len(j.u.Set) > 0 {
		return false, fmt.Errorf("%w: the update to %v removes after it has set", ErrInvalid, to)
	}
	j.more = m.GetMore()
	for _, b := range part.GetRemove() {
		key, err := fromKey(b)
		if err != nil {
			return false, err
		}
		j.u.Remove = append(j.u.Remove, key)
	}
	j.size += (wgkey.Size + 2) * len(part.GetRemove())
	at := len(j.u.Set)
	j.u.Set = append(j.u.Set, make([]gateway.Peer, len(part.GetSet()))...)
	for i, p := range part.GetSet() {
		if err := fromPeer(&j.u.Set[at+i], p); err != nil {
			return false, err
		}
		j.size += peerSize(&j.u.Set[at+i])
	}
	if j.size > maxWhole {
		return false, fmt.Errorf("%w: the update to %v has more than %d bytes", ErrTooLarge, to, maxWhole)
	}
	return !j.more, nil
}

const (
	problemSize  = 128 // and its words
	sightingSize = 160
)

// statusParts yields a status in parts.
func statusParts(s gateway.Status, now time.Time) iter.Seq[*pb.ReportRequest] {
	return func(yield func(*pb.ReportRequest) bool) {
		for first := true; first || len(s.Failed)+len(s.Drift)+len(s.Seen) > 0; first = false {
			m := &pb.Status{}
			if first {
				m = &pb.Status{
					Epoch: s.Epoch, Applied: toRevision(s.Applied), Verified: toRevision(s.Verified), Drifts: s.Drifts,
					Full: s.Full, Ready: s.Ready, Restored: s.Restored, Backend: text(s.Backend, maxText), Version: text(s.Version, maxText),
					Isolated: s.Isolated, Stalled: s.Stalled,
				}
			}
			var f filling
			m.Failed, s.Failed = problemParts(s.Failed, &f, now)
			m.Drift, s.Drift = problemParts(s.Drift, &f, now)
			seen := 0
			for seen < len(s.Seen) && !f.full() {
				f.add(sightingSize)
				seen++
			}
			if seen > 0 {
				m.By = text(string(s.Seen[0].By), maxText)
				m.Seen = toSightings(s.Seen[:seen], gateway.ID(m.GetBy()), now)
				s.Seen = s.Seen[seen:]
			}
			if !yield(&pb.ReportRequest{Status: m, More: len(s.Failed)+len(s.Drift)+len(s.Seen) > 0}) {
				return
			}
		}
	}
}

// problemParts takes problems as long as the part is not full, and returns the others.
func problemParts(list []gateway.Problem, f *filling, now time.Time) (out []*pb.Problem, rest []gateway.Problem) {
	for len(list) > 0 && !f.full() {
		out = append(out, toProblem(&list[0], now))
		f.add(problemSize + len(list[0].What))
		list = list[1:]
	}
	return out, list
}

func toSightings(list []gateway.Sighting, by gateway.ID, now time.Time) []*pb.Sighting {
	rows, out := make([]pb.Sighting, len(list)), make([]*pb.Sighting, len(list))
	for i := range list {
		toSighting(&rows[i], &list[i], by, now)
		out[i] = &rows[i]
	}
	return out
}

// statuses puts a status together again.
type statuses struct {
	s    gateway.Status
	sent time.Time
	more bool
	size int
}

// begin starts a status that was sent at an instant of the receiver's clock.
func (j *statuses) begin(sent time.Time) { *j = statuses{sent: sent.Round(0)} }

// add takes in a part, and says whether it was the last.
func (j *statuses) add(m *pb.ReportRequest) (whole bool, err error) {
	part := m.GetStatus()
	if !j.more {
		j.s = gateway.Status{
			Epoch: part.GetEpoch(), Applied: fromRevision(part.GetApplied()), Verified: fromRevision(part.GetVerified()),
			Drifts: part.GetDrifts(), Full: part.GetFull(), Ready: part.GetReady(), Restored: part.GetRestored(),
			Isolated: part.GetIsolated(), Stalled: part.GetStalled(),
			Backend: part.GetBackend(), Version: part.GetVersion(),
		}
	} else if len(part.GetFailed())+len(part.GetDrift())+len(part.GetSeen()) == 0 {
		return false, fmt.Errorf("%w: an empty part of a report", ErrInvalid)
	}
	j.more = m.GetMore()
	if j.s.Failed, err = j.problems(j.s.Failed, part.GetFailed()); err != nil {
		return false, err
	}
	if j.s.Drift, err = j.problems(j.s.Drift, part.GetDrift()); err != nil {
		return false, err
	}
	at := len(j.s.Seen)
	j.s.Seen = append(j.s.Seen, make([]gateway.Sighting, len(part.GetSeen()))...)
	for i, m := range part.GetSeen() {
		if err := fromSighting(&j.s.Seen[at+i], m, part.GetBy(), j.sent); err != nil {
			return false, err
		}
	}
	if j.size += sightingSize * len(part.GetSeen()); j.size > maxWhole {
		return false, fmt.Errorf("%w: a report of more than %d bytes", ErrTooLarge, maxWhole)
	}
	return !j.more, nil
}

func (j *statuses) problems(list []gateway.Problem, part []*pb.Problem) ([]gateway.Problem, error) {
	for _, m := range part {
		p, err := fromProblem(m, j.sent)
		if err != nil {
			return nil, err
		}
		list = append(list, p)
		j.size += problemSize + len(p.What)
	}
	return list, nil
}
