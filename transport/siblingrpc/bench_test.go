package siblingrpc_test

import (
	"context"
	"fmt"
	"iter"
	"runtime"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/holdfastvpn/holdfast/gateway"
	"github.com/holdfastvpn/holdfast/gateway/gatewaytest"
	"github.com/holdfastvpn/holdfast/transport/siblingrpc"
)

// teller tells a note whenever it is asked to, and says when one was heard.
type teller struct {
	notes chan gateway.Note
	heard chan int
}

func (l teller) Talk(ctx context.Context, _ gateway.LocationID, _ gateway.ID, in iter.Seq[gateway.Note]) iter.Seq2[gateway.Note, error] {
	return func(yield func(gateway.Note, error) bool) {
		go func() {
			for n := range in {
				l.heard <- len(n.Seen)
			}
		}()
		for {
			select {
			case n := <-l.notes:
				if !yield(n, nil) {
					return
				}
			case <-ctx.Done():
				return
			}
		}
	}
}

// BenchmarkNote tells notes over a link of TLS in memory, both ends in one process.
func BenchmarkNote(b *testing.B) {
	for _, n := range []int{1, 1000, 100_000} {
		b.Run(fmt.Sprintf("%d-sightings", n), func(b *testing.B) {
			near, far := teller{make(chan gateway.Note), make(chan int, 1)}, teller{make(chan gateway.Note), make(chan int, 1)}
			l := onLink(b, gatewaytest.TalkEnd{ID: "gw1", Talker: near}, gatewaytest.TalkEnd{ID: "gw2", Talker: far})
			ctx, cancel := context.WithCancel(b.Context())
			ended := make(chan error, 1)
			go func() { ended <- l.Talk(ctx, "office") }()
			say := note(n, time.Now())
			near.notes <- say
			<-far.heard
			b.ReportAllocs()
			var before, after runtime.MemStats
			runtime.ReadMemStats(&before)
			for b.Loop() {
				near.notes <- say
				require.Equal(b, n, <-far.heard)
			}
			runtime.ReadMemStats(&after)
			raw, err := siblingrpc.AppendNote(nil, say, time.Now())
			require.NoError(b, err)
			b.ReportMetric(float64(len(raw))/float64(n), "wire-B/sighting")
			b.ReportMetric(float64(after.Mallocs-before.Mallocs)/float64(b.N)/float64(n), "allocs/sighting")
			b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N)/float64(n), "ns/sighting")
			cancel()
			require.NoError(b, <-ended)
		})
	}
}
