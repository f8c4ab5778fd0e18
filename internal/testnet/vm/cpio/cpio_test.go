package cpio_test

import (
	"bytes"
	"io"
	"strconv"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"

	"github.com/holdfastvpn/holdfast/internal/testnet/vm/cpio"
)

// The parts of an archive, byte by byte, as the kernel's documentation of early
// user space has them.
func TestBytes(t *testing.T) {
	var b bytes.Buffer
	w := cpio.NewWriter(&b)
	require.NoError(t, w.Dir("d", 0o755))
	require.NoError(t, w.File("d/f", 0o640, 5, strings.NewReader("hello, world")))
	require.NoError(t, w.Link("l", "d/f"))
	require.NoError(t, w.Char("c", 0o600, 5, 1))
	require.NoError(t, w.Close())
	zero := "00000000"
	require.Equal(t, strings.Join([]string{
		"070701", "00000001", "000041ed", zero, zero, "00000002", zero, zero, zero, zero, zero, zero, "00000002", zero, "d\x00",
		"070701", "00000002", "000081a0", zero, zero, "00000001", zero, "00000005", zero, zero, zero, zero, "00000004", zero, "d/f\x00",
		"\x00\x00", "hello", "\x00\x00\x00",
		"070701", "00000003", "0000a1ff", zero, zero, "00000001", zero, "00000003", zero, zero, zero, zero, "00000002", zero, "l\x00",
		"d/f", "\x00",
		"070701", "00000004", "00002180", zero, zero, "00000001", zero, zero, zero, zero, "00000005", "00000001", "00000002", zero, "c\x00",
		"070701", zero, zero, zero, zero, "00000001", zero, zero, zero, zero, zero, zero, "0000000b", zero, "TRAILER!!!\x00", "\x00\x00\x00",
	}, ""), b.String())
}

func TestRefused(t *testing.T) {
	w := cpio.NewWriter(io.Discard)
	require.ErrorContains(t, w.Dir("/abs", 0o755), "relative to the root")
	require.ErrorContains(t, w.Dir("", 0o755), "relative to the root")
	require.ErrorContains(t, w.Dir("a\x00b", 0o755), "relative to the root")
	require.ErrorContains(t, w.File("big", 0o644, 1<<32, nil), "do not fit")
	require.ErrorContains(t, w.File("odd", 0o644, -1, nil), "do not fit")
	require.ErrorIs(t, w.File("short", 0o644, 9, strings.NewReader("12345678")), io.EOF)
}

// found is an entry as a reader that knows nothing of the writer finds it.
type found struct {
	name, content string
	mode          uint64
}

func read(t *rapid.T, b []byte) (all []found) {
	pos := 0
	take := func(n int) string {
		s := string(b[pos : pos+n])
		pos += n
		return s
	}
	seen := map[uint64]bool{}
	for {
		require.Zero(t, pos%4)
		require.Equal(t, "070701", take(6))
		var n [13]uint64
		for i := range n {
			v, err := strconv.ParseUint(take(8), 16, 32)
			require.NoError(t, err)
			n[i] = v
		}
		name := take(int(n[11]))
		require.Equal(t, byte(0), name[len(name)-1])
		pos = (pos + 3) &^ 3
		content := take(int(n[6]))
		pos = (pos + 3) &^ 3
		if name == "TRAILER!!!\x00" {
			require.Len(t, b, pos)
			return all
		}
		require.False(t, seen[n[0]], "two files with one inode are one file")
		seen[n[0]] = true
		all = append(all, found{name: name[:len(name)-1], content: content, mode: n[1]})
	}
}

func TestReadBack(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		name := rapid.StringMatching(`[a-zA-Z0-9._/äß -]{0,40}[a-z]`).Filter(func(s string) bool { return s[0] != '/' })
		var b bytes.Buffer
		w := cpio.NewWriter(&b)
		var want []found
		for range rapid.IntRange(0, 20).Draw(t, "entries") {
			e := found{name: name.Draw(t, "name")}
			switch rapid.IntRange(0, 2).Draw(t, "kind") {
			case 0:
				e.mode = 0o040700
				require.NoError(t, w.Dir(e.name, 0o700))
			case 1:
				e.mode, e.content = 0o100644, rapid.String().Draw(t, "content")
				require.NoError(t, w.File(e.name, 0o644, int64(len(e.content)), strings.NewReader(e.content)))
			case 2:
				e.mode, e.content = 0o120777, name.Draw(t, "target")
				require.NoError(t, w.Link(e.name, e.content))
			}
			want = append(want, e)
		}
		require.NoError(t, w.Close())
		require.Equal(t, want, read(t, b.Bytes()))
	})
}
