package main

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/promhttp"

	"evenkeel.io/evenkeel/announcer/agent"
)

// stalled is how long the agent's loop, which turns every second, may stand still before /healthz says so: less and a busy
// machine would restart announcers, more and the addresses' lifetimes have long ended by then.
const stalled = 10 * time.Second

func serveMetrics(ctx context.Context, address string, registry *prometheus.Registry) error {
	mux := http.NewServeMux()
	mux.Handle("/metrics", promhttp.HandlerFor(registry, promhttp.HandlerOpts{}))
	return serve(ctx, address, mux)
}

// serveHealth answers whether this process works. The API server has no say in it: an announcer that can't reach it must not
// be restarted for that.
func serveHealth(ctx context.Context, address string, node *agent.Agent) error {
	check := func(w http.ResponseWriter, _ *http.Request) {
		if standing := node.Alive(); standing > stalled {
			http.Error(w, fmt.Sprintf("the agent's loop has stood still for %s", standing), http.StatusInternalServerError)
			return
		}
		fmt.Fprintln(w, "ok")
	}
	mux := http.NewServeMux()
	mux.HandleFunc("/healthz", check)
	mux.HandleFunc("/livez", check)
	mux.HandleFunc("/readyz", check)
	return serve(ctx, address, mux)
}

func serve(ctx context.Context, address string, handler http.Handler) error {
	if address == "" || address == "0" {
		<-ctx.Done()
		return nil
	}
	server := &http.Server{Addr: address, Handler: handler, ReadHeaderTimeout: 5 * time.Second}
	stopped := make(chan struct{})
	go func() {
		defer close(stopped)
		<-ctx.Done()
		_ = server.Close()
	}()
	err := server.ListenAndServe()
	if errors.Is(err, http.ErrServerClosed) {
		<-stopped
		return nil
	}
	return fmt.Errorf("listening on %s: %w", address, err)
}
