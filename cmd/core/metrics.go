package main

import (
	"context"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/holdfastvpn/holdfast/vpn"
)

// metrics are what a core tells of its locations, looked up when asked for.
type metrics struct {
	core *vpn.Core

	up, connected, behind, active, enabled *prometheus.Desc
}

func newMetrics(core *vpn.Core) *metrics {
	at := []string{"location", "name"}
	return &metrics{
		core:      core,
		up:        prometheus.NewDesc("holdfast_core_store_up", "1 if the store answers.", nil, nil),
		connected: prometheus.NewDesc("holdfast_location_gateways_connected", "Gateways that are connected.", at, nil),
		behind: prometheus.NewDesc("holdfast_gateway_revisions_behind", "Revisions that the gateway has not applied.",
			[]string{"location", "name", "gateway"}, nil),
		active:  prometheus.NewDesc("holdfast_location_peers_active", "Peers that were heard lately.", at, nil),
		enabled: prometheus.NewDesc("holdfast_location_peers_enabled", "Peers that may connect.", at, nil),
	}
}

// Describe tells what there is.
func (m *metrics) Describe(out chan<- *prometheus.Desc) {
	for _, d := range []*prometheus.Desc{m.up, m.connected, m.behind, m.active, m.enabled} {
		out <- d
	}
}

// Collect tells what it is now.
func (m *metrics) Collect(out chan<- prometheus.Metric) {
	const patience = 5 * time.Second
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	gauge := func(d *prometheus.Desc, v float64, labels ...string) {
		out <- prometheus.MustNewConstMetric(d, prometheus.GaugeValue, v, labels...)
	}
	o, err := m.core.Overview(ctx)
	if err != nil {
		gauge(m.up, 0)
		return
	}
	gauge(m.up, 1)
	for _, l := range o.Locations {
		labels := []string{string(l.ID), l.Name}
		gauge(m.connected, float64(l.Connected), labels...)
		gauge(m.active, float64(l.Active), labels...)
		gauge(m.enabled, float64(l.Enabled), labels...)
		for _, g := range l.Gateways {
			gauge(m.behind, float64(g.Behind), string(l.ID), l.Name, g.Name)
		}
	}
}
