// Package statedir keeps what a process must not forget in files: its credentials, and
// whatever else it hands over, each file written as a whole or not at all.
//
// The directory belongs to the process: [Open] refuses one that others own or may look
// into, and one that another process has open.
package statedir

import (
	"bytes"
	"cmp"
	"crypto"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"sync"

	"github.com/holdfastvpn/holdfast/transport"
	"github.com/holdfastvpn/holdfast/transport/join"
)

// ErrUnsafe says that a directory or file is not ours alone.
var ErrUnsafe = errors.New("statedir: not ours alone")

// ErrInUse says that another process has the directory open.
var ErrInUse = errors.New("statedir: in use")

// ErrDamaged says that a file does not hold what it should.
var ErrDamaged = errors.New("statedir: damaged")

const (
	identityFile = "identity.pem" // one file, so that key and certificate always fit
	joinFile     = "join-key.pem"
	lockFile     = "lock"
	maxFile      = 1 << 30
)

// Dir is a state directory. It is safe for concurrent use. Close lets others have it.
type Dir struct {
	path string
	lock *os.File
	mu   sync.Mutex // one writer
}

// Open takes a directory, which is made (0700) if it is not there. It fails with
// ErrUnsafe if it is a link, belongs to another user, or is open to group or others, and
// with ErrInUse if another process has it.
func Open(path string) (*Dir, error) {
	if path == "" {
		return nil, errors.New("statedir: no directory was named")
	}
	if err := os.MkdirAll(path, 0o700); err != nil {
		return nil, fmt.Errorf("statedir: making %s: %w", path, err)
	}
	info, err := os.Lstat(path)
	if err != nil {
		return nil, fmt.Errorf("statedir: opening %s: %w", path, err)
	}
	if !info.IsDir() {
		return nil, fmt.Errorf("%w: %s is no directory", ErrUnsafe, path)
	}
	if err := ours(path, info); err != nil {
		return nil, err
	}
	lock, err := os.OpenFile(filepath.Join(path, lockFile), os.O_CREATE|os.O_RDWR, 0o600)
	if err != nil {
		return nil, fmt.Errorf("statedir: opening %s: %w", path, err)
	}
	if err := take(lock); err != nil {
		_ = lock.Close()
		return nil, fmt.Errorf("%w: %s: another process runs with it: stop that one, or name another directory (%w)", ErrInUse, path, err)
	}
	return &Dir{path: path, lock: lock}, nil
}

// ours refuses what others own, may read, or may write.
func ours(path string, info fs.FileInfo) error {
	if mode := info.Mode().Perm(); mode&0o077 != 0 {
		return fmt.Errorf("%w: %s has mode %04o: take the rights of others away with: chmod go= %s", ErrUnsafe, path, mode, path)
	}
	return owned(path, info)
}

// Close lets the directory go. It may be repeated.
func (d *Dir) Close() error {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.lock == nil {
		return nil
	}
	err := d.lock.Close()
	d.lock = nil
	return err
}

// Path is where it is.
func (d *Dir) Path() string { return d.path }

func (d *Dir) file(name string) (string, error) {
	if name == "" || name != filepath.Base(name) || strings.HasPrefix(name, ".") || name == lockFile {
		return "", fmt.Errorf("statedir: %q is no name for a file", name)
	}
	return filepath.Join(d.path, name), nil
}

// Write replaces a file (0600): after a crash it holds the old bytes or the new ones.
func (d *Dir) Write(name string, data []byte) (err error) {
	path, err := d.file(name)
	if err != nil {
		return err
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.lock == nil {
		return fmt.Errorf("statedir: writing %s: %w", path, os.ErrClosed)
	}
	f, err := os.CreateTemp(d.path, ".new-*") // 0600
	if err != nil {
		return fmt.Errorf("statedir: writing %s: %w", path, err)
	}
	defer func() {
		if err != nil {
			_ = os.Remove(f.Name())
			err = fmt.Errorf("statedir: writing %s: %w", path, err)
		}
	}()
	_, err = f.Write(data)
	err = cmp.Or(err, f.Sync())
	err = cmp.Or(err, f.Close())
	if err != nil {
		return err
	}
	if err := os.Rename(f.Name(), path); err != nil {
		return err
	}
	return syncDir(d.path)
}

func syncDir(path string) error {
	dir, err := os.Open(path)
	if err != nil {
		return err
	}
	err = dir.Sync()
	return cmp.Or(err, dir.Close())
}

// Read returns a file, or an error that is fs.ErrNotExist. It fails with ErrUnsafe if it
// is not a plain file of ours alone.
func (d *Dir) Read(name string) ([]byte, error) {
	path, err := d.file(name)
	if err != nil {
		return nil, err
	}
	info, err := os.Lstat(path)
	if err != nil {
		return nil, fmt.Errorf("statedir: reading: %w", err)
	}
	if !info.Mode().IsRegular() || info.Size() > maxFile {
		return nil, fmt.Errorf("%w: %s is no plain file of sensible size", ErrUnsafe, path)
	}
	if err := ours(path, info); err != nil {
		return nil, err
	}
	data, err := os.ReadFile(path)
	if err != nil {
		return nil, fmt.Errorf("statedir: reading: %w", err)
	}
	return data, nil
}

// Remove removes a file. One that is not there is no error.
func (d *Dir) Remove(name string) error {
	path, err := d.file(name)
	if err != nil {
		return err
	}
	if err := os.Remove(path); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("statedir: %w", err)
	}
	return syncDir(d.path)
}

// JoinKey returns the key to join with, which is made the first time and kept until
// SaveCredentials: a join that was cut off goes on with the same one.
func (d *Dir) JoinKey() (crypto.Signer, error) {
	data, err := d.Read(joinFile)
	if errors.Is(err, fs.ErrNotExist) {
		key, err := join.NewKey()
		if err != nil {
			return nil, fmt.Errorf("statedir: making a key: %w", err)
		}
		text, err := keyPEM(key)
		if err != nil {
			return nil, err
		}
		return key, d.Write(joinFile, text)
	}
	if err != nil {
		return nil, err
	}
	block, rest := pem.Decode(data)
	if block == nil || len(bytes.TrimSpace(rest)) != 0 {
		return nil, fmt.Errorf("%w: %s: remove it, and make a new token", ErrDamaged, joinFile)
	}
	return parseKey(block, joinFile)
}

// SaveCredentials keeps the key, its certificate, and the roots, all or nothing. The
// key has to be one that can be read, so of no hardware module.
func (d *Dir) SaveCredentials(c transport.Credentials) error {
	if c.Leaf() == nil {
		return errors.New("statedir: no credentials to save")
	}
	text, err := keyPEM(c.Key())
	if err != nil {
		return err
	}
	for _, x := range append([]*x509.Certificate{c.Leaf()}, c.Roots()...) {
		text = append(text, pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: x.Raw})...)
	}
	if err := d.Write(identityFile, text); err != nil {
		return err
	}
	return d.Remove(joinFile)
}

// Credentials returns what SaveCredentials kept, or an error that is fs.ErrNotExist: then
// the machine has not joined.
func (d *Dir) Credentials() (transport.Credentials, error) {
	none := transport.Credentials{}
	rest, err := d.Read(identityFile)
	if err != nil {
		return none, err
	}
	block, rest := pem.Decode(rest)
	if block == nil {
		return none, fmt.Errorf("%w: %s: restore it, or join again", ErrDamaged, identityFile)
	}
	key, err := parseKey(block, identityFile)
	if err != nil {
		return none, err
	}
	var certs []*x509.Certificate
	for block, rest = pem.Decode(rest); block != nil; block, rest = pem.Decode(rest) {
		c, err := x509.ParseCertificate(block.Bytes)
		if err != nil {
			return none, fmt.Errorf("%w: %s: a certificate is unreadable: restore it, or join again", ErrDamaged, identityFile)
		}
		certs = append(certs, c)
	}
	if len(certs) < 2 || len(bytes.TrimSpace(rest)) != 0 {
		return none, fmt.Errorf("%w: %s: a part is missing: restore it, or join again", ErrDamaged, identityFile)
	}
	c, err := transport.NewCredentials(key, certs[:1], certs[1:])
	if err != nil {
		return none, fmt.Errorf("%w: %s: %w", ErrDamaged, identityFile, err)
	}
	return c, nil
}

func keyPEM(key crypto.Signer) ([]byte, error) {
	der, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		return nil, fmt.Errorf("statedir: the key cannot be kept in a file (%T)", key)
	}
	return pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: der}), nil
}

func parseKey(b *pem.Block, name string) (crypto.Signer, error) {
	if key, err := x509.ParsePKCS8PrivateKey(b.Bytes); err == nil && b.Type == "PRIVATE KEY" {
		if s, ok := key.(crypto.Signer); ok {
			return s, nil
		}
	}
	return nil, fmt.Errorf("%w: %s: its key is unreadable", ErrDamaged, name) // which quotes nothing of it
}
