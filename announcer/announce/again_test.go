package announce

import (
	"net/netip"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"
	clocktesting "k8s.io/utils/clock/testing"

	"evenkeel.io/evenkeel/announcer/arp/wire"
)

func TestAnAnnouncementCarriesTheLatestTitle(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := running(t, Options{})
		link := &titleLink{}
		s.Start(vip4, link, title)
		synctest.Wait()
		s.Retitle(vip4, title.After())
		time.Sleep(2 * time.Second)
		s.Start(vip4, link, title.After().After())
		time.Sleep(time.Second)
		want := []wire.Title{title, title.After(), title.After().After()}
		if diff := cmp.Diff(want, link.titles); diff != "" {
			t.Errorf("titles (-want +got):\n%s", diff)
		}
	})
}

type titleLink struct{ titles []wire.Title }

func (l *titleLink) Name() string        { return "eth0" }
func (l *titleLink) AnnounceFrames() int { return 1 }
func (l *titleLink) Announce(_ netip.Addr, title wire.Title) error {
	l.titles = append(l.titles, title)
	return nil
}

func TestAgainStartsAnewButNotWithinATenthOfASecond(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := newLog()
		s := running(t, Options{})
		s.Start(vip4, &fakeLink{name: "eth0", log: l}, title)
		time.Sleep(20 * time.Second)
		for range 4 { // a node that has come back answers every 30 ms
			s.Again(vip4)
			time.Sleep(30 * time.Millisecond)
		}
		time.Sleep(10 * time.Second)
		want := []time.Duration{20000, 20100, 21200, 22300, 25100}
		for i := range want {
			want[i] *= time.Millisecond
		}
		if diff := cmp.Diff(want, l.times(vip4)[4:]); diff != "" {
			t.Errorf("announcements after 20 s (-want +got):\n%s", diff)
		}
	})
}

func TestWhatIsHeldIsNotSentUntilLater(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := newLog()
		s := running(t, Options{})
		link := &fakeLink{name: "eth0", log: l}
		s.Start(vip4, link, title)
		s.Start(other, link, title)
		time.Sleep(time.Second)
		s.Hold(vip4, 200*time.Millisecond) // the repeat at 1.1 s waits
		s.Again(vip4)
		time.Sleep(150 * time.Millisecond)
		if got := l.times(vip4); len(got) != 1 {
			t.Errorf("announced at %v, want nothing while it is held", got)
		}
		if got := l.times(other); len(got) != 2 {
			t.Errorf("another address was announced at %v, want it to go on", got)
		}
		time.Sleep(50 * time.Millisecond)
		synctest.Wait()
		if got := l.times(vip4); len(got) != 2 || got[1] != 1200*time.Millisecond {
			t.Errorf("announced at %v, want once more when the hold is over", got)
		}
	})
}

// A process that slept through what was due mustn't send it before the wire was asked who has the addresses now.
func TestAfterAPauseOfTheProcessNothingIsSentForAMoment(t *testing.T) {
	clk := clocktesting.NewFakeClock(time.Unix(1000, 0))
	s, err := New(Options{Clock: clk})
	if err != nil {
		t.Fatal(err)
	}
	l := newLog()
	s.Start(vip4, &fakeLink{name: "eth0", log: l}, title)
	for s.step() == 0 {
	}
	<-s.wake // of Start
	slept := make(chan bool)
	go func() { slept <- s.sleep(t.Context(), s.step()) }()
	for !clk.HasWaiters() {
		time.Sleep(time.Millisecond)
	}
	clk.Step(3 * time.Second)
	<-slept
	if wait := s.step(); wait != pauseHold || len(l.all()) != 1 {
		t.Errorf("after the pause: %d announcements, next in %v, want one, and %v", len(l.all()), wait, pauseHold)
	}
}
