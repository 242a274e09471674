package scenario

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"net/http"
	"strconv"
	"strings"
	"time"

	"evenkeel.io/evenkeel/test/lab"
)

// announcerMetrics is where announcers serve their metrics.
const announcerMetrics = "http://127.0.0.1:17475/metrics"

// reportedTakeovers sums up the announcers' own counts.
func (e *Env) reportedTakeovers(ctx context.Context) (float64, error) {
	total := 0.0
	for _, n := range e.Nodes {
		values, err := metrics(ctx, n.Netns, announcerMetrics, "evenkeel_announcer_takeovers_total")
		if err != nil {
			return 0, err
		}
		total += values
	}
	return total, nil
}

// onGuard returns once every VIP of the pools is guarded on the wire as often as it is to be, as the announcers' metrics say: the API
// server may be away. It is an error where that takes longer than patience.
func (e *Env) onGuard(ctx context.Context, patience time.Duration) error {
	owners, err := e.Owners()
	if err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	return lab.Eventually(ctx, func(ctx context.Context) error {
		total := 0.0
		for _, n := range e.Nodes {
			guarded, err := metrics(ctx, n.Netns, announcerMetrics, "evenkeel_announcer_guarded_addresses")
			if err != nil {
				return err
			}
			total += guarded
		}
		if want := len(owners) * e.Standbys; int(total) < want {
			return fmt.Errorf("%.0f addresses are guarded on the wire, want %d", total, want)
		}
		return nil
	})
}

// metrics sums up the series of a metric.
func metrics(ctx context.Context, from *lab.Netns, url, name string) (float64, error) {
	response, err := from.Get(ctx, url)
	if err != nil {
		return 0, err
	}
	if response.Status != http.StatusOK {
		return 0, fmt.Errorf("%s says %d", url, response.Status)
	}
	return sumOf(strings.NewReader(response.Body), name)
}

// sumOf sums up the series of a metric in Prometheus' text format.
func sumOf(text io.Reader, name string) (float64, error) {
	total := 0.0
	lines := bufio.NewScanner(text)
	for lines.Scan() {
		series, value, ok := strings.Cut(lines.Text(), " ")
		if base, _, _ := strings.Cut(series, "{"); !ok || base != name {
			continue
		}
		v, err := strconv.ParseFloat(value, 64)
		if err != nil {
			return 0, fmt.Errorf("reading metric %s: %w", name, err)
		}
		total += v
	}
	return total, lines.Err()
}
