package runstate_test

import (
	"encoding/binary"
	"hash/crc32"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/holdfastvpn/holdfast/gateway/runstate"
)

// Whatever stands behind a checksum that fits, reading it ends, takes no more memory
// than it is worth, and what was read can be written in one way only.
func FuzzDecode(f *testing.F) {
	const head = "holdfast heard 1\n"
	for n := range 6 {
		f.Add(runstate.Encode("gw1", heard("a", n))[len(head)+4:])
	}
	f.Fuzz(func(t *testing.T, body []byte) {
		_, _ = runstate.Decode("gw1", "a", body)
		sum := crc32.Checksum(body, crc32.MakeTable(crc32.Castagnoli))
		file := append(binary.BigEndian.AppendUint32([]byte(head), sum), body...)
		m, err := runstate.Decode("gw1", "a", file)
		if err != nil {
			require.Empty(t, m)
			return
		}
		require.Equal(t, file, runstate.Encode("gw1", m))
	})
}
