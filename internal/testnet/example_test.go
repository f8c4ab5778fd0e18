//go:build linux

package testnet_test //nolint:testableexamples // it needs rights that a machine may lack

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"time"

	"github.com/holdfastvpn/holdfast/internal/testnet"
)

// An address moves from one host to another while a third one talks to it.
func Example() {
	if err := testnet.Enter(); err != nil { // first thing in main
		fmt.Println(err)
		return
	}
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	if err := move(ctx); err != nil {
		fmt.Println(err)
	}
}

func move(ctx context.Context) (err error) {
	n, err := testnet.New(ctx, testnet.Config{})
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, n.Close()) }()

	one, two, client, internet := n.Host("one"), n.Host("two"), n.Host("client"), n.Switch("internet")
	public := netip.MustParseAddr("203.0.113.10")
	service := netip.AddrPortFrom(public, 7)
	floating := n.Floating(public)
	if err := errors.Join(
		internet.Attach(one, "eth0", netip.MustParsePrefix("203.0.113.11/24")),
		internet.Attach(two, "eth0", netip.MustParsePrefix("203.0.113.12/24")),
		internet.Attach(client, "eth0", netip.MustParsePrefix("203.0.113.50/24")),
		floating.Move(one, "eth0"),
	); err != nil {
		return err
	}
	for _, h := range []*testnet.Host{one, two} {
		if _, err := h.Echo(service); err != nil {
			return err
		}
	}
	probe, err := client.Probe(testnet.ProbeConfig{To: service, Every: 5 * time.Millisecond})
	if err != nil {
		return err
	}
	start := time.Now()
	if err := floating.Move(two, "eth0"); err != nil {
		return err
	}
	if _, err := probe.WaitReply(ctx, time.Now()); err != nil {
		return err
	}
	fmt.Println("nothing came back for", probe.Outage(start))
	return nil
}
