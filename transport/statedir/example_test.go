package statedir_test

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"

	"github.com/holdfastvpn/holdfast/transport/statedir"
)

// A machine that has not joined has no credentials, but a directory of its own.
func Example() {
	tmp, _ := os.MkdirTemp("", "")
	defer func() { _ = os.RemoveAll(tmp) }()

	dir, err := statedir.Open(filepath.Join(tmp, "gateway"))
	fmt.Println(err)
	_, err = dir.Credentials()
	fmt.Println(errors.Is(err, fs.ErrNotExist))
	_, err = statedir.Open(filepath.Join(tmp, "gateway"))
	fmt.Println(errors.Is(err, statedir.ErrInUse))
	_ = dir.Close()
	// Output:
	// <nil>
	// true
	// true
}
