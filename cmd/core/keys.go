package main

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"

	"github.com/holdfastvpn/holdfast/transport/authority"
	"github.com/holdfastvpn/holdfast/transport/statedir"
	"github.com/holdfastvpn/holdfast/vpn"
	"github.com/holdfastvpn/holdfast/vpn/seal"
)

// keyringName is the file in the state directory, and the systemd credential.
const keyringName = "keyring"

// openKeys reads the keys that seal secrets, or makes the first one.
func openKeys(o *options, dir *statedir.Dir, log *slog.Logger) (*seal.Keyring, error) {
	text, from, err := readKeys(o, dir)
	if errors.Is(err, fs.ErrNotExist) && from == "" {
		if _, there := os.Stat(o.database()); there == nil {
			return nil, fmt.Errorf("the file %s is not in %s, but a store is, whose secrets it opens: put the copy back that you kept, "+
				"or say with --keyring where it is", keyringName, dir.Path())
		}
		text = keyringText([]seal.Key{seal.NewKey()})
		from = filepath.Join(dir.Path(), keyringName)
		if err = dir.Write(keyringName, text); err == nil {
			log.Info("a key was made that seals secrets: keep a copy of it apart from backups", "file", from)
		}
	}
	if err != nil {
		return nil, fmt.Errorf("keyring: %w", err)
	}
	keys, err := seal.ParseKeys(text)
	if err != nil {
		return nil, fmt.Errorf("keyring %s: %w", from, err)
	}
	return seal.New(keys...)
}

// keyringText is the file with these keys.
func keyringText(keys []seal.Key) []byte {
	text := []byte("# Opens the secrets in core.db, which are lost without it: keep a copy elsewhere.\n")
	for _, k := range keys {
		text = append(text, k.RevealText()+"\n"...)
	}
	return text
}

// readKeys finds the keys. from is "" if nobody said where they should be, and they
// are not there.
func readKeys(o *options, dir *statedir.Dir) (text []byte, from string, err error) {
	if o.Keyring != "" {
		text, err = os.ReadFile(o.Keyring)
		return text, o.Keyring, err
	}
	if creds := os.Getenv("CREDENTIALS_DIRECTORY"); creds != "" {
		path := filepath.Join(filepath.Clean(creds), keyringName)
		if text, err = os.ReadFile(path); !errors.Is(err, fs.ErrNotExist) { //nolint:gosec // systemd says where
			return text, path, err
		}
	}
	if text, err = dir.Read(keyringName); errors.Is(err, fs.ErrNotExist) {
		return nil, "", err
	}
	return text, filepath.Join(dir.Path(), keyringName), err
}

// rootKey is the record of the authority's key, sealed.
const rootKey = "authority/key"

// openRoot reads the key of the authority's root, or makes it.
func openRoot(ctx context.Context, records vpn.Records, keys *seal.Keyring) (authority.Key, error) {
	var sealed seal.Text
	err := records.Update(ctx, rootKey, func(old []byte) ([]byte, error) {
		if old != nil {
			sealed = seal.Text(old)
			return old, nil
		}
		fresh, err := authority.NewKey()
		if err != nil {
			return nil, err
		}
		b, err := fresh.Reveal()
		if err != nil {
			return nil, err
		}
		sealed = keys.Seal(b, rootKey)
		return []byte(sealed), nil
	})
	if err != nil {
		return authority.Key{}, fmt.Errorf("the authority's key: %w", err)
	}
	b, err := keys.Open(sealed, rootKey)
	if err != nil {
		return authority.Key{}, fmt.Errorf("the authority's key: %w", err)
	}
	return authority.ParseKey(b)
}

// resealRoot seals the key of the authority's root anew if it was not sealed with the
// first key of the ring, and returns 1 then.
func resealRoot(ctx context.Context, records vpn.Records, keys *seal.Keyring) (int, error) {
	done := 0
	err := records.Update(ctx, rootKey, func(old []byte) ([]byte, error) {
		done = 0
		if old == nil || !keys.Stale(seal.Text(old)) {
			return old, nil
		}
		b, err := keys.Open(seal.Text(old), rootKey)
		if err != nil {
			return nil, err
		}
		done = 1
		return []byte(keys.Seal(b, rootKey)), nil
	})
	if err != nil {
		return 0, fmt.Errorf("the authority's key: seal it anew: %w", err)
	}
	return done, nil
}
