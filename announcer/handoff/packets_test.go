package handoff

import (
	"testing"
	"time"

	"github.com/google/nftables"

	"evenkeel.io/evenkeel/announcer/address/nstest"
)

func TestEstablishedConnectionsSurviveMoves(t *testing.T) {
	for name, v6 := range map[string]bool{"IPv4": false, "IPv6": true} {
		t.Run(name, func(t *testing.T) {
			l := newLAN(t, 3, v6)
			a, b, c := l.nodes[0], l.nodes[1], l.nodes[2]
			l.open(t)
			l.move(t, nil, a)
			a.set(t, l.guarded(a))
			first := l.connect(t)
			first.answered(t, a)

			b.set(t, l.guarded(b, a))
			l.move(t, a, b)
			first.answered(t, a)
			second := l.connect(t)
			second.answered(t, b)

			c.set(t, l.guarded(c, b, a))
			l.move(t, b, c)
			first.answered(t, a)
			second.answered(t, b)
			third := l.connect(t)
			third.answered(t, c)
			for flow, owner := range map[*flow]*node{first: a, second: b, third: c} {
				l.trackedBy(t, flow, owner)
			}

			// Back to the first owner, which then knows its own and hands on the others.
			a.set(t, l.guarded(a, c, b))
			l.move(t, c, a)
			for flow, owner := range map[*flow]*node{first: a, second: b, third: c, l.connect(t): a} {
				flow.answered(t, owner)
			}
			uses, err := a.table.Stats(t.Context())
			if err != nil {
				t.Fatal(err)
			}
			if use := uses[l.vip]; use.Flows != 2 || use.Packets < 40 || use.Bytes < 40*use.Packets || time.Since(use.Last) > time.Minute || time.Since(use.Last) < -time.Second {
				t.Errorf("handed on: %+v (last %v ago), want 2 flows of 20 requests each", use, time.Since(use.Last))
			}
		})
	}
}

func TestNothingIsCountedWithoutAnAnnouncer(t *testing.T) {
	for name, v6 := range map[string]bool{"IPv4": false, "IPv6": true} {
		t.Run(name, func(t *testing.T) {
			l := newLAN(t, 2, v6)
			a, b := l.nodes[0], l.nodes[1]
			l.open(t)
			l.move(t, nil, a)
			flow := l.connect(t)
			state := l.guarded(b, a)
			state.Entries[0].Used = state.Entries[0].Started
			b.set(t, state)
			l.move(t, a, b)
			flow.answered(t, a)

			if err := b.table.Close(t.Context()); err != nil {
				t.Fatal(err)
			}
			flow.answered(t, a) // it is handed on as long as the elements live
			if uses, err := b.table.Stats(t.Context()); err != nil || len(uses) > 0 {
				t.Errorf("after the announcer's end the kernel counted %+v, %v", uses, err)
			}

			left := b.open(t, Options{})
			if len(left.Entries) != 1 || left.Entries[0].Used.Sub(state.Entries[0].Used).Abs() > 2*time.Second {
				t.Errorf("the next process finds %+v, want the entry last used %s", left.Entries, state.Entries[0].Used)
			}
			flow.answered(t, a)
			if uses, err := b.table.Stats(t.Context()); err != nil || uses[l.vip].Flows != 1 {
				t.Errorf("the next process counts %+v, %v", uses, err)
			}
		})
	}
}

func TestWithoutHandoffAMoveCutsConnections(t *testing.T) {
	l := newLAN(t, 2, false)
	l.move(t, nil, l.nodes[0])
	flow := l.connect(t)
	flow.answered(t, l.nodes[0])
	l.move(t, l.nodes[0], l.nodes[1])
	flow.dead(t)
}

func TestAConnectionThatNobodyKnowsIsResetByASoleEarlierOwner(t *testing.T) {
	l := newLAN(t, 3, false)
	a, b, c := l.nodes[0], l.nodes[1], l.nodes[2]
	l.open(t)
	l.move(t, nil, a)
	flow := l.connect(t)
	flow.answered(t, a)
	// c, which had it later, is the only earlier owner that b knows of.
	c.set(t, l.guarded(c))
	b.set(t, l.guarded(b, c))
	l.move(t, a, b)
	begin := time.Now()
	if got, err := flow.ask(patient); err == nil {
		t.Fatalf("answered by %q", got)
	}
	if took := time.Since(begin); took > patient/2 {
		t.Errorf("ended after %v, want a reset", took)
	}
}

func TestConntracksWindowChecksDontMatter(t *testing.T) {
	for name, loose := range map[string]string{"mid-stream packets are new to conntrack": "1", "they are invalid": "0"} {
		t.Run(name, func(t *testing.T) {
			l := newLAN(t, 2, false)
			a, b := l.nodes[0], l.nodes[1]
			l.open(t)
			for _, nd := range l.nodes {
				nd.setting(t, "net/netfilter/nf_conntrack_tcp_loose", loose)
			}
			l.move(t, nil, a)
			flow := l.connect(t)
			flow.answered(t, a)
			b.set(t, l.guarded(b, a))
			l.move(t, a, b)
			flow.answered(t, a)
		})
	}
}

func TestANextProcessTakesOverWhatIsHandedOn(t *testing.T) {
	l := newLAN(t, 2, false)
	a, b := l.nodes[0], l.nodes[1]
	l.open(t)
	l.move(t, nil, a)
	flow := l.connect(t)
	flow.answered(t, a)
	want := l.guarded(b, a)
	want.Guards[0].Held = true
	b.set(t, want)
	l.move(t, a, b)

	got := b.open(t, Options{}) // as a new process does
	flow.answered(t, a)
	if len(got.Entries) != 1 || len(got.Guards) != 1 || len(got.Peers) != 1 || !got.Guards[0].Held {
		t.Fatalf("taken over %+v, want %+v", got, want)
	}
	entry := got.Entries[0]
	if age := entry.Started.Sub(want.Entries[0].Started).Abs(); entry.Node != "a" || entry.To != a.own || age > 2*time.Second {
		t.Errorf("taken over %+v, want %+v", entry, want.Entries[0])
	}
	if err := b.table.Renew(t.Context()); err != nil {
		t.Fatal(err)
	}
	flow.answered(t, a)
	b.set(t, State{})
	flow.dead(t)
}

func TestNothingOutlivesItsTimeout(t *testing.T) {
	l := newLAN(t, 2, false)
	a, b := l.nodes[0], l.nodes[1]
	b.open(t, Options{Timeout: time.Second})
	b.set(t, l.guarded(b, a))
	nstest.Eventually(t, "the elements' end", func() bool {
		again, err := New(Options{NetNS: int(b.NS)})
		if err != nil {
			t.Fatal(err)
		}
		state, err := again.Open(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		return len(state.Guards)+len(state.Peers)+len(state.Entries) == 0
	})
	if err := b.table.Renew(t.Context()); err != nil {
		t.Fatal(err)
	}
	if state := b.open(t, Options{}); len(state.Entries) != 1 {
		t.Errorf("after a renewal there is %+v, want one entry", state)
	}
}

// TestFlushedRulesComeBack: a reload of the node's firewall may remove one table or both.
func TestFlushedRulesComeBack(t *testing.T) {
	l := newLAN(t, 3, false)
	a, b, c := l.nodes[0], l.nodes[1], l.nodes[2]
	l.open(t)
	l.move(t, nil, a)
	flow := l.connect(t)
	flow.answered(t, a)
	flow.quiet()
	b.set(t, l.guarded(b, c))
	l.move(t, a, b)
	for _, flushed := range []family{families[0], families[1]} {
		conn, err := nftables.New(nftables.WithNetNSFd(int(b.NS)))
		if err != nil {
			t.Fatal(err)
		}
		conn.DelTable(b.table.table(flushed))
		if err := conn.Flush(); err != nil {
			t.Fatal(err)
		}
		b.set(t, l.guarded(b, a)) // another owner than before
		if err := b.table.Renew(t.Context()); err != nil {
			t.Fatal(err)
		}
		flow.answered(t, a)
		if state := b.open(t, Options{}); len(state.Entries) != 1 || state.Entries[0].To != a.own {
			t.Errorf("the kernel holds %+v, want one entry for a", state)
		}
		flow.quiet()
		b.set(t, l.guarded(b, c))
	}
}
