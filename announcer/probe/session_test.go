package probe

import (
	"context"
	"errors"
	"net/netip"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"
)

func TestVerdicts(t *testing.T) {
	tests := []struct {
		name     string
		machines []machine
		// says are unasked frames during the probe.
		says     map[time.Duration]Heard
		controls []netip.Addr
		addr     netip.Addr // vip if zero
		want     Verdict    // but Heard.At and Source
	}{
		{name: "silence is free after 20 ms", controls: controls, want: Verdict{Free: true, Took: 20 * ms}},
		{
			name:     "an answer without a control address is a conflict at once",
			machines: []machine{{mac: foreign, has: everything, after: 2 * ms}},
			want:     Verdict{MAC: foreign, Heard: Heard{Addr: vip, Kind: KindAnswer}, Took: 2 * ms},
		},
		{
			name: "a machine that answers for the address only is its owner", controls: controls,
			machines: []machine{{mac: foreign, has: holds(vip), after: 2 * ms}},
			want:     Verdict{MAC: foreign, Heard: Heard{Addr: vip, Kind: KindAnswer}, Took: 302 * ms},
		},
		{
			name: "a machine that answers for one of two control addresses is an owner", controls: controls,
			machines: []machine{{mac: foreign, has: holds(vip, controls[1]), after: 2 * ms}},
			want:     Verdict{MAC: foreign, Heard: Heard{Addr: vip, Kind: KindAnswer}, Took: 302 * ms},
		},
		{
			name: "a machine that answers for everything is a proxy", controls: controls,
			machines: []machine{{mac: router, has: everything, after: ms, unicastAfter: ms}},
			want:     Verdict{Free: true, Proxy: router, Took: 20 * ms},
		},
		{
			name: "a proxy that answers broadcasts late is found by its unicast answers", controls: controls,
			machines: []machine{{mac: router, has: everything, after: 19 * ms, unicastAfter: ms}},
			want:     Verdict{Free: true, Proxy: router, Took: 20 * ms},
		},
		{
			name: "a proxy that answers broadcasts only is given its time", controls: controls,
			machines: []machine{{mac: router, has: everything, after: 15 * ms, unicastAfter: -1}},
			want:     Verdict{Free: true, Proxy: router, Took: 30 * ms},
		},
		{
			name: "a proxy does not hide an owner", controls: controls,
			machines: []machine{{mac: router, has: everything, after: ms}, {mac: foreign, has: holds(vip), after: 15 * ms}},
			want:     Verdict{MAC: foreign, Heard: Heard{Addr: vip, Kind: KindAnswer}, Proxy: router, Took: 315 * ms},
		},
		{
			name: "a peer that still answers is no conflict", controls: controls,
			machines: []machine{{mac: peer, has: holds(vip), after: ms}},
			want:     Verdict{Free: true, Ignored: peer, Took: 20 * ms},
		},
		{
			name: "a gratuitous ARP is a conflict at once", controls: controls,
			says: map[time.Duration]Heard{5 * ms: {Addr: vip, MAC: foreign, Kind: KindClaim}},
			want: Verdict{MAC: foreign, Heard: Heard{Addr: vip, Kind: KindClaim}, Took: 5 * ms},
		},
		{
			name: "a stranger that probes for the address at the same time is a conflict", controls: controls,
			says: map[time.Duration]Heard{5 * ms: {Addr: vip, MAC: foreign, Kind: KindProbe}},
			want: Verdict{MAC: foreign, Heard: Heard{Addr: vip, Kind: KindProbe}, Took: 5 * ms},
		},
		{
			name: "a peer's and our own probe are none", controls: controls,
			says: map[time.Duration]Heard{5 * ms: {Addr: vip, MAC: peer, Kind: KindProbe}, 4 * ms: {Addr: vip, MAC: own, Kind: KindProbe}},
			want: Verdict{Free: true, Ignored: peer, Took: 20 * ms},
		},
		{
			name: "a machine that asks from the address is a conflict at once", controls: controls,
			says: map[time.Duration]Heard{5 * ms: {Addr: vip, MAC: foreign, Kind: KindUse}},
			want: Verdict{MAC: foreign, Heard: Heard{Addr: vip, Kind: KindUse}, Took: 5 * ms},
		},
		{
			name: "what is said of other addresses does not matter", controls: controls,
			says: map[time.Duration]Heard{5 * ms: {Addr: controls[0], MAC: foreign, Kind: KindClaim}, 6 * ms: {Addr: vip6, MAC: foreign, Kind: KindClaim}},
			want: Verdict{Free: true, Took: 20 * ms},
		},
		{
			name: "an IPv6 proxy answers in the form of a claim", addr: vip6,
			controls: []netip.Addr{netip.MustParseAddr("2001:db8::a1"), netip.MustParseAddr("2001:db8::a2")},
			machines: []machine{{mac: router, has: everything, after: ms, kind: KindClaim}},
			want:     Verdict{Free: true, Proxy: router, Took: 20 * ms},
		},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				seg := newSegment(t, Options{Timing: unhurried()}, tt.machines...)
				r := seg.request(tt.controls...)
				if tt.addr.IsValid() {
					r.Addr = tt.addr
				}
				s := seg.open(t, r)
				for d, h := range tt.says {
					time.AfterFunc(d, func() { seg.deliver(h) })
				}
				got := probe(t, s)
				got.Heard.At, got.Heard.Source, got.Heard.MAC = time.Time{}, MAC{}, MAC{}
				if diff := cmp.Diff(tt.want, got, cmp.Comparer(func(a, b netip.Addr) bool { return a == b })); diff != "" {
					t.Errorf("(-want +got):\n%s\nsent %v", diff, seg.sent)
				}
				if n := len(seg.framesFor(r.Addr)); n > 3 {
					t.Errorf("%d probes", n)
				}
			})
		})
	}
}

func TestProbesAreSpacedAndCounted(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		seg := newSegment(t, Options{Timing: unhurried()})
		probe(t, seg.open(t, seg.request()))
		if diff := cmp.Diff([]time.Duration{0, 7 * ms, 14 * ms}, seg.framesFor(vip)); diff != "" {
			t.Errorf("probes (-want +got):\n%s", diff)
		}
	})
	synctest.Test(t, func(t *testing.T) {
		seg := newSegment(t, Options{Timing: RFC5227()})
		v := probe(t, seg.open(t, seg.request()))
		at := seg.framesFor(vip)
		if len(at) != 3 || at[0] > time.Second {
			t.Fatalf("probes at %v", at)
		}
		for i := 1; i < 3; i++ {
			if gap := at[i] - at[i-1]; gap < time.Second || gap > 2*time.Second {
				t.Errorf("probes at %v", at)
			}
		}
		if want := at[2] + 2*time.Second; v.Took != want || !v.Free {
			t.Errorf("%s after %v, want %v", v, v.Took, want)
		}
	})
}

func TestALateAnswerIsFoundWhereverItFalls(t *testing.T) {
	for _, after := range []time.Duration{ms, 19 * ms, 21 * ms, 100 * ms, 500 * ms, 4900 * ms} {
		for _, deaf := range []bool{false, true} {
			synctest.Test(t, func(t *testing.T) {
				seg := newSegment(t, Options{Timing: unhurried()}, machine{mac: foreign, has: holds(vip), after: after})
				seg.deaf = deaf
				s := seg.open(t, seg.request(controls...))
				v := probe(t, s)
				if v.Free {
					time.Sleep(50 * ms) // binding takes its time
					v = late(t, s)
				}
				if v.Free || v.MAC != foreign {
					t.Errorf("an answer after %v (deaf %t): %s", after, deaf, v)
				}
				if took := time.Since(seg.start); !deaf && took > after+400*ms {
					t.Errorf("an answer after %v was found after %v", after, took)
				}
			})
		}
	}
}

func TestWatchingEnds(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		seg := newSegment(t, Options{Timing: unhurried()}, machine{mac: router, has: everything, after: 100 * ms, unicastAfter: ms},
			machine{mac: peer, has: holds(vip), after: 50 * ms})
		s := seg.open(t, seg.request(controls...))
		if v := probe(t, s); !v.Free {
			t.Fatalf("%s", v)
		}
		// We hold it now: who probes for it is answered, not given way to.
		seg.during(time.Second, foreign, KindProbe)
		v := late(t, s)
		if !v.Free || v.Proxy != router || v.Ignored != peer || v.Took != 5*time.Second {
			t.Errorf("%s after %v: %+v", v, v.Took, v)
		}
	})
}

func TestAProxyIsRememberedForOthers(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		seg := newSegment(t, Options{Timing: unhurried()}, machine{mac: router, has: everything, after: ms, unicastAfter: ms})
		probe(t, seg.open(t, seg.request(controls...)))
		if !seg.prober.IsProxy(router) || seg.prober.IsProxy(foreign) {
			t.Error("the proxy is not known")
		}
		second := netip.MustParseAddr("192.0.2.11")
		before := len(seg.sent)
		v := probe(t, seg.open(t, Request{Addr: second, Controls: controls}))
		if !v.Free || v.Proxy != router || len(seg.sent)-before != 3 {
			t.Errorf("%s after %v", v, seg.sent[before:])
		}
		time.Sleep(proxyMemory)
		if seg.prober.IsProxy(router) {
			t.Error("the proxy is known for ever")
		}
	})
}

func TestAFloodOfMACsIsNoFloodOfOurs(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		seg := newSegment(t, Options{Timing: unhurried()})
		s := seg.open(t, seg.request(controls...))
		for i := range 100 {
			time.AfterFunc(ms, func() { seg.says(MAC{2, 0, 0, 0, 1, byte(i)}, vip, KindAnswer) })
		}
		if v := probe(t, s); v.Free {
			t.Errorf("%s", v)
		}
		if len(seg.sent) > 3+suspectMax*controlRounds*2*len(controls) {
			t.Errorf("%d frames sent", len(seg.sent))
		}
	})
}

func TestManyAddressesAtOnceDoNotMixUp(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		taken := netip.MustParseAddr("198.51.100.7")
		seg := newSegment(t, Options{Timing: unhurried()}, machine{mac: foreign, has: holds(taken), after: ms})
		var wg sync.WaitGroup
		for i := range 50 {
			addr := netip.AddrFrom4([4]byte{198, 51, 100, byte(i)})
			s := seg.open(t, Request{Addr: addr, Controls: controls})
			wg.Go(func() {
				v, err := s.Probe(t.Context())
				if err != nil || v.Free != (addr != taken) {
					t.Errorf("%s: %s, %v", addr, v, err)
				}
			})
		}
		wg.Wait()
	})
}

func TestWithoutSendingThereIsNoVerdict(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		seg := newSegment(t, Options{Timing: unhurried()})
		s := seg.open(t, seg.request())
		seg.err = errors.New("network is down")
		if v, err := s.Probe(t.Context()); !errors.Is(err, seg.err) || v.Free {
			t.Errorf("%+v, %v", v, err)
		}
		if _, err := seg.prober.Open(seg.request()); !errors.Is(err, seg.err) {
			t.Errorf("Open: %v", err)
		}
		seg.err = nil
		ctx, cancel := context.WithTimeout(t.Context(), 10*ms)
		defer cancel()
		if v, err := s.Probe(ctx); !errors.Is(err, context.DeadlineExceeded) || v.Free {
			t.Errorf("%+v, %v", v, err)
		}
	})
}

func TestALimitedProbeListensAsLongAfterItsLastFrame(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		seg := newSegment(t, Options{Timing: unhurried(), Limiter: &turns{next: time.Now().Add(30 * ms)}})
		v := probe(t, seg.open(t, seg.request()))
		if diff := cmp.Diff([]time.Duration{30 * ms, 40 * ms, 50 * ms}, seg.framesFor(vip)); diff != "" {
			t.Errorf("probes (-want +got):\n%s", diff)
		}
		if !v.Free || v.Took != 56*ms {
			t.Errorf("%s after %v", v, v.Took)
		}
	})
}

func TestUnsuitableRequestsAreRefused(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		seg := newSegment(t, Options{Timing: unhurried()})
		for _, r := range []Request{
			{},
			{Addr: netip.MustParseAddr("0.0.0.0")},
			{Addr: netip.MustParseAddr("ff02::1")},
			{Addr: vip, Controls: []netip.Addr{vip}},
			{Addr: vip, Controls: []netip.Addr{vip6}},
		} {
			if _, err := seg.prober.Open(r); err == nil {
				t.Errorf("%+v accepted", r)
			}
		}
	})
	for _, tm := range []Timing{{Late: time.Second}, {Count: 1, Wait: -1}, {Count: 1, IntervalMin: 2, IntervalMax: 1}} {
		if _, err := New(nil, Options{Timing: tm}); err == nil || !strings.HasPrefix(err.Error(), "timing a probe") {
			t.Errorf("%+v: %v", tm, err)
		}
	}
}
