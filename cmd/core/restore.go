package main

import (
	"context"
	"errors"
	"fmt"
	"os"

	"github.com/holdfastvpn/holdfast/transport/authority"
	"github.com/holdfastvpn/holdfast/transport/statedir"
	"github.com/holdfastvpn/holdfast/vpn/sqlitestore"
)

type restoreCmd struct {
	From string `arg:"" help:"The backup." type:"existingfile"`
}

// Run makes the store of a state directory from a backup. All tokens end: some may have
// been used or revoked since the backup, which knows nothing of it.
func (r *restoreCmd) Run(ctx context.Context, c *cli) (err error) {
	log := c.Logger(os.Stderr)
	dir, err := statedir.Open(c.StateDir)
	if err != nil {
		return fmt.Errorf("--state-dir: %w", err)
	}
	defer func() { err = errors.Join(err, dir.Close()) }()
	config := sqlitestore.Config{Path: c.database()}
	if err := sqlitestore.Restore(ctx, config, r.From); err != nil {
		return err
	}
	s, err := sqlitestore.Open(ctx, config)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, s.Close()) }()
	if err := voidTokens(ctx, s); err != nil {
		return err
	}
	log.Warn("restored: all tokens have ended, and "+adminToken+" is made anew at the next start; "+
		"gateways that were removed after the backup was made are back: remove them again", "from", r.From)
	return nil
}

func voidTokens(ctx context.Context, s *sqlitestore.Store) error {
	if err := authority.VoidTokens(ctx, s.Records()); err != nil {
		return err
	}
	tokens, err := newTokens(s)
	if err != nil {
		return err
	}
	all, err := tokens.List(ctx)
	if err != nil {
		return err
	}
	for _, t := range all {
		if _, err := tokens.Revoke(ctx, t.ID); err != nil {
			return err
		}
	}
	return nil
}
