package snapshot_test

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"time"

	"github.com/holdfastvpn/holdfast/gateway"
	"github.com/holdfastvpn/holdfast/gateway/gatewaytest"
	"github.com/holdfastvpn/holdfast/gateway/snapshot"
	"github.com/holdfastvpn/holdfast/transport/statedir"
)

// A gateway's process gets a Store as its Keeper; here is what it does with it.
func Example() {
	temp, err := os.MkdirTemp("", "example")
	if err != nil {
		fmt.Println(err)
		return
	}
	defer func() { _ = os.RemoveAll(temp) }()
	dir, err := statedir.Open(filepath.Join(temp, "state"))
	if err != nil {
		fmt.Println(err)
		return
	}
	defer func() { _ = dir.Close() }()
	store, err := snapshot.New(snapshot.Config{Gateway: "gw1", Files: dir})
	if err != nil {
		fmt.Println(err)
		return
	}
	ctx := context.Background()
	if err := store.Keep(ctx, gateway.Kept{Location: "office", Config: gatewaytest.Config(3), Heard: time.Now()}); err != nil {
		fmt.Println(err)
		return
	}
	kept, err := store.Load(ctx)
	fmt.Println(len(kept), kept[0].Location, len(kept[0].Config.Peers), kept[0].Refused, err)
	// Output: 1 office 3 <nil> <nil>
}
