package planted

// FailsWithin is Fails with another patience.
var FailsWithin = failsWithin
