//go:build linux

package wgdevice

import (
	"errors"
	"fmt"
	"net"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"
	"golang.zx2c4.com/wireguard/conn"

	"github.com/holdfastvpn/holdfast/internal/testnet"
)

// BenchmarkBind is packets over the loopback of a host, in batches, with the
// library's sockets next to ours. All that arrive are counted, the others are
// reported as lost.
func BenchmarkBind(b *testing.B) {
	testnet.Need(b, testnet.Netns)
	binds := map[string]func() conn.Bind{"ours": func() conn.Bind { return newBind() }, "library": conn.NewStdNetBind}
	for _, to := range []string{"127.0.0.1", "[::1]"} {
		for _, batch := range []int{1, 8, 128} {
			for _, who := range []string{"ours", "library"} {
				b.Run(fmt.Sprintf("%s/%d/%s", to, batch, who), func(b *testing.B) {
					benchmarkBind(b, binds[who](), binds[who](), to, batch)
				})
			}
		}
	}
}

func benchmarkBind(b *testing.B, from, into conn.Bind, to string, batch int) {
	b.Helper()
	n, err := testnet.New(b.Context(), testnet.Config{}) // ForTest would look at each packet
	require.NoError(b, err)
	h := n.Host("gw")
	var receive []conn.ReceiveFunc
	var port uint16
	require.NoError(b, h.Do(func() (err error) {
		if receive, port, err = into.Open(0); err != nil {
			return err
		}
		_, _, err = from.Open(0)
		return err
	}))
	var got atomic.Int64
	more := make(chan struct{}, 1)
	done := make(chan error, len(receive))
	for _, f := range receive {
		go func() { done <- count(f, &got, more) }()
	}
	ep, err := from.ParseEndpoint(fmt.Sprintf("%s:%d", to, port))
	require.NoError(b, err)
	packets := make([][]byte, batch)
	for i := range packets {
		packets[i] = make([]byte, 1452, 1<<16) // as the library has them: it makes one of several
	}
	b.ReportAllocs()
	b.SetBytes(1452)
	start := cpu(b)
	var sent, lost, before int64
	look := time.NewTicker(time.Second)
	defer look.Stop()
	const window = 512 // on the way at once
	for b.Loop() {
		if sent%int64(batch) == 0 {
			for sent-lost+int64(batch)-got.Load() > window {
				select {
				case <-more:
				case <-look.C:
					if now := got.Load(); now == before { // nothing is on its way any more
						lost = sent - now
					} else {
						before = now
					}
				}
			}
			if err := from.Send(packets, ep); err != nil {
				b.Fatal(err)
			}
		}
		sent++
	}
	b.StopTimer()
	b.ReportMetric(float64(cpu(b)-start)/float64(b.N), "cpu-ns/packet")
	b.ReportMetric(float64(b.N)/b.Elapsed().Seconds(), "packets/s")
	b.ReportMetric(float64(lost), "lost")
	require.NoError(b, errors.Join(from.Close(), into.Close()))
	for range receive {
		require.NoError(b, <-done)
	}
}

// cpu is what the process has used of all processors, which says more than the
// clock on a machine that has other work.
func cpu(b *testing.B) time.Duration {
	b.Helper()
	var u unix.Rusage
	require.NoError(b, unix.Getrusage(unix.RUSAGE_SELF, &u))
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}

// count counts packets until the bind is closed.
func count(receive conn.ReceiveFunc, got *atomic.Int64, more chan<- struct{}) error {
	buffers, sizes, from := make([][]byte, batchSize), make([]int, batchSize), make([]conn.Endpoint, batchSize)
	for i := range buffers {
		buffers[i] = make([]byte, 1<<16)
	}
	for {
		n, err := receive(buffers, sizes, from)
		if errors.Is(err, net.ErrClosed) {
			return nil
		}
		if err != nil {
			return err
		}
		for _, size := range sizes[:n] {
			if size > 0 {
				got.Add(1)
			}
		}
		select {
		case more <- struct{}{}:
		default:
		}
	}
}
