package daemon

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"net"
	"net/http"
	"slices"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"
	"github.com/prometheus/client_golang/prometheus/promhttp"
)

// NewRegistry returns a registry with what every Go process tells.
func NewRegistry() *prometheus.Registry {
	r := prometheus.NewRegistry()
	r.MustRegister(collectors.NewGoCollector(), collectors.NewProcessCollector(collectors.ProcessCollectorOpts{}))
	return r
}

// Health is what /livez and /readyz say.
type Health struct {
	Live  func() error // nil: always
	Ready func() error // nil: always
}

// Serve serves /livez, /readyz and /metrics at addr from now on; "" serves nothing.
func Serve(addr string, tasks *Tasks, metrics *prometheus.Registry, health Health, log *slog.Logger) error {
	if addr == "" {
		return nil
	}
	port, err := OpenPort(context.Background(), "http", addr)
	if err != nil {
		return err
	}
	log.Info("health and metrics are served", "addr", port.Addr())
	mux := http.NewServeMux()
	mux.Handle("GET /metrics", promhttp.HandlerFor(metrics, promhttp.HandlerOpts{}))
	mux.HandleFunc("GET /livez", answer(health.Live))
	mux.HandleFunc("GET /readyz", answer(func() error {
		var errs []error
		if health.Ready != nil {
			errs = append(errs, health.Ready())
		}
		failing := tasks.Failing()
		for _, name := range slices.Sorted(maps.Keys(failing)) {
			errs = append(errs, fmt.Errorf("task %s: %w", name, failing[name]))
		}
		return errors.Join(errs...)
	}))
	tasks.Go("health", port.Serve(func(ctx context.Context, ln net.Listener) error { return HTTP(ctx, ln, mux, log) }))
	return nil
}

// HTTP serves a handler until ctx ends.
func HTTP(ctx context.Context, ln net.Listener, h http.Handler, log *slog.Logger) error {
	const slow = 10 * time.Second
	srv := &http.Server{Handler: h, ReadHeaderTimeout: slow, ErrorLog: slog.NewLogLogger(log.Handler(), slog.LevelDebug)}
	stop := context.AfterFunc(ctx, func() { _ = srv.Close() })
	defer stop()
	if err := srv.Serve(ln); !errors.Is(err, http.ErrServerClosed) {
		return err
	}
	return nil
}

func answer(check func() error) http.HandlerFunc {
	return func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", "text/plain; charset=utf-8")
		if check != nil {
			if err := check(); err != nil {
				w.WriteHeader(http.StatusServiceUnavailable)
				fmt.Fprintln(w, err)
				return
			}
		}
		fmt.Fprintln(w, "ok")
	}
}
