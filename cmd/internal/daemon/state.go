package daemon

import (
	"fmt"

	"go.uber.org/fx"

	"github.com/holdfastvpn/holdfast/transport/statedir"
)

// OpenState opens the directory that --state-dir names, which nobody else has until the
// daemon ends.
func OpenState(lc fx.Lifecycle, path string) (*statedir.Dir, error) {
	dir, err := statedir.Open(path)
	if err != nil {
		return nil, fmt.Errorf("--state-dir: %w", err)
	}
	lc.Append(fx.StopHook(dir.Close))
	return dir, nil
}
