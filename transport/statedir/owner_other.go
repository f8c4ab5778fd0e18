//go:build !unix

package statedir

import (
	"io/fs"
	"os"
)

// owned and take have no counterpart here: no daemon of ours runs on such a system.
func owned(string, fs.FileInfo) error { return nil }

func take(*os.File) error { return nil }
