package announce

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"
	"go.uber.org/goleak"

	"evenkeel.io/evenkeel/announcer/arp/wire"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

var (
	vip4  = netip.MustParseAddr("192.0.2.10")
	vip6  = netip.MustParseAddr("2001:db8::10")
	other = netip.MustParseAddr("192.0.2.11")
	title = wire.Title{Term: 1, Place: 1}
)

// event is an announcement at a time since the start of the test.
type event struct {
	At   time.Duration
	Addr string
	Link string
}

// log records announcements of all its links.
type log struct {
	start time.Time
	mu    sync.Mutex
	sent  []event
}

func newLog() *log { return &log{start: time.Now()} }

func (l *log) all() []event {
	l.mu.Lock()
	defer l.mu.Unlock()
	return slices.Clone(l.sent)
}

// times returns when addr was announced.
func (l *log) times(addr netip.Addr) []time.Duration {
	var at []time.Duration
	for _, e := range l.all() {
		if e.Addr == addr.String() {
			at = append(at, e.At)
		}
	}
	return at
}

// fakeLink counts as many frames as ARP needs.
type fakeLink struct {
	name string
	log  *log
	err  error
	// before runs ahead of each announcement.
	before func()
}

func (f *fakeLink) Name() string        { return f.name }
func (f *fakeLink) AnnounceFrames() int { return 2 }

func (f *fakeLink) Announce(addr netip.Addr, _ wire.Title) error {
	if f.before != nil {
		f.before()
	}
	f.log.mu.Lock()
	defer f.log.mu.Unlock()
	if f.err != nil {
		return f.err
	}
	f.log.sent = append(f.log.sent, event{time.Since(f.log.start), addr.String(), f.name})
	return nil
}

// running runs a Scheduler until the test ends.
func running(t *testing.T, o Options) *Scheduler {
	t.Helper()
	s, err := New(o)
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error)
	go func() { done <- s.Run(ctx) }()
	t.Cleanup(func() {
		cancel()
		if err := <-done; err != nil {
			t.Error(err)
		}
	})
	return s
}

func TestAnAddressIsAnnouncedAtOnceRepeatedAndRefreshed(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := newLog()
		s := running(t, Options{})
		link := &fakeLink{name: "eth0", log: l}
		s.Start(vip4, link, title)
		synctest.Wait()
		if got := l.times(vip4); len(got) != 1 || got[0] != 0 {
			t.Fatalf("announced at %v, want at once", got)
		}
		time.Sleep(10 * time.Minute)
		got := l.times(vip4)
		want := []time.Duration{0, 1100 * time.Millisecond, 2200 * time.Millisecond, 5 * time.Second}
		if diff := cmp.Diff(want, got[:4]); diff != "" {
			t.Errorf("first announcements (-want +got):\n%s", diff)
		}
		gaps := map[time.Duration]bool{}
		for i := 4; i < len(got); i++ {
			gap := got[i] - got[i-1]
			if gap < 60*time.Second || gap >= 100*time.Second {
				t.Errorf("refresh after %v", gap)
			}
			gaps[gap] = true
		}
		if len(got) < 9 || len(gaps) < 4 {
			t.Errorf("refreshes without jitter: %v", got)
		}
	})
}

func TestStartIsIdempotentUntilTheLinkIsAnother(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := newLog()
		s := running(t, Options{})
		link := &fakeLink{name: "eth0", log: l}
		s.Start(vip4, link, title)
		time.Sleep(100 * time.Millisecond)
		s.Start(vip4, link, title)
		time.Sleep(100 * time.Millisecond)
		s.Start(vip4, &fakeLink{name: "eth0", log: l}, title)
		s.Start(vip4, &fakeLink{name: "eth1", log: l}, title)
		time.Sleep(100 * time.Millisecond)
		want := []event{
			{0, "192.0.2.10", "eth0"},
			{200 * time.Millisecond, "192.0.2.10", "eth0"},
			{200 * time.Millisecond, "192.0.2.10", "eth1"},
		}
		if diff := cmp.Diff(want, l.all()); diff != "" {
			t.Errorf("(-want +got):\n%s", diff)
		}
	})
}

func TestStopCancelsEverythingThatIsPending(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := newLog()
		s := running(t, Options{})
		link := &fakeLink{name: "eth0", log: l}
		s.Start(vip4, link, title)
		s.Start(vip4, &fakeLink{name: "eth1", log: l}, title)
		s.Start(other, link, title)
		time.Sleep(2 * time.Second)
		s.Stop(vip4)
		s.StopOn(other, "eth1") // not there
		before := len(l.times(other))
		time.Sleep(time.Hour)
		if got := l.times(vip4); len(got) != 4 {
			t.Errorf("announced at %v", got)
		}
		if got := l.times(other); len(got) == before {
			t.Error("the other address fell silent")
		}
		s.StopOn(other, "eth0")
		before = len(l.times(other))
		time.Sleep(time.Hour)
		if got := l.times(other); len(got) != before {
			t.Errorf("announced at %v", got[before:])
		}
	})
}

func TestStopWaitsForTheFrameThatIsBeingSent(t *testing.T) {
	// In real time: a goroutine that waits for a mutex doesn't let a synctest
	// bubble's clock advance.
	l := newLog()
	s := running(t, Options{})
	sending := make(chan struct{})
	s.Start(vip4, &fakeLink{name: "eth0", log: l, before: func() {
		close(sending)
		time.Sleep(50 * time.Millisecond)
	}}, title)
	<-sending
	s.Stop(vip4)
	if got := l.times(vip4); len(got) != 1 {
		t.Errorf("announced at %v when Stop returned", got)
	}
}

func TestTheGateMayTakeALockThatIsHeldAroundStop(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := newLog()
		var owner sync.Mutex
		asked := make(chan struct{}, 1)
		s := running(t, Options{Allowed: func(netip.Addr) bool {
			asked <- struct{}{}
			owner.Lock()
			defer owner.Unlock()
			return true
		}})
		owner.Lock()
		s.Start(vip4, &fakeLink{name: "eth0", log: l}, title)
		<-asked
		s.Stop(vip4)
		owner.Unlock()
		time.Sleep(time.Minute)
		if got := l.all(); len(got) != 0 {
			t.Errorf("announced after Stop: %v", got)
		}
	})
}

func TestOverdueAnnouncementsWaitForTheOwnerAndAreNotMadeUpFor(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := newLog()
		var mu sync.Mutex
		allowed := true
		set := func(v bool) { mu.Lock(); allowed = v; mu.Unlock() }
		s := running(t, Options{Allowed: func(netip.Addr) bool { mu.Lock(); defer mu.Unlock(); return allowed }})
		s.Start(vip4, &fakeLink{name: "eth0", log: l}, title)
		time.Sleep(500 * time.Millisecond)
		set(false)
		time.Sleep(3 * time.Second) // the repeats at 1.1 s and 2.2 s are due
		if got := l.times(vip4); len(got) != 1 {
			t.Fatalf("announced at %v without leave", got)
		}
		set(true)
		time.Sleep(1400 * time.Millisecond) // till 4.9 s
		if got := l.times(vip4); len(got) != 2 || got[1] < 3500*time.Millisecond || got[1] > 3700*time.Millisecond {
			t.Errorf("announced at %v, want once more after leave was given at 3.5 s", got)
		}
		time.Sleep(200 * time.Millisecond)
		if got := l.times(vip4); len(got) != 3 || got[2] != 5*time.Second {
			t.Errorf("announced at %v, want the repeat at 5 s", got)
		}
	})
}

func TestALateRepeatPushesTheNextOneAway(t *testing.T) {
	c := newCore(DefaultPlan())
	now := time.Unix(1000, 0)
	c.start(vip4, &fakeLink{name: "eth0"}, title, now)
	e, _ := c.next(now)
	c.sent(e, now)
	late := now.Add(2 * time.Second) // the repeat of 1.1 s
	c.sent(e, late)
	if want := late.Add(time.Second); !e.due.Equal(want) {
		t.Errorf("next at %v, want %v: nearer ones are ignored by receivers", e.due.Sub(now), want.Sub(now))
	}
}

func TestADownedInterfaceIsTriedAgain(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := newLog()
		link := &fakeLink{name: "eth0", log: l, err: errors.New("network is down")}
		var mu sync.Mutex
		var results []Result
		s := running(t, Options{Observe: func(r Result) { mu.Lock(); defer mu.Unlock(); results = append(results, r) }})
		s.Start(vip4, link, title)
		time.Sleep(2500 * time.Millisecond)
		l.mu.Lock()
		link.err = nil
		l.mu.Unlock()
		time.Sleep(time.Second)
		if got := l.times(vip4); len(got) != 1 || got[0] != 3*time.Second {
			t.Errorf("announced at %v", got)
		}
		mu.Lock()
		defer mu.Unlock()
		if len(results) != 4 || results[0].Err == nil || results[3].Err != nil || results[3].Frames != 2 || results[3].Link != "eth0" {
			t.Errorf("observed %+v", results)
		}
	})
}

func TestADefenceIsMadeOncePerInterval(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := newLog()
		s := running(t, Options{})
		if s.Now(vip4) {
			t.Error("defends an address that is not announced")
		}
		s.Start(vip4, &fakeLink{name: "eth0", log: l}, title)
		time.Sleep(20 * time.Second)
		before := len(l.times(vip4))
		var did []bool
		for range 21 { // every second, 0 to 20
			did = append(did, s.Now(vip4))
			time.Sleep(time.Second)
		}
		for i, d := range did {
			if d != (i%10 == 0) {
				t.Errorf("second %d: %t", i, d)
			}
		}
		want := []time.Duration{20 * time.Second, 30 * time.Second, 40 * time.Second}
		if diff := cmp.Diff(want, l.times(vip4)[before:]); diff != "" {
			t.Errorf("defences (-want +got):\n%s", diff)
		}
	})
}

func TestFiftyNewAddressesGoOutAtOnceAndRepeatsYield(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := newLog()
		s := running(t, Options{})
		link := &fakeLink{name: "eth0", log: l}
		for i := range 50 {
			s.Start(netip.AddrFrom4([4]byte{192, 0, 2, byte(i)}), link, title)
		}
		synctest.Wait()
		if got := l.all(); len(got) != 50 || got[49].At != 0 {
			t.Fatalf("%d announced, the last at %v", len(got), got[len(got)-1].At)
		}
	})
	synctest.Test(t, func(t *testing.T) {
		l := newLog()
		limiter, err := NewLimiter(10, 20, nil)
		if err != nil {
			t.Fatal(err)
		}
		s := running(t, Options{Limiter: limiter})
		link := &fakeLink{name: "eth0", log: l}
		for i := range 20 { // 40 frames, 4 s at this rate
			s.Start(netip.AddrFrom4([4]byte{192, 0, 2, byte(i)}), link, title)
		}
		time.Sleep(1500 * time.Millisecond) // the first repeats are due, some addresses are still to be announced
		s.Start(netip.MustParseAddr("192.0.2.200"), link, title)
		time.Sleep(1700 * time.Millisecond)
		seen := map[string]bool{}
		for i, e := range l.all() {
			if seen[e.Addr] && len(seen) < 21 {
				t.Errorf("announcement %d at %v repeats %s before all were announced once", i, e.At, e.Addr)
			}
			seen[e.Addr] = true
		}
		if len(seen) != 21 {
			t.Errorf("%d addresses announced", len(seen))
		}
	})
}

func TestOrderWithinAClassIsByAgeThenAddress(t *testing.T) {
	c := newCore(DefaultPlan())
	now := time.Unix(1000, 0)
	link := &fakeLink{name: "eth0"}
	c.start(other, link, title, now.Add(time.Millisecond))
	c.start(vip6, link, title, now)
	c.start(vip4, link, title, now)
	var got []string
	for range 3 {
		e, _ := c.next(now.Add(time.Second))
		got = append(got, fmt.Sprint(e.addr))
		c.sent(e, now.Add(time.Second))
	}
	if diff := cmp.Diff([]string{"192.0.2.10", "2001:db8::10", "192.0.2.11"}, got); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
}

func TestOptionsAreChecked(t *testing.T) {
	for _, p := range []Plan{
		{RefreshMin: 100 * time.Second, RefreshMax: 60 * time.Second},
		{RefreshMin: time.Millisecond, RefreshMax: time.Second},
		{Repeats: []time.Duration{2 * time.Second, time.Second}, RefreshMin: time.Minute, RefreshMax: time.Minute},
	} {
		if _, err := New(Options{Plan: p}); err == nil {
			t.Errorf("%+v accepted", p)
		}
	}
	for _, bad := range [][2]int{{0, 10}, {10, 1}, {-1, 10}} {
		if _, err := NewLimiter(bad[0], bad[1], nil); err == nil {
			t.Errorf("rate %d, burst %d accepted", bad[0], bad[1])
		}
	}
}
