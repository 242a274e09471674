// Command perf measures Evenkeel in the lab and prints each figure as a line of JSON. It is a benchmark: it fails only when
// something can't be measured at all. The suite "failover" ends with a line for each row of its table of marks that says
// whether it was met.
package main

import (
	"bytes"
	"context"
	"encoding/json"
	"flag"
	"fmt"
	"os"
	"os/signal"
	"runtime"
	"slices"
	"strings"
	"time"

	"golang.org/x/sys/unix"

	"evenkeel.io/evenkeel/test/lab"
	"evenkeel.io/evenkeel/test/lab/binaries"
)

// benchmark is one group of figures that needs a cluster of its own.
type benchmark struct {
	name string
	what string
	run  func(ctx context.Context, p printer) error
}

// first is the suite of what a VIP does without failover.
var first = []benchmark{
	{"spread", "30 VIPs on 3 nodes, 50 on 5; after replacing ten", benchSpread},
	{"latency", "a Service's creation to its first answer, at 20 a second on 5 nodes", benchLatency},
	{"reach", "what is reachable through every VIP, and from where", benchReach},
	{"announcer", "announcers killed, restarted, stopped and stalled", benchAnnouncer},
	{"outage", "60 s without an API server, with and without restarts of the announcers", benchOutage},
	{"requests", "API requests in steady state and per VIP created", benchRequests},
	{"scale", "1000 Services over 100 nodes that are only objects", benchScale},
	{"network", "addresses flushed, foreign machines that answer", benchNetwork},
	{"uninstall", "deleting everything, in several orders", benchUninstall},
}

// printer writes a figure.
type printer func(figure string, value any)

func main() {
	if !lab.Inside() {
		buildScheduler()
	}
	lab.Enter()
	var s settings
	suite := flag.String("suite", "first", `suite to run: "first", "failover", "handoff", "load" or "rebalance"`)
	only := flag.String("only", "", "benchmarks to run, separated by commas; all of the suite by default:\n"+list(first)+list(failover(&s))+list(handoffs(&s))+list(loads(&s))+list(rebalances(&s)))
	s.addFlags(flag.CommandLine)
	flag.Parse()
	benchmarks, ok := map[string][]benchmark{"first": first, "failover": failover(&s), "handoff": handoffs(&s), "load": loads(&s), "rebalance": rebalances(&s)}[*suite]
	if err := s.validate(); err != nil || !ok {
		fmt.Fprintf(os.Stderr, "perf: suite %q: %v\n", *suite, err)
		os.Exit(2)
	}
	ctx, stop := signal.NotifyContext(context.Background(), unix.SIGINT, unix.SIGTERM)
	defer stop()
	failed := false
	for _, b := range benchmarks {
		if *only != "" && !slices.Contains(strings.Split(*only, ","), b.name) {
			continue
		}
		fmt.Fprintf(os.Stderr, "=== %s: %s\n", b.name, b.what)
		begin := time.Now()
		if err := b.run(ctx, printTo(b.name)); err != nil {
			failed = true
			fmt.Fprintf(os.Stderr, "=== %s: %v\n", b.name, err)
		}
		fmt.Fprintf(os.Stderr, "=== %s took %.0f s\n", b.name, time.Since(begin).Seconds())
	}
	if failed {
		stop()
		os.Exit(1)
	}
}

// buildScheduler has the upstream scheduler in the folder that lab.Enter takes over: inside a lab nothing is built.
func buildScheduler() {
	wanted := append(slices.Clone(binaries.Default), binaries.Scheduler)
	if _, err := binaries.Ensure(context.Background(), binaries.Options{Binaries: wanted, Progress: os.Stderr}); err != nil {
		fmt.Fprintf(os.Stderr, "perf: building the control plane: %v\n", err)
		os.Exit(1)
	}
}

func list(benchmarks []benchmark) string {
	var b strings.Builder
	for _, benchmark := range benchmarks {
		fmt.Fprintf(&b, "  %-10s %s\n", benchmark.name, benchmark.what)
	}
	return b.String()
}

// printTo prints lines that name the benchmark, the machine's cores and its load at that moment.
func printTo(benchmark string) printer {
	return func(figure string, value any) {
		var line bytes.Buffer
		encoder := json.NewEncoder(&line)
		encoder.SetEscapeHTML(false) // marks say "<"
		err := encoder.Encode(struct {
			Benchmark string `json:"benchmark"`
			Figure    string `json:"figure"`
			Cores     int    `json:"cores"`
			Load      string `json:"load1"`
			Value     any    `json:"value"`
		}{benchmark, figure, runtime.NumCPU(), load(), value})
		if err != nil {
			fmt.Printf("{\"error\":%q}\n", err)
			return
		}
		fmt.Print(line.String())
	}
}

// load is the machine's load average of the last minute.
func load() string {
	content, err := os.ReadFile("/proc/loadavg")
	if err != nil {
		return "unknown"
	}
	first, _, _ := bytes.Cut(content, []byte(" "))
	return string(first)
}
