package peer_test

import (
	"bytes"
	"fmt"
	"image/png"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
	"rsc.io/qr"

	"github.com/holdfastvpn/holdfast/peer"
)

const margin = 4 // ISO/IEC 18004 asks for four light modules around

// matrix is what the encoder made, with its margin: true is dark.
func matrix(t *testing.T, text string) [][]bool {
	t.Helper()
	code, err := qr.Encode(text, qr.L)
	require.NoError(t, err)
	var out [][]bool
	for y := -margin; y < code.Size+margin; y++ {
		var row []bool
		for x := -margin; x < code.Size+margin; x++ {
			row = append(row, code.Black(x, y))
		}
		out = append(out, row)
	}
	return out
}

func TestQRAsTextIsTheMatrix(t *testing.T) {
	for _, text := range []string{"x", "https://example.org/", laptop().WGQuick(key(1))} {
		code, err := peer.QR(text)
		require.NoError(t, err)
		var got [][]bool
		for line := range strings.Lines(code.Text()) {
			var upper, lower []bool
			for _, r := range strings.TrimSuffix(line, "\n") {
				upper = append(upper, r == ' ' || r == '▄')
				lower = append(lower, r == ' ' || r == '▀')
			}
			got = append(got, upper, lower)
		}
		want := matrix(t, text)
		require.Len(t, want, code.Size()+2*margin)
		// The number of rows is odd, so the last line has half a row too many.
		require.Equal(t, want, got[:len(want)])
		require.NotContains(t, got[len(want)], true)
	}
}

func TestQRAsImageIsTheMatrix(t *testing.T) {
	const pixels = 8
	text := laptop().WGQuick(key(1))
	code, err := peer.QR(text)
	require.NoError(t, err)
	img, err := png.Decode(bytes.NewReader(code.PNG()))
	require.NoError(t, err)
	want := matrix(t, text)
	require.Equal(t, pixels*len(want), img.Bounds().Dx())
	require.Equal(t, pixels*len(want), img.Bounds().Dy())
	for y := range img.Bounds().Dy() {
		for x := range img.Bounds().Dx() {
			r, _, _, _ := img.At(x, y).RGBA()
			require.Equal(t, want[y/pixels][x/pixels], r == 0, "pixel %d, %d", x, y)
		}
	}
}

// The three squares in the corners are what a reader looks for first. This does
// not ask the encoder.
func TestQRHasItsFinders(t *testing.T) {
	code, err := peer.QR("holdfast")
	require.NoError(t, err)
	n := code.Size()
	for _, corner := range [][2]int{{0, 0}, {n - 7, 0}, {0, n - 7}} {
		for y := range 7 {
			for x := range 7 {
				ring := max(abs(x-3), abs(y-3))
				require.Equal(t, ring != 2, code.Dark(corner[0]+x, corner[1]+y), "module %d, %d of the finder at %v", x, y, corner)
			}
		}
	}
	require.False(t, code.Dark(n-1, n-1) && code.Dark(n-2, n-2) && code.Dark(n-4, n-4), "no fourth one")
}

func abs(n int) int { return max(n, -n) }

func TestQRRefusesWhatDoesNotFit(t *testing.T) {
	_, err := peer.QR(strings.Repeat("x", 2953))
	require.NoError(t, err, "the most that a QR code holds")
	_, err = peer.QR(strings.Repeat("x", 2954))
	require.ErrorContains(t, err, "too long")
	_, err = peer.QR("")
	require.ErrorContains(t, err, "empty")
	require.Empty(t, peer.QRCode{}.Text())
	require.Nil(t, peer.QRCode{}.PNG())
	require.False(t, peer.QRCode{}.Dark(0, 0))
}

// proves P15: a code shows the private key, so it is shown on purpose only.
func TestQRDoesNotPrint(t *testing.T) {
	code, err := peer.QR(laptop().WGQuick(key(1)))
	require.NoError(t, err)
	for _, verb := range []string{"%v", "%+v", "%#v", "%s", "%x", "%d"} {
		require.Equal(t, "(QR code)", fmt.Sprintf(verb, code), verb)
	}
}
