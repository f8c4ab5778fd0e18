package gateway

import (
	"net/netip"
	"runtime"
	"testing"
)

// BenchmarkFlowBook has a gateway know as many connections of a sibling as it may, and
// tells what each takes.
func BenchmarkFlowBook(b *testing.B) {
	flow := func(n int) Flow {
		f := numbered(n % 60_000)
		f.From = netip.AddrPortFrom(netip.AddrFrom4([4]byte{10, 20, 1, byte(n / 60_000)}), f.From.Port())
		return f
	}
	for b.Loop() {
		var before, after runtime.MemStats
		runtime.GC()
		runtime.ReadMemStats(&before)
		book := newFlowBook(mostFlows)
		for n := range mostFlows {
			book.set(flow(n))
		}
		runtime.GC()
		runtime.ReadMemStats(&after)
		b.ReportMetric(float64(after.HeapAlloc-before.HeapAlloc)/mostFlows, "B/connection")
		runtime.KeepAlive(book)
	}
}
