package gateway

import (
	"cmp"
	"slices"
)

// Clone returns a copy that shares no memory with a.
func (a Assignment) Clone() Assignment {
	a.Siblings = slices.Clone(a.Siblings)
	return a
}

// Equal says whether a and b say the same. No siblings are the same as none, nil
// or not.
func (a Assignment) Equal(b Assignment) bool {
	return a.Location == b.Location && slices.Equal(a.Siblings, b.Siblings)
}

// cloneAssignments returns a copy that shares no memory with list, and is not nil.
func cloneAssignments(list []Assignment) []Assignment {
	out := make([]Assignment, len(list))
	for i, a := range list {
		out[i] = a.Clone()
	}
	return out
}

// arrange returns a copy of what is assigned to a gateway that keeps the contract
// whoever told it: each location once, in order, and siblings in order, each once,
// and the gateway itself not among them.
func arrange(list []Assignment, self ID) []Assignment {
	list = cloneAssignments(list)
	slices.SortStableFunc(list, func(a, b Assignment) int { return cmp.Compare(a.Location, b.Location) })
	list = slices.CompactFunc(list, func(a, b Assignment) bool { return a.Location == b.Location })
	for i := range list {
		s := slices.DeleteFunc(list[i].Siblings, func(s Sibling) bool { return s.ID == self })
		slices.SortStableFunc(s, func(a, b Sibling) int { return cmp.Compare(a.ID, b.ID) })
		list[i].Siblings = slices.CompactFunc(s, func(a, b Sibling) bool { return a.ID == b.ID })
	}
	return list
}

// withoutMissing returns a copy that does not say who is missing: that is of the moment,
// and nothing to be kept.
func withoutMissing(list []Assignment) []Assignment {
	list = cloneAssignments(list)
	for i := range list {
		for k := range list[i].Siblings {
			list[i].Siblings[k].Missing = false
		}
	}
	return list
}
