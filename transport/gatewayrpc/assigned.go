package gatewayrpc

import (
	"fmt"
	"iter"

	"github.com/holdfastvpn/holdfast/gateway"
	"github.com/holdfastvpn/holdfast/transport/gatewayrpc/internal/pb"
)

// assignmentSize is what a location takes on the wire or in memory, and a sibling
// too, but for their texts.
const assignmentSize = 48

// assignedParts yields what is assigned in parts. What of a location does not fit
// in one, the next begins with.
func assignedParts(list []gateway.Assignment) iter.Seq[*pb.AssignedResponse] {
	return func(yield func(*pb.AssignedResponse) bool) {
		m, f := &pb.AssignedResponse{}, filling{}
		next := func() bool { // another part, if this one is full
			if !f.full() {
				return true
			}
			m.More = true
			said := m
			m, f = &pb.AssignedResponse{}, filling{}
			return yield(said)
		}
		for _, a := range list {
			var row *pb.Assignment
			for n := -1; n < len(a.Siblings); n++ {
				if !next() {
					return
				}
				if len(m.GetAssignments()) == 0 || n < 0 {
					row = &pb.Assignment{Location: string(a.Location)}
					m.Assignments = append(m.Assignments, row)
					f.add(assignmentSize + len(a.Location))
				}
				if n >= 0 {
					s := a.Siblings[n]
					row.Siblings = append(row.Siblings, &pb.Sibling{Gateway: string(s.ID), Addr: s.Addr, Missing: s.Missing})
					f.add(assignmentSize + len(s.ID) + len(s.Addr))
				}
			}
		}
		yield(m)
	}
}

// assigned puts what is assigned together again.
type assigned struct {
	list []gateway.Assignment // never nil when it is whole
	more bool
	size int
}

// add takes in a part, and says whether it was the last.
func (j *assigned) add(m *pb.AssignedResponse) (whole bool, err error) {
	switch {
	case !j.more:
		*j = assigned{list: make([]gateway.Assignment, 0, len(m.GetAssignments()))}
	case len(m.GetAssignments()) == 0:
		return false, fmt.Errorf("%w: an empty part of what is assigned", ErrInvalid)
	}
	j.more = m.GetMore()
	for n, row := range m.GetAssignments() {
		at := gateway.LocationID(row.GetLocation())
		if last := len(j.list) - 1; n > 0 || last < 0 || j.list[last].Location != at {
			j.list = append(j.list, gateway.Assignment{Location: at})
			j.size += assignmentSize + len(at)
		}
		a := &j.list[len(j.list)-1]
		for _, s := range row.GetSiblings() {
			a.Siblings = append(a.Siblings, gateway.Sibling{ID: gateway.ID(s.GetGateway()), Addr: s.GetAddr(), Missing: s.GetMissing()})
			j.size += assignmentSize + len(s.GetGateway()) + len(s.GetAddr())
		}
	}
	if j.size > maxWhole {
		return false, fmt.Errorf("%w: more than %d bytes are assigned", ErrTooLarge, maxWhole)
	}
	return !j.more, nil
}
