package location

import "math"

// ourMark is the first half of the marks that are given to locations which need one
// and have none: "hf". The other half is the port, which locations on one machine
// cannot share.
const ourMark = 0x6866 << 16

// FirewallMark is the one that what gateways send has; 0 is none. Without one nobody
// could tell which packets are to leave from a floating address, so that a location with
// such addresses and no Mark is given one.
func (l Location) FirewallMark() uint32 {
	if l.Mark == 0 && len(l.Floating) > 0 {
		return ourMark | uint32(l.Port)
	}
	return l.Mark
}

// checkMark wants a mark that a routing table can have as its number, where addresses
// float: gateways have one for it. Others may have any.
func checkMark(l Location) *FieldError {
	if len(l.Floating) == 0 {
		return nil
	}
	switch {
	case l.Mark >= 252 && l.Mark <= 255:
		return fieldf("Mark", "is %d, and where addresses float gateways use the routing table of that number, which is the system's own: "+
			"choose another mark, or 0 for one of ours", l.Mark)
	case l.Mark == math.MaxUint32:
		return fieldf("Mark", "is %#x, and where addresses float gateways use the routing table of that number, which cannot be: "+
			"choose another mark, or 0 for one of ours", l.Mark)
	}
	return nil
}

// told says which other location has the mark of l although addresses of one of them
// float: on one machine they would take each other's routes away. Two that are given
// theirs by their port cannot meet there.
func told(l Location, others []Location) error {
	for _, o := range others {
		floats := len(l.Floating) > 0 || len(o.Floating) > 0
		if o.ID == l.ID || !floats || l.FirewallMark() == 0 || l.FirewallMark() != o.FirewallMark() || l.Mark == 0 && o.Mark == 0 {
			continue
		}
		return fieldf("Mark", "%#x is also that of location %q, and where addresses float gateways know packets by it: "+
			"choose another mark, or 0 for one of ours", l.FirewallMark(), o.Name)
	}
	return nil
}

// marked says whether the mark may be another one than that of old, or matter now.
func marked(l, old Location) bool {
	return l.FirewallMark() != old.FirewallMark() || len(l.Floating) > 0 && len(old.Floating) == 0
}
