package gatewaytest

// The cases of the suites, to be run against implementations with a fault.
var (
	DeviceCases = deviceCases
	LinkCases   = linkCases
	OriginCases = originCases
	CutCases    = cutCases
	KeeperCases = keeperCases
	TalkCases   = talkCases
)
