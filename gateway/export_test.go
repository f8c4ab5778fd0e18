package gateway

// Believe is what a Reconciler assumes of a device after a plan.
var Believe = believe

// Withhold is what of a configuration may be kept.
var Withhold = withhold
