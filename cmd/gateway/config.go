package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"time"

	"github.com/holdfastvpn/holdfast/cmd/internal/daemon"
	"github.com/holdfastvpn/holdfast/gateway/wgdevice"
	"github.com/holdfastvpn/holdfast/transport/statedir"
)

// options are the flags of both commands.
type options struct {
	daemon.Common

	StateDir   string        `default:"/var/lib/holdfast-gateway" help:"Where the identity and the last configuration are kept."`
	RuntimeDir string        `default:"/run/holdfast/gateway" help:"Where it is kept, until the machine goes down, which peers were heard when: then a restart does not forget it. Empty: nowhere."`
	Listen     string        `help:"Where cores dial this gateway, such as :7946. It is kept from join on." placeholder:"ADDR"`
	Backend    string        `default:"auto" enum:"auto,kernel,userspace" help:"Whose WireGuard: ${enum}."`
	Sockets    string        `default:"/run/holdfast/device" help:"Where WireGuard in user space, which runs in processes of its own, is spoken to."`
	Prefix     string        `default:"hf-" help:"What names of interfaces begin with; the location's ID follows."`
	MaxAge     time.Duration `default:"720h" help:"After a reboot with no core to be reached, the last configuration is used if the last word of a core is not older; 0: however old it is."`
	HTTP       string        `name:"http" default:"127.0.0.1:7947" help:"Where health and metrics are served; empty: nowhere."`
}

// Validate checks what the parser cannot.
func (o *options) Validate() error {
	if o.Listen != "" {
		if _, _, err := net.SplitHostPort(o.Listen); err != nil {
			return fmt.Errorf("--listen: %q is no address to listen at: want a host and a port, such as :7946", o.Listen)
		}
	}
	if o.MaxAge < 0 {
		return fmt.Errorf("--max-age: %v: want a duration such as 720h, or 0", o.MaxAge)
	}
	const most = nameMax - 8 // so much is left of a location's ID at least
	if len(o.Prefix) == 0 || len(o.Prefix) > most {
		return fmt.Errorf("--prefix: %q: want 1 to %d characters", o.Prefix, most)
	}
	return nil
}

// nameMax is the length of the longest name of an interface (IFNAMSIZ in linux/if.h).
const nameMax = 15

// maxAge is MaxAge for the process, to which nothing means the default.
func (o *options) maxAge() time.Duration {
	if o.MaxAge == 0 {
		return -1
	}
	return o.MaxAge
}

func (o *options) backend() wgdevice.Backend {
	if o.Backend == "auto" {
		return wgdevice.Auto
	}
	return wgdevice.Backend(o.Backend)
}

// place is what a gateway keeps of how it was joined.
type place struct {
	Listen string   `json:"listen,omitempty"`
	Cores  []string `json:"cores,omitempty"`
}

const placeFile = "gateway.json"

func readPlace(dir *statedir.Dir) (p place, err error) {
	b, err := dir.Read(placeFile)
	if errors.Is(err, fs.ErrNotExist) {
		return p, nil
	}
	if err == nil {
		err = json.Unmarshal(b, &p)
	}
	if err != nil {
		return p, fmt.Errorf("read %s: %w", placeFile, err)
	}
	return p, nil
}

func (p place) write(dir *statedir.Dir) error {
	b, err := json.Marshal(p)
	if err != nil {
		return err
	}
	return dir.Write(placeFile, b)
}
