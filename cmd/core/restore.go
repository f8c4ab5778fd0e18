package main

import (
	"context"
	"errors"
	"fmt"

	"github.com/holdfastvpn/holdfast/transport/statedir"
	"github.com/holdfastvpn/holdfast/vpn/sqlitestore"
)

type restoreCmd struct {
	From string `arg:"" help:"The backup." type:"existingfile"`
}

// Run makes the store of a state directory from a backup.
func (r *restoreCmd) Run(ctx context.Context, c *cli) error {
	dir, err := statedir.Open(c.StateDir)
	if err != nil {
		return fmt.Errorf("--state-dir: %w", err)
	}
	return errors.Join(sqlitestore.Restore(ctx, sqlitestore.Config{Path: c.database()}, r.From), dir.Close())
}
