package wire_test

import (
	"bytes"
	"errors"
	"io"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"

	"github.com/holdfastvpn/holdfast/internal/testnet/vm/wire"
)

func TestThereAndBack(t *testing.T) {
	type frame struct {
		kind wire.Kind
		text string
	}
	rapid.Check(t, func(t *rapid.T) {
		var b []byte
		var want []frame
		for range rapid.IntRange(0, 20).Draw(t, "frames") {
			f := frame{
				kind: rapid.SampledFrom([]wire.Kind{wire.Stdout, wire.Stderr}).Draw(t, "kind"),
				text: strings.Repeat(rapid.StringN(0, 8, 8).Draw(t, "text"), rapid.IntRange(0, wire.MaxFrame/8).Draw(t, "times")),
			}
			b, want = wire.Append(b, f.kind, []byte(f.text)), append(want, f)
		}
		last := wire.End{
			Exit: rapid.IntRange(0, 255).Draw(t, "exit"), Limit: rapid.Bool().Draw(t, "limit"),
			Boot: time.Duration(rapid.Int64().Draw(t, "boot")), Took: time.Duration(rapid.Int64().Draw(t, "took")),
		}
		b, err := wire.AppendEnd(b, last)
		require.NoError(t, err)

		cut := rapid.IntRange(0, len(b)-1).Draw(t, "cut")
		for r := bytes.NewReader(b[:cut]); ; { // what is cut off is never a last frame
			k, _, err := wire.Read(r, nil)
			if err != nil {
				require.True(t, errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF), "%v", err)
				break
			}
			require.NotEqual(t, wire.Finished, k)
		}
		r, buf := bytes.NewReader(b), make([]byte, 16)
		var got []frame
		for {
			k, text, err := wire.Read(r, buf)
			require.NoError(t, err)
			if k == wire.Finished {
				end, err := wire.ParseEnd(text)
				require.NoError(t, err)
				require.Equal(t, last, end)
				break
			}
			got = append(got, frame{k, string(text)})
		}
		require.Equal(t, want, got)
		_, _, err = wire.Read(r, buf)
		require.ErrorIs(t, err, io.EOF)
	})
}

func TestLongTrouble(t *testing.T) {
	b, err := wire.AppendEnd(nil, wire.End{Trouble: strings.Repeat("\x00", wire.MaxFrame)})
	require.NoError(t, err)
	_, text, err := wire.Read(bytes.NewReader(b), nil)
	require.NoError(t, err)
	end, err := wire.ParseEnd(text)
	require.NoError(t, err)
	require.NotEmpty(t, end.Trouble)
}

func FuzzRead(f *testing.F) {
	f.Add(wire.Append(nil, wire.Stdout, []byte("hello")))
	f.Add([]byte("x\xff\xff\xff\xff"))
	f.Fuzz(func(t *testing.T, b []byte) {
		r := bytes.NewReader(b)
		for {
			k, text, err := wire.Read(r, nil)
			if err != nil {
				return
			}
			require.LessOrEqual(t, len(text), wire.MaxFrame)
			if k == wire.Finished {
				_, _ = wire.ParseEnd(text)
			}
		}
	})
}
