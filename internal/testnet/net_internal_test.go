//go:build linux

// An internal test: that a list stays short cannot be seen from outside.

package testnet

import (
	"net"
	"testing"

	"github.com/stretchr/testify/require"
)

func TestClosedSocketsAreForgotten(t *testing.T) {
	n := &Net{}
	first, err := net.ListenUDP("udp", nil)
	require.NoError(t, err)
	require.NoError(t, n.keep(first))
	for range 1000 {
		c, err := net.ListenUDP("udp", nil)
		require.NoError(t, err)
		require.NoError(t, n.keep(c))
		require.NoError(t, c.Close())
	}
	require.Less(t, len(n.sockets), 100)
	require.Same(t, first, n.sockets[0], "what is open is kept")
	require.NoError(t, n.Close())
	require.False(t, open(first))
}
