package main

import (
	"github.com/prometheus/client_golang/prometheus"

	"github.com/holdfastvpn/holdfast/gateway"
)

// metrics are what a gateway tells of itself, looked up when asked for.
type metrics struct {
	process *gateway.Process
	cores   *cores

	linked, ready, isolated, stalled, applied, failed, drifts *prometheus.Desc

	ahead, synced, fit, refused *prometheus.Desc // of the clock

	flows, known, adopted, dropped, ignored *prometheus.Desc // of connections at inner addresses
}

func newMetrics(p *gateway.Process, c *cores) *metrics {
	at := []string{"location"}
	return &metrics{
		process: p, cores: c,
		linked:   prometheus.NewDesc("holdfast_gateway_cores", "Cores that are linked.", nil, nil),
		ready:    prometheus.NewDesc("holdfast_gateway_ready", "1 if the location's interface is up and configured, and no sibling is better off.", at, nil),
		isolated: prometheus.NewDesc("holdfast_gateway_isolated", "1 if no core that knows what is so was heard for 10 s.", at, nil),
		stalled:  prometheus.NewDesc("holdfast_gateway_stalled", "1 if an update has waited for more than 1 s to be applied.", at, nil),
		applied:  prometheus.NewDesc("holdfast_gateway_applied_revision", "Number of the newest revision that the system acknowledged.", at, nil),
		failed:   prometheus.NewDesc("holdfast_gateway_failed", "Peers, or the interface, that could not be made right.", at, nil),
		drifts:   prometheus.NewDesc("holdfast_gateway_drifts_total", "Changes by others that were found and repaired.", at, nil),

		ahead:   prometheus.NewDesc("holdfast_gateway_clock_ahead_seconds", "How far the clock is ahead of those of siblings; 0 if none is known.", at, nil),
		synced:  prometheus.NewDesc("holdfast_gateway_clock_synchronised", "1 if the system says that it keeps the clock right.", at, nil),
		fit:     prometheus.NewDesc("holdfast_gateway_clock_fit", "0 if the clock keeps the gateway from taking over clients of siblings.", at, nil),
		refused: prometheus.NewDesc("holdfast_gateway_takeovers_refused_total", "Takeovers that the clock was not fit for.", at, nil),

		flows:   prometheus.NewDesc("holdfast_gateway_connections", "Connections at inner addresses that the machine has, which siblings are told of.", at, nil),
		known:   prometheus.NewDesc("holdfast_gateway_connections_known", "Connections that go on here if their inner address comes.", at, nil),
		adopted: prometheus.NewDesc("holdfast_gateway_connections_adopted_total", "Connections that came with an inner address.", at, nil),
		dropped: prometheus.NewDesc("holdfast_gateway_connections_dropped_total", "Connections that were too many to be told or known.", at, nil),
		ignored: prometheus.NewDesc("holdfast_gateway_connections_ignored_total", "Connections told by siblings that are not ones of the location.", at, nil),
	}
}

// Describe tells what there is.
func (m *metrics) Describe(out chan<- *prometheus.Desc) { prometheus.DescribeByCollect(m, out) }

// Collect tells what it is now.
func (m *metrics) Collect(out chan<- prometheus.Metric) {
	gauge := func(d *prometheus.Desc, v float64, labels ...string) {
		out <- prometheus.MustNewConstMetric(d, prometheus.GaugeValue, v, labels...)
	}
	gauge(m.linked, float64(len(m.cores.pool.Names())))
	for _, at := range m.process.Locations() {
		r := m.process.Reconciler(at)
		if r == nil {
			gauge(m.ready, 0, string(at))
			continue
		}
		s := r.Status()
		gauge(m.ready, yes(s.Ready), string(at))
		gauge(m.isolated, yes(s.Isolated), string(at))
		gauge(m.stalled, yes(s.Stalled), string(at))
		gauge(m.applied, float64(s.Applied.Number), string(at))
		gauge(m.failed, float64(len(s.Failed)), string(at))
		out <- prometheus.MustNewConstMetric(m.drifts, prometheus.CounterValue, float64(s.Drifts), string(at))
		clocks := r.Clocks()
		ahead, known := clocks.Ahead()
		gauge(m.ahead, ahead.Seconds(), string(at))
		gauge(m.synced, yes(clocks.Synced), string(at))
		gauge(m.fit, yes(!known || clocks.Fit() == nil), string(at))
		out <- prometheus.MustNewConstMetric(m.refused, prometheus.CounterValue, float64(r.Refused()), string(at))
		c := r.Flows()
		gauge(m.flows, float64(c.Here), string(at))
		gauge(m.known, float64(c.Known), string(at))
		out <- prometheus.MustNewConstMetric(m.adopted, prometheus.CounterValue, float64(c.AdoptedTotal), string(at))
		out <- prometheus.MustNewConstMetric(m.dropped, prometheus.CounterValue, float64(c.DroppedTotal), string(at))
		out <- prometheus.MustNewConstMetric(m.ignored, prometheus.CounterValue, float64(c.IgnoredTotal), string(at))
	}
}

// yes is 1 for what is so.
func yes(is bool) float64 {
	if is {
		return 1
	}
	return 0
}
