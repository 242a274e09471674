package dataplane

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"sync"
	"time"

	"k8s.io/utils/clock"
)

const (
	// Flag is the announcer's flag for the URL, named in messages.
	Flag = "--data-plane-healthz"
	// DefaultURL is kube-proxy's health check (--healthz-bind-address, port 10256), which also answers on loopback.
	DefaultURL = "http://127.0.0.1:10256/healthz"

	defaultInterval  = 2 * time.Second
	defaultFailAfter = 10 * time.Second
	defaultFailures  = 3
	// probeTimeout is below the default interval; a data plane that needs longer for an answer is not well.
	probeTimeout = time.Second
)

// Options configure a Checker.
type Options struct {
	// URL that answers 200 while the data plane is healthy. Empty turns the check off.
	URL string
	// Interval of checks; 2 s if zero.
	Interval time.Duration
	// Failures in a row that make it unhealthy; 3 if zero.
	Failures int
	// FailAfter is the time that they must span; 10 s if zero.
	FailAfter time.Duration
	// Clock is the machine's if nil.
	Clock clock.WithTicker
	// Notify, if set, is told each change of the verdict by the goroutine of Run. It must not block.
	Notify func(Health)
}

// Checker asks the data plane at an interval. Health may be called concurrently.
type Checker struct {
	opts   Options
	rules  Rules
	client *http.Client

	mu      sync.RWMutex
	history History
}

// NewChecker returns a Checker that has asked nothing yet.
func NewChecker(opts Options) (*Checker, error) {
	if opts.URL != "" {
		u, err := url.Parse(opts.URL)
		if err != nil || (u.Scheme != "http" && u.Scheme != "https") || u.Host == "" {
			return nil, fmt.Errorf("checking %s: %q is not an http URL", Flag, opts.URL)
		}
	}
	if opts.Interval == 0 {
		opts.Interval = defaultInterval
	}
	if opts.Failures == 0 {
		opts.Failures = defaultFailures
	}
	if opts.FailAfter == 0 {
		opts.FailAfter = defaultFailAfter
	}
	if opts.Clock == nil {
		opts.Clock = clock.RealClock{}
	}
	if opts.Notify == nil {
		opts.Notify = func(Health) {}
	}
	c := &Checker{
		opts:  opts,
		rules: Rules{Failures: opts.Failures, FailAfter: opts.FailAfter, URL: opts.URL},
		client: &http.Client{
			Timeout: probeTimeout,
			// Each probe proves that connections are accepted, and no proxy is meant.
			Transport: &http.Transport{DisableKeepAlives: true, DialContext: (&net.Dialer{Timeout: probeTimeout}).DialContext},
			CheckRedirect: func(*http.Request, []*http.Request) error {
				return http.ErrUseLastResponse
			},
		},
	}
	if opts.URL == "" {
		c.history.health = Health{
			Healthy: true, Reason: ReasonNotChecked,
			Message: "the check is turned off by " + Flag, Since: opts.Clock.Now(),
		}
	}
	return c, nil
}

// Health is the present verdict.
func (c *Checker) Health() Health {
	c.mu.RLock()
	defer c.mu.RUnlock()
	return c.history.Health()
}

// Run asks at once and then at the interval, until ctx ends, which is no error.
func (c *Checker) Run(ctx context.Context) error {
	if c.opts.URL == "" {
		<-ctx.Done()
		return nil
	}
	ticker := c.opts.Clock.NewTicker(c.opts.Interval)
	defer ticker.Stop()
	for {
		p := c.probe(ctx)
		if ctx.Err() != nil {
			return nil
		}
		c.take(p)
		select {
		case <-ctx.Done():
			return nil
		case <-ticker.C():
		}
	}
}

func (c *Checker) take(p Probe) {
	c.mu.Lock()
	before := c.history.Health()
	c.history = c.history.Next(c.rules, p, c.opts.Clock.Now())
	after := c.history.Health()
	c.mu.Unlock()
	if before != after {
		c.opts.Notify(after)
	}
}

func (c *Checker) probe(ctx context.Context) Probe {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, c.opts.URL, nil)
	if err != nil {
		return Probe{Err: err}
	}
	resp, err := c.client.Do(req)
	if err != nil {
		// The URL is in our own message already.
		var wrapped *url.Error
		if errors.As(err, &wrapped) {
			err = wrapped.Err
		}
		return Probe{Err: err}
	}
	defer func() { _ = resp.Body.Close() }()
	_, _ = io.Copy(io.Discard, io.LimitReader(resp.Body, 64<<10))
	if resp.StatusCode != http.StatusOK {
		return Probe{Answered: true, Err: fmt.Errorf("the data plane answers %s", resp.Status)}
	}
	return Probe{Answered: true}
}
