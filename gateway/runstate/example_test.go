package runstate_test

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"time"

	"github.com/holdfastvpn/holdfast/gateway"
	"github.com/holdfastvpn/holdfast/gateway/runstate"
	"github.com/holdfastvpn/holdfast/transport/statedir"
)

// A gateway's process gets a Store as its Memory; here is what it does with it.
func Example() {
	temp, err := os.MkdirTemp("", "example")
	if err != nil {
		fmt.Println(err)
		return
	}
	defer func() { _ = os.RemoveAll(temp) }()
	dir, err := statedir.Open(filepath.Join(temp, "run"))
	if err != nil {
		fmt.Println(err)
		return
	}
	defer func() { _ = dir.Close() }()
	store, err := runstate.New(runstate.Config{Gateway: "gw1", Files: dir})
	if err != nil {
		fmt.Println(err)
		return
	}
	ctx := context.Background()
	m := gateway.Remembered{Location: "office", Boot: "this one", At: time.Hour}
	if err := store.Remember(ctx, m); err != nil {
		fmt.Println(err)
		return
	}
	m, err = store.Recall(ctx, "office")
	fmt.Println(m.Boot, m.At, err)
	// Output: this one 1h0m0s <nil>
}
