package dataplane

import (
	"context"
	"errors"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"go.uber.org/goleak"
	clocktesting "k8s.io/utils/clock/testing"
	"pgregory.net/rapid"
)

var (
	start    = time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)
	rules    = Rules{Failures: 3, FailAfter: 10 * time.Second, URL: DefaultURL}
	good     = Probe{Answered: true}
	sick     = Probe{Answered: true, Err: errors.New("503")}
	absent   = Probe{Err: errors.New("connection refused")}
	interval = 2 * time.Second
)

func TestVerdicts(t *testing.T) {
	for _, tt := range []struct {
		name   string
		probes []Probe
		want   Health
		says   string
	}{
		{"nothing asked yet", nil, Health{Reason: ReasonUnknown}, "not been asked"},
		{"one good answer is enough", []Probe{good}, Health{Healthy: true, Reason: ReasonHealthy}, ""},
		{"refused from the start, the flag is named", []Probe{absent}, Health{Reason: ReasonUnreachable}, Flag},
		{"sick from the start", []Probe{sick}, Health{Reason: ReasonUnhealthy}, "503"},
		{"three failures within less than ten seconds", []Probe{good, absent, absent, absent}, Health{Healthy: true, Reason: ReasonHealthy}, ""},
		{"a restart in between", []Probe{good, absent, absent, absent, absent, good, absent, absent}, Health{Healthy: true, Reason: ReasonHealthy}, ""},
		{"failures over ten seconds", []Probe{good, absent, absent, absent, absent, absent, absent}, Health{Reason: ReasonUnreachable}, "refused"},
		{"one good answer heals", []Probe{good, sick, sick, sick, sick, sick, sick, good}, Health{Healthy: true, Reason: ReasonHealthy}, ""},
	} {
		t.Run(tt.name, func(t *testing.T) {
			var h History
			for i, p := range tt.probes {
				h = h.Next(rules, p, start.Add(time.Duration(i)*interval))
			}
			got := h.Health()
			if got.Healthy != tt.want.Healthy || got.Reason != tt.want.Reason || !strings.Contains(got.Message, tt.says) {
				t.Errorf("Health() = %+v, want %+v saying %q", got, tt.want, tt.says)
			}
		})
	}
	var h History
	for i := range 10 {
		h = h.Next(rules, good, start.Add(time.Duration(i)*interval))
	}
	if !h.Health().Since.Equal(start) {
		t.Errorf("healthy since %v, want %v", h.Health().Since, start)
	}
	h = h.Next(rules, absent, start)
	for i := range 10 {
		h = h.Next(rules, absent, start.Add(time.Duration(i)*interval))
	}
	if msg := h.Health().Message; strings.Contains(msg, Flag) {
		t.Errorf("a kube-proxy that has died is no matter of the flag: %s", msg)
	}
}

func TestAHealthyDataPlaneNeedsEnoughFailuresOverEnoughTimeToBecomeUnhealthy(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		h := History{}.Next(rules, good, start)
		now, failures, first := start, 0, time.Time{}
		for range rapid.IntRange(1, 30).Draw(t, "probes") {
			now = now.Add(time.Duration(rapid.IntRange(1, 8000).Draw(t, "pause")) * time.Millisecond)
			before := h.Health().Healthy
			if rapid.IntRange(0, 5).Draw(t, "kind") == 0 {
				h, failures = h.Next(rules, good, now), 0
				if !h.Health().Healthy {
					t.Fatal("a good answer doesn't heal")
				}
				continue
			}
			if failures == 0 {
				first = now
			}
			failures++
			h = h.Next(rules, absent, now)
			enough := failures >= rules.Failures && now.Sub(first) >= rules.FailAfter
			if before && h.Health().Healthy == enough {
				t.Fatalf("after %d failures over %s: healthy %v", failures, now.Sub(first), h.Health().Healthy)
			}
		}
	})
}

func TestCheckerAsksAndTells(t *testing.T) {
	defer goleak.VerifyNone(t, goleak.IgnoreCurrent())
	var status atomic.Int32
	status.Store(http.StatusServiceUnavailable)
	asked := make(chan struct{}, 100)
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		w.WriteHeader(int(status.Load()))
		asked <- struct{}{}
	}))
	defer server.Close()
	clock := clocktesting.NewFakeClock(start)
	told := make(chan Health, 100)
	c, err := NewChecker(Options{URL: server.URL + "/healthz", Clock: clock, Notify: func(h Health) { told <- h }})
	if err != nil {
		t.Fatal(err)
	}
	if c.Health().Reason != ReasonUnknown {
		t.Errorf("before the first answer: %+v", c.Health())
	}
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() { done <- c.Run(ctx) }()
	<-asked
	if h := <-told; h.Healthy || h.Reason != ReasonUnhealthy || !strings.Contains(h.Message, "503") {
		t.Errorf("first verdict %+v", h)
	}
	status.Store(http.StatusOK)
	clock.Step(defaultInterval)
	<-asked
	if h := <-told; !h.Healthy || h != c.Health() {
		t.Errorf("second verdict %+v, Health() %+v", h, c.Health())
	}
	status.Store(http.StatusFound)
	// The answer is taken in at some moment after it was asked for, so the number of steps isn't exact.
	for bad := (Health{}); bad.Reason == ""; {
		clock.Step(defaultInterval)
		<-asked
		select {
		case bad = <-told:
			if bad.Healthy || bad.Reason != ReasonUnhealthy {
				t.Errorf("verdict after redirects %+v", bad)
			}
		default:
		}
	}
	cancel()
	if err := <-done; err != nil {
		t.Error(err)
	}
}

func TestNobodyThere(t *testing.T) {
	server := httptest.NewServer(http.NotFoundHandler())
	url := server.URL
	server.Close()
	told := make(chan Health, 1)
	c, err := NewChecker(Options{URL: url, Notify: func(h Health) { told <- h }})
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() { done <- c.Run(ctx) }()
	if h := <-told; h.Healthy || h.Reason != ReasonUnreachable || !strings.Contains(h.Message, Flag) {
		t.Errorf("verdict %+v", h)
	}
	cancel()
	if err := <-done; err != nil {
		t.Error(err)
	}
}

func TestTurnedOffItIsHealthyAndAsksNobody(t *testing.T) {
	c, err := NewChecker(Options{})
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if err := c.Run(ctx); err != nil {
		t.Error(err)
	}
	if h := c.Health(); !h.Healthy || h.Reason != ReasonNotChecked {
		t.Errorf("Health() = %+v", h)
	}
	for _, bad := range []string{"127.0.0.1:10256", "ftp://x/", "http://", ":"} {
		if _, err := NewChecker(Options{URL: bad}); err == nil {
			t.Errorf("%q is accepted", bad)
		}
	}
}

func TestDetectIPVS(t *testing.T) {
	for _, tt := range []struct {
		name             string
		present          bool
		ignore, announce string
		strict           bool
	}{
		{name: "another mode"},
		{name: "the kernel's defaults", present: true, ignore: "0\n", announce: "0\n"},
		{name: "half of it", present: true, ignore: "1\n", announce: "0\n"},
		{name: "settings can't be read", present: true},
		{name: "strict", present: true, ignore: "1\n", announce: "2\n", strict: true},
		{name: "stricter", present: true, ignore: "2\n", announce: "2\n", strict: true},
	} {
		t.Run(tt.name, func(t *testing.T) {
			root := t.TempDir()
			write := func(path, content string) {
				path = filepath.Join(root, path)
				if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
					t.Fatal(err)
				}
				if err := os.WriteFile(path, []byte(content), 0o600); err != nil {
					t.Fatal(err)
				}
			}
			if tt.present {
				write("sys/class/net/kube-ipvs0/address", "")
			}
			if tt.ignore != "" {
				write("proc/sys/net/ipv4/conf/all/arp_ignore", tt.ignore)
				write("proc/sys/net/ipv4/conf/all/arp_announce", tt.announce)
			}
			got := DetectIPVS(root)
			if got.Present != tt.present || got.Strict != tt.strict || (got.Message != "") != (tt.present && !tt.strict) {
				t.Errorf("DetectIPVS() = %+v", got)
			}
			if ok, reason, message := got.Condition(); ok != (!tt.present || tt.strict) || reason == "" || message == "" {
				t.Errorf("Condition() = %v, %q, %q", ok, reason, message)
			}
		})
	}
}

func TestIPVSIsFollowedAsItComesAndIsMended(t *testing.T) {
	root := t.TempDir()
	clk := clocktesting.NewFakeClock(time.Unix(1000, 0))
	told := make(chan IPVS)
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error)
	go func() { done <- FollowIPVS(ctx, root, clk, func(v IPVS) { told <- v }) }()
	if got := <-told; got.Present {
		t.Errorf("without kube-ipvs0: %+v", got)
	}
	write := func(path, content string) {
		path = filepath.Join(root, path)
		if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, []byte(content), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	next := func() IPVS {
		for {
			clk.Step(proxyInterval) // a tick that comes too early for the loop is dropped
			select {
			case got := <-told:
				return got
			case <-time.After(10 * time.Millisecond):
			}
		}
	}
	write("sys/class/net/kube-ipvs0/address", "")
	if got := next(); !got.Present || got.Strict {
		t.Errorf("with kube-ipvs0: %+v", got)
	}
	write("proc/sys/net/ipv4/conf/all/arp_announce", "2\n")
	write("proc/sys/net/ipv4/conf/all/arp_ignore", "1\n")
	got := next()
	for !got.Strict { // between the two writes
		got = next()
	}
	cancel()
	if err := <-done; err != nil {
		t.Error(err)
	}
}
