package sqlitestore_test

import (
	"context"
	"fmt"
	"os"
	"path/filepath"

	"github.com/holdfastvpn/holdfast/vpn"
	"github.com/holdfastvpn/holdfast/vpn/seal"
	"github.com/holdfastvpn/holdfast/vpn/sqlitestore"
)

// A store is backed up while a core uses it, and the backup becomes a store.
func Example() {
	ctx := context.Background()
	dir, err := os.MkdirTemp("", "example") // 0700; a daemon has /var/lib/NAME
	if err != nil {
		fmt.Println(err)
		return
	}
	defer func() { _ = os.RemoveAll(dir) }()

	s, err := sqlitestore.Open(ctx, sqlitestore.Config{Path: filepath.Join(dir, "core.db")})
	if err != nil {
		fmt.Println(err)
		return
	}
	core, err := vpn.New(vpn.Config{Stores: s, Keys: seal.Ephemeral()})
	if err != nil {
		fmt.Println(err)
		return
	}
	_, err = core.Gateways().Add(ctx, vpn.Gateway{Name: "gw1"})
	fmt.Println(err, s.Backup(ctx, filepath.Join(dir, "backup.db")), s.Close())

	restored := sqlitestore.Config{Path: filepath.Join(dir, "restored.db")}
	fmt.Println(sqlitestore.Restore(ctx, restored, filepath.Join(dir, "backup.db")))
	s, err = sqlitestore.Open(ctx, restored)
	if err != nil {
		fmt.Println(err)
		return
	}
	all, err := s.Records().List(ctx, "", "", 0)
	fmt.Println(err, len(all) > 0, s.Close())
	// Output:
	// <nil> <nil> <nil>
	// <nil>
	// <nil> true <nil>
}
