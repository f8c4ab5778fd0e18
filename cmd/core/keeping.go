package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"sync"

	"github.com/holdfastvpn/holdfast/location"
	"github.com/holdfastvpn/holdfast/transport/adminrpc"
	"github.com/holdfastvpn/holdfast/transport/statedir"
	"github.com/holdfastvpn/holdfast/vpn"
	"github.com/holdfastvpn/holdfast/vpn/seal"
	"github.com/holdfastvpn/holdfast/vpn/sqlitestore"
)

// keeping cares for the store and for the keys that seal its secrets.
type keeping struct {
	o     *options
	dir   *statedir.Dir
	store *sqlitestore.Store
	core  *vpn.Core
	keys  *seal.Keyring

	rotating sync.Mutex
}

var _ adminrpc.Keeping = (*keeping)(nil)

func newKeeping(o *options, dir *statedir.Dir, store *sqlitestore.Store, core *vpn.Core, keys *seal.Keyring) *keeping {
	return &keeping{o: o, dir: dir, store: store, core: core, keys: keys}
}

// Backup writes a copy of the store, by way of a file that goes again.
func (k *keeping) Backup(ctx context.Context, w io.Writer) (err error) {
	tmp, err := os.MkdirTemp(k.dir.Path(), "backup-*")
	if err != nil {
		return fmt.Errorf("back up: %w", err)
	}
	defer func() { err = errors.Join(err, os.RemoveAll(tmp)) }()
	file := filepath.Join(tmp, "core.db")
	if err := k.store.Backup(ctx, file); err != nil {
		return err
	}
	f, err := os.Open(file)
	if err != nil {
		return fmt.Errorf("back up: %w", err)
	}
	_, err = io.Copy(w, f)
	return errors.Join(err, f.Close())
}

// errForeignKeyring says that the keys are not ours to change.
var errForeignKeyring = &location.FieldError{Field: "keyring", Reason: "is not kept in the state directory: put a new key on its first line where it is kept, " +
	"restart the core, and call this again, which then seals anew with that key; afterwards the old lines may go"}

// RotateKey puts a new key in front, seals all secrets anew, and leaves the old keys
// out. Whatever happens in between, the keyring opens all that is sealed.
func (k *keeping) RotateKey(ctx context.Context) (int, error) {
	k.rotating.Lock()
	defer k.rotating.Unlock()
	text, from, err := readKeys(k.o, k.dir)
	if err != nil {
		return 0, fmt.Errorf("keyring: %w", err)
	}
	own := from == filepath.Join(k.dir.Path(), keyringName)
	if !own {
		n, err := k.reseal(ctx)
		if err == nil && n == 0 {
			err = errForeignKeyring
		}
		return n, err
	}
	old, err := seal.ParseKeys(text)
	if err != nil {
		return 0, fmt.Errorf("keyring %s: %w", from, err)
	}
	fresh := seal.NewKey()
	if err := k.install(append([]seal.Key{fresh}, old...)); err != nil {
		return 0, err
	}
	n, err := k.reseal(ctx)
	if err != nil {
		return n, fmt.Errorf("the new key is in the keyring, and so are the old ones: %w", err)
	}
	return n, k.install([]seal.Key{fresh})
}

// install writes the keys, and uses them then.
func (k *keeping) install(keys []seal.Key) error {
	if err := k.dir.Write(keyringName, keyringText(keys)); err != nil {
		return err
	}
	return k.keys.Replace(keys...)
}

// reseal seals everything anew that was not sealed with the first key.
func (k *keeping) reseal(ctx context.Context) (int, error) {
	n, err := k.core.Locations().Reseal(ctx)
	if err != nil {
		return n, err
	}
	more, err := resealRoot(ctx, k.store.Records(), k.keys)
	return n + more, err
}
