package sealed_test

import (
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/holdfastvpn/holdfast/transport/sealed"
)

func BenchmarkSeal(b *testing.B) {
	r := newRig(b)
	q := r.request("method", "body")
	b.ReportAllocs()
	for b.Loop() {
		_, _, err := sealed.Seal(q)
		require.NoError(b, err)
	}
}

// A request that is taken: each is another one.
func BenchmarkOpen(b *testing.B) {
	r := newRig(b)
	b.ReportAllocs()
	for b.Loop() {
		b.StopTimer()
		r.now = r.now.Add(time.Second)
		envelope, _ := r.seal(b, r.request("method", "body"))
		b.StartTimer()
		_, err := r.open(b, envelope)
		require.NoError(b, err)
	}
}

func BenchmarkOpenGarbage(b *testing.B) {
	r := newRig(b)
	envelope, _ := r.seal(b, r.request("method", "body"))
	envelope[len(envelope)-1] ^= 1
	b.ReportAllocs()
	for b.Loop() {
		_, err := r.open(b, envelope)
		require.Error(b, err)
	}
}

func BenchmarkAnswer(b *testing.B) {
	r := newRig(b)
	envelope, w := r.seal(b, r.request("method", "body"))
	opened, err := r.open(b, envelope)
	require.NoError(b, err)
	b.ReportAllocs()
	for b.Loop() {
		answer, err := opened.Seal(r.now, []byte("answer"))
		require.NoError(b, err)
		_, err = w.Open(answer)
		require.NoError(b, err)
	}
}
