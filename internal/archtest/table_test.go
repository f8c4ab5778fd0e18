// Package archtest holds the map of this module as data, and the tests that keep
// map and code together: who may import whom, what no library package reaches,
// what every exported name has, what pure files may not do. It has no code but
// tests, and needs no tool but the go command.
package archtest

const module = "github.com/holdfastvpn/holdfast"

// A row is one library package: what it is, and which packages of this module its
// code may import. Packages that no row names fail the tests, except below
// internal/, examples/ and cmd/, where anything may be imported.
type row struct {
	path    string
	what    string
	may     []string
	planned bool // in the design, not in the tree: it must not be there
}

// table is in the order of the graph: a row names only rows above it, so imports
// point one way. docs/architecture.md shows it (make generate).
var table = []row{
	{path: "vpn/wgkey", what: "typed keys: public, private, preshared; secrets neither print nor marshal"},
	{path: "vpn/seal", what: "sealing of secrets at rest, with a keyring"},
	{
		path: "location", what: "where peers connect: prefixes, key, routes, policy; address arithmetic",
		may: []string{"vpn/wgkey", "vpn/seal"},
	},
	{
		path: "location/locationtest", what: "the suite for location.Store",
		may: []string{"location", "vpn/wgkey", "vpn/seal"},
	},
	{
		path: "peer", what: "who connects: a device, its places in locations, wg-quick text",
		may: []string{"location", "vpn/wgkey"},
	},
	{
		path: "peer/peertest", what: "the suite for peer.Store",
		may: []string{"peer", "location", "vpn/wgkey", "vpn/seal"},
	},
	{
		path: "mfa", what: "sessions and challenges of users who prove a second factor",
		may: []string{"peer", "location", "vpn/wgkey", "vpn/seal"}, planned: true,
	},
	{
		path: "gateway", what: "desired and actual state, the plan between them, the reconciler; Device and ControlPlane",
		may: []string{"vpn/wgkey"},
	},
	{
		path: "gateway/memdevice", what: "a Device in memory, with the kernel's rules",
		may: []string{"gateway", "vpn/wgkey"},
	},
	{
		path: "gateway/gatewaytest", what: "the suites for Device, ControlPlane and Talker",
		may: []string{"gateway", "gateway/memdevice", "vpn/wgkey"},
	},
	{path: "gateway/wgdevice/announce", what: "tells neighbours at which machine an address is now"},
	{
		path: "gateway/wgdevice", what: "a Device on Linux, kernel or user-space WireGuard; the only code that touches a kernel",
		may: []string{"gateway", "vpn/wgkey", "gateway/wgdevice/announce"},
	},
	{
		path: "gateway/snapshot", what: "a Keeper in sealed files: what a gateway was told last",
		may: []string{"gateway", "vpn/seal", "vpn/wgkey"},
	},
	{
		path: "gateway/runstate", what: "a Memory in files: who was heard when, until the machine goes down",
		may: []string{"gateway", "vpn/wgkey"},
	},
	{path: "transport", what: "who is who, and links between processes: mutual TLS, HTTP/2 either way round"},
	{
		path: "transport/join", what: "becoming a part of a deployment with one token, and staying one",
		may: []string{"transport"},
	},
	{
		path: "transport/sealed", what: "what device and core say to each other, sealed from whoever carries it; identities of devices, enrolment",
		may: []string{"transport"},
	},
	{
		path: "transport/authority", what: "issues and revokes the certificates of a deployment; its roots and tokens",
		may: []string{"transport", "transport/join"},
	},
	{
		path: "transport/statedir", what: "files of a process that nobody else may see, written as a whole or not at all",
		may: []string{"transport", "transport/join"},
	},
	{
		path: "transport/transporttest", what: "links that break on request, a network in memory, a whole deployment",
		may: []string{"transport", "transport/join", "transport/authority"},
	},
	{
		path: "transport/memtransport", what: "links inside one process that can be cut, stalled and slowed",
		may: []string{"gateway", "vpn/wgkey"},
	},
	{
		path: "transport/gatewayrpc", what: "gateway.ControlPlane between processes, over Connect",
		may: []string{"transport", "gateway", "vpn/wgkey"},
	},
	{
		path: "transport/siblingrpc", what: "gateway.Talker between gateways, over Connect; the links that this takes",
		may: []string{"transport", "gateway", "vpn/wgkey"},
	},
	{
		path: "transport/clientrpc", what: "what clients ask of the core, on a wire through proxies that cannot read it",
		may: []string{"transport", "transport/sealed", "vpn/wgkey"},
	},
	{
		path: "transport/proxy", what: "the relay in the DMZ",
		may: []string{"transport", "transport/clientrpc"}, planned: true,
	},
	{
		path: "vpn", what: "the composer: Core, Stores, View, Project, acknowledgements, Overview",
		may: []string{"gateway", "peer", "location", "vpn/wgkey", "vpn/seal"},
	},
	{
		path: "transport/adminrpc", what: "what operators ask of a core, on a wire; it stands above the composer",
		may: []string{"transport/join", "vpn", "gateway", "peer", "location", "vpn/wgkey"},
	},
	{
		path: "vpn/kvstore", what: "Stores over any ordered key-value database",
		may: []string{"vpn", "gateway", "peer", "location", "vpn/wgkey", "vpn/seal"},
	},
	{
		path: "vpn/kvstore/kvstoretest", what: "the suite for such a database",
		may: []string{"vpn/kvstore"},
	},
	{
		path: "vpn/memstore", what: "Stores in memory",
		may: []string{"vpn", "vpn/kvstore", "gateway", "peer", "location", "vpn/wgkey", "vpn/seal"},
	},
	{
		path: "vpn/vpntest", what: "the suite for a whole backend",
		may: []string{
			"vpn", "gateway", "peer", "location", "vpn/wgkey", "vpn/seal",
			"location/locationtest", "peer/peertest", "gateway/gatewaytest",
		},
	},
	{
		path: "vpn/sqlitestore", what: "Stores in an SQLite file, for one process; backups",
		may: []string{"vpn", "vpn/kvstore", "gateway", "peer", "location", "vpn/wgkey", "vpn/seal"},
	},
	{
		path: "vpn/pgstore", what: "Stores on PostgreSQL, shared by any number of cores",
		may: []string{"vpn", "gateway", "peer", "location", "vpn/wgkey", "vpn/seal"}, planned: true,
	},
}

// A reach rule names a package, or all below it, that only some packages may
// have among the packages that they link, however indirectly.
type reach struct {
	path string
	only []string // see within
	why  string
}

var reaches = []reach{
	{"go.uber.org/fx", []string{"cmd/..."}, "daemons are wired with it, constructors are plain functions"},
	{"testing", []string{"*test", "internal/...", "examples/..."}, "a user's program must not carry test flags"},
	{"github.com/stretchr/testify", []string{"*test", "internal/...", "examples/..."}, "for tests and suites"},
	{"github.com/google/go-cmp", []string{"*test", "internal/...", "examples/..."}, "for tests and suites"},
	{"pgregory.net/rapid", []string{"*test", "internal/...", "examples/..."}, "for tests and suites"},
	{"go.uber.org/goleak", []string{"*test", "internal/...", "examples/..."}, "for tests and suites"},
	{module + "/internal/testnet", []string{"internal/...", "examples/..."}, "the lab is not for libraries"},
	{"github.com/vishvananda/netlink", kernel, "only wgdevice touches a kernel"},
	{"github.com/google/nftables", kernel, "only wgdevice touches a kernel"},
	{"golang.zx2c4.com/wireguard", kernel, "only wgdevice touches a kernel"},
	{"google.golang.org/protobuf", wires, "generated messages stay on the wire"},
	{"connectrpc.com/connect", wires, "generated messages stay on the wire"},
}

var (
	kernel = []string{"gateway/wgdevice/...", "internal/...", "examples/...", "cmd/..."}
	wires  = []string{"transport/...", "internal/...", "examples/...", "cmd/..."}
)

// free are the trees that may import anything of ours.
var free = []string{"internal/...", "examples/...", "cmd/..."}

// pure are the files that decide: they take the time as an argument. A pattern
// with a leading ! takes files out again.
var pure = []string{
	"gateway/config*.go",
	"gateway/validate*.go",
	"gateway/update*.go",
	"gateway/diff*.go",
	"gateway/plan.go",
	"gateway/activity*.go",
	"gateway/state*.go",
	"vpn/project*.go",
	"location/*.go",
	"peer/*.go",
	"!location/service*.go",
	"!peer/service*.go",
	"transport/identity.go",
	"transport/verify.go",
	"transport/hello.go",
	"transport/join/token.go",
	"transport/join/proof.go",
	"transport/sealed/*.go",
}
