package main

import (
	"errors"
	"fmt"
	"net"
	"path/filepath"
	"time"

	"github.com/holdfastvpn/holdfast/cmd/internal/daemon"
	"github.com/holdfastvpn/holdfast/transport"
)

// options are the flags.
type options struct {
	daemon.Common

	StateDir string `default:"/var/lib/holdfast" help:"Where everything is kept; it is made if it is not there."`
	Keyring  string `help:"The file with the keys that seal secrets, one a line, the sealing one first. By default it is a systemd credential 'keyring', else the file keyring in the state directory, which is made." placeholder:"FILE"`

	Deployment string `default:"holdfast" help:"Name of the deployment, in certificates; it cannot be changed later."`

	Socket      string `default:"/run/holdfast/core.sock" help:"The socket for operators on this machine; empty: none."`
	AdminListen string `help:"Where operators with a token connect from elsewhere, over HTTPS, such as :8443." placeholder:"ADDR"`
	AdminCert   string `help:"The certificate for --admin-listen, with its chain (PEM)." placeholder:"FILE" type:"existingfile"`
	AdminKey    string `help:"The key of --admin-cert (PEM)." placeholder:"FILE" type:"existingfile"`

	Listen              string        `help:"Where gateways that dial connect, such as :7946. By default the core dials." placeholder:"ADDR"`
	CertificateLifetime time.Duration `default:"720h" help:"How long certificates of gateways live; they are renewed after two thirds of it."`

	HTTP string `name:"http" default:"127.0.0.1:7945" help:"Where health and metrics are served; empty: nowhere."`
}

// Validate checks what the parser cannot.
func (o *options) Validate() error {
	for flag, addr := range map[string]string{"admin-listen": o.AdminListen, "listen": o.Listen, "http": o.HTTP} {
		if addr == "" {
			continue
		}
		if _, _, err := net.SplitHostPort(addr); err != nil {
			return fmt.Errorf("--%s: %q is no address to listen at: want a host and a port, such as 127.0.0.1:7945", flag, addr)
		}
	}
	if (o.AdminListen == "") != (o.AdminCert == "") || (o.AdminCert == "") != (o.AdminKey == "") {
		return errors.New("--admin-listen, --admin-cert, --admin-key: want all of them, or none")
	}
	if o.CertificateLifetime < 10*time.Second || o.CertificateLifetime > 10*365*24*time.Hour {
		return fmt.Errorf("--certificate-lifetime: %v: want 10s to ten years", o.CertificateLifetime)
	}
	id := transport.Identity{Deployment: o.Deployment, Role: transport.Core, ID: "x"}
	if err := id.Validate(); err != nil {
		return fmt.Errorf("--deployment: %q: want 1 to %d letters a-z, digits, points, dashes and underscores", o.Deployment, transport.MaxName)
	}
	return nil
}

// database is the file of the store.
func (o *options) database() string { return filepath.Join(o.StateDir, "core.db") }
