package transporttest_test

import (
	"context"
	"io"
	"net"
	"os"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/holdfastvpn/holdfast/transport/transporttest"
)

// ends are those of a TCP connection, the first of which has faults.
func ends(t *testing.T, f *transporttest.Faults) (near, far net.Conn) {
	t.Helper()
	ln, err := new(net.ListenConfig).Listen(t.Context(), "tcp", "127.0.0.1:0")
	require.NoError(t, err)
	near, err = f.Dialer(nil)(t.Context(), ln.Addr().String())
	require.NoError(t, err)
	far, err = ln.Accept()
	require.NoError(t, err)
	require.NoError(t, ln.Close())
	t.Cleanup(func() { f.Heal(); _ = near.Close(); _ = far.Close() })
	return near, far
}

// silent: nothing comes within a moment.
func silent(t *testing.T, c net.Conn) {
	t.Helper()
	require.NoError(t, c.SetReadDeadline(time.Now().Add(100*time.Millisecond)))
	_, err := c.Read(make([]byte, 1))
	require.ErrorIs(t, err, os.ErrDeadlineExceeded)
	require.NoError(t, c.SetReadDeadline(time.Time{}))
}

func TestAStallLosesNothing(t *testing.T) {
	f := &transporttest.Faults{}
	near, far := ends(t, f)
	f.Stall()
	_, err := far.Write([]byte("a"))
	require.NoError(t, err)
	silent(t, near)
	require.NoError(t, near.SetWriteDeadline(time.Now().Add(10*time.Millisecond)))
	_, err = near.Write([]byte("x"))
	require.ErrorIs(t, err, os.ErrDeadlineExceeded)
	require.NoError(t, near.SetWriteDeadline(time.Time{}))
	done := make(chan error)
	go func() { _, err := near.Write([]byte("b")); done <- err }()
	silent(t, far)
	f.Heal()
	require.NoError(t, <-done)
	b := make([]byte, 1)
	_, err = io.ReadFull(far, b)
	require.NoError(t, err)
	require.Equal(t, "b", string(b))
	_, err = io.ReadFull(near, b)
	require.NoError(t, err)
	require.Equal(t, "a", string(b))
}

func TestABlackHoleIsNotNoticed(t *testing.T) {
	f := &transporttest.Faults{}
	near, far := ends(t, f)
	f.BlackHole()
	_, err := near.Write([]byte("x"))
	require.NoError(t, err)
	silent(t, far)
	require.NoError(t, near.Close())
	silent(t, far) // not even that it was closed
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Millisecond)
	defer cancel()
	_, err = f.Dialer(nil)(ctx, "127.0.0.1:1")
	require.ErrorIs(t, err, context.DeadlineExceeded)
	f.Heal()
	_, err = far.Read(make([]byte, 1))
	require.Error(t, err, "what lost something is reset")
}

func TestACutIsNoticedAtOnce(t *testing.T) {
	f := &transporttest.Faults{}
	near, far := ends(t, f)
	f.Cut()
	_, err := near.Read(make([]byte, 1))
	require.Error(t, err)
	_, err = far.Read(make([]byte, 1))
	require.Error(t, err)
	_, err = f.Dialer(nil)(t.Context(), "127.0.0.1:1")
	require.ErrorIs(t, err, transporttest.ErrCut)
}
