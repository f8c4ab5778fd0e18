//go:build !linux

package runstate

import (
	"errors"
	"time"
)

func uptime() (time.Duration, error) { return 0, errors.ErrUnsupported }
