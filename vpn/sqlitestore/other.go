//go:build !unix

package sqlitestore

import (
	"errors"
	"fmt"
	"runtime"
)

// Elsewhere, who may read a file is told in other ways, and nobody has yet
// written the code that asks. What cannot be checked is refused.

var errSystem = fmt.Errorf("sqlitestore: not on %s yet: %w", runtime.GOOS, errors.ErrUnsupported)

const smallest = 512

type lock struct{}

func acquire(string) (*lock, error) { return nil, errSystem }

func (*lock) release() error { return nil }

func safeDir(string) error { return errSystem }

func safeFile(string) error { return errSystem }

func create(string) error { return errSystem }

func settle(string) error { return errSystem }

func flush(string) error { return errSystem }
