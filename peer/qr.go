package peer

import (
	"errors"
	"fmt"
	"strings"

	"rsc.io/qr"
)

// quiet is the width of the blank margin that readers need, in modules.
const quiet = 4

// QRCode is a text as a QR code. Showing it shows the text, which for wg-quick
// text is a secret; so it does not print by itself. The zero value is no code.
type QRCode struct{ code *qr.Code }

// QR makes a QR code of a text. The error says that the text is empty or too
// long: about 2,900 bytes fit, which is a profile with some hundred AllowedIPs.
func QR(text string) (QRCode, error) {
	if text == "" {
		return QRCode{}, errors.New("peer: QR code: the text is empty")
	}
	code, err := qr.Encode(text, qr.L) // a screen has no stains: the lowest level has the largest modules
	if err != nil {
		return QRCode{}, fmt.Errorf("peer: QR code of %d bytes: too long: summarise AllowedIPs, or hand over a file", len(text))
	}
	return QRCode{code}, nil
}

// Format prints "(QR code)" for every verb.
func (QRCode) Format(f fmt.State, _ rune) { _, _ = f.Write([]byte("(QR code)")) }

// Size is the number of modules on a side, without the margin.
func (c QRCode) Size() int {
	if c.code == nil {
		return 0
	}
	return c.code.Size
}

// Dark says whether the module in column x and row y is dark, both from 0 at the
// upper left. Beyond the code all is light.
func (c QRCode) Dark(x, y int) bool { return c.code != nil && c.code.Black(x, y) }

// Text draws the code for a terminal with light text on a dark background, two
// rows of modules a line, with its margin. Each line ends with a newline.
func (c QRCode) Text() string {
	var b strings.Builder
	n := c.Size()
	if n == 0 {
		return ""
	}
	for y := -quiet; y < n+quiet; y += 2 {
		for x := -quiet; x < n+quiet; x++ {
			upper, lower := c.Dark(x, y), c.Dark(x, y+1)
			switch {
			case upper && lower:
				b.WriteRune(' ')
			case upper:
				b.WriteRune('▄')
			case lower:
				b.WriteRune('▀')
			default:
				b.WriteRune('█')
			}
		}
		b.WriteByte('\n')
	}
	return b.String()
}

// PNG returns the code as an image with its margin, eight pixels a module.
func (c QRCode) PNG() []byte {
	if c.code == nil {
		return nil
	}
	return c.code.PNG()
}
