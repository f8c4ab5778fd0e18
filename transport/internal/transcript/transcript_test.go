package transcript_test

import (
	"testing"

	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"

	"github.com/holdfastvpn/holdfast/transport/internal/transcript"
)

// What moves from one part to the next one is another text.
func TestPartsAreApart(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		text := rapid.SliceOfN(rapid.Byte(), 1, 40).Draw(t, "text")
		i, j := rapid.IntRange(0, len(text)).Draw(t, "i"), rapid.IntRange(0, len(text)).Draw(t, "j")
		one := transcript.Append(nil, string(text[:i]), text[i:])
		two := transcript.Append(nil, string(text[:j]), text[j:])
		require.Equal(t, i == j, string(one) == string(two))
		require.NotEqual(t, one, transcript.Append(nil, string(text[:i]), text[i:], nil))
		key := [32]byte{1}
		require.Len(t, transcript.MAC(key, "label", text), 32)
		require.NotEqual(t, transcript.MAC(key, "label", text), transcript.MAC([32]byte{2}, "label", text))
		require.NotEqual(t, transcript.MAC(key, "label", text), transcript.MAC(key, "another label", text))
	})
}
