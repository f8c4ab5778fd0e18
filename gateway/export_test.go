package gateway

// Believe is what a Reconciler assumes of a device after a plan.
var Believe = believe

// Withhold is what of a configuration may be kept.
var Withhold = withhold

// Family is what a Process tells of siblings.
func (r *Reconciler) Family(list []Sibling) { r.sib.only(list, r.c.Now()) }

// Listeners is how many conversations are told of connections.
func (r *Reconciler) Listeners() int {
	r.sib.flows.mu.Lock()
	defer r.sib.flows.mu.Unlock()
	return len(r.sib.flows.talks)
}
