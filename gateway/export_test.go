package gateway

// Believe is what a Reconciler assumes of a device after a plan.
var Believe = believe

// Withhold is what of a configuration may be kept.
var Withhold = withhold

// Family is what a Process tells of siblings.
func (r *Reconciler) Family(list []Sibling) { r.sib.only(list, r.c.Now()) }
