package gateway

// Believe is what a Reconciler assumes of a device after a plan.
var Believe = believe

// Withhold is what of a configuration may be kept.
var Withhold = withhold

// Know tells a Reconciler who its siblings are, as a Process does.
func (r *Reconciler) Know(list ...Sibling) { r.sib.only(list, r.c.Now()) }
