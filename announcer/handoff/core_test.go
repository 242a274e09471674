package handoff

import (
	"fmt"
	"net/netip"
	"reflect"
	"slices"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"
)

var (
	epoch = time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)
	vip4  = netip.MustParseAddr("192.0.2.10")
)

// owner is node "a" to "z" with a MAC and an address of its own.
func owner(name string) Owner {
	n := name[0] - 'a' + 1
	return Owner{Node: name, MACs: []MAC{{2, 0, 0, 0, 1, n}}, Addrs: []netip.Addr{netip.AddrFrom4([4]byte{192, 0, 2, 100 + n})}}
}

func owners(names ...string) []Owner {
	var list []Owner
	for _, name := range names {
		list = append(list, owner(name))
	}
	return list
}

// held is the VIP as this node, "self", holds it after the named ones.
func held(earlier ...string) VIP {
	return VIP{Addr: vip4, Interface: 2, Subnets: []netip.Prefix{netip.MustParsePrefix("192.0.2.0/24")}, Held: true, Earlier: owners(earlier...)}
}

func newTestCore(t rapid.TB) *Core {
	c, err := NewCore("self", Limits{})
	if err != nil {
		t.Fatal(err)
	}
	return c
}

func to(r Result) string {
	var names []string
	for _, e := range r.State.Entries {
		names = append(names, e.Node)
	}
	return fmt.Sprint(names)
}

func ends(r Result) string {
	var list []string
	for _, e := range r.Ended {
		list = append(list, fmt.Sprintf("%s %s %d", e.Node, e.Reason, e.Flows))
	}
	return fmt.Sprint(list)
}

func TestWhatIsHandedOn(t *testing.T) {
	gone := func(names ...string) func(string) bool {
		return func(node string) bool { return slices.Contains(names, node) }
	}
	busy := func(ago time.Duration, flows int) func(now time.Time) map[netip.Addr]Use {
		return func(now time.Time) map[netip.Addr]Use {
			return map[netip.Addr]Use{vip4: {Last: now.Add(-ago), Flows: flows}}
		}
	}
	standby, off, far := held("a"), held("a"), held("a")
	standby.Held, off.Off = false, true
	refusing := standby
	refusing.Off = true
	far.Earlier[0].Addrs = []netip.Addr{netip.MustParseAddr("198.51.100.1")}
	silent := held("b", "a")
	silent.Earlier[0].Silent = true
	nameless := held("a")
	nameless.Earlier[0].MACs = nil
	type step struct {
		after time.Duration
		vips  []VIP
		gone  func(string) bool
		uses  func(now time.Time) map[netip.Addr]Use
		to    string
		ended string
	}
	tests := []struct {
		name  string
		steps []step
	}{
		{"what the owner before served goes to it", []step{{vips: []VIP{held("a")}, to: "[a]", ended: "[]"}}},
		{"a new VIP has nobody to hand on to", []step{{vips: []VIP{held()}, to: "[]", ended: "[]"}}},
		{"after a chain of moves each of the last four gets a copy, the newest first", []step{{vips: []VIP{held("e", "d", "c", "b", "a")}, to: "[e d c b]", ended: "[]"}}},
		{"a node isn't an earlier owner of its own", []step{{vips: []VIP{held("b", "self", "a")}, to: "[b a]", ended: "[]"}}},
		{"a standby only guards", []step{{vips: []VIP{standby}, to: "[]", ended: "[]"}}},
		{"a Service may refuse", []step{{vips: []VIP{off}, to: "[]", ended: "[]"}}},
		{"a Service may refuse later", []step{{vips: []VIP{held("a")}, to: "[a]", ended: "[]"}, {vips: []VIP{off}, uses: busy(time.Second, 3), to: "[]", ended: "[a Off 3]"}}},
		{"who isn't on the segment is passed over", []step{{vips: []VIP{far}, to: "[]", ended: "[]"}}},
		{"so is one whose MAC address isn't known, which no guard would stop", []step{{vips: []VIP{nameless}, to: "[]", ended: "[]"}}},
		{"what a VIP was taken over from in silence is lost, and what was served before isn't", []step{{vips: []VIP{silent}, to: "[a]", ended: "[]"}}},
		{"a dead node's connections are lost", []step{{vips: []VIP{held("a")}, gone: gone("a"), to: "[]", ended: "[]"}}},
		{"a node that dies later ends its entry", []step{{vips: []VIP{held("a")}, to: "[a]", ended: "[]"},
			{vips: []VIP{held("a")}, gone: gone("a"), uses: busy(time.Second, 7), to: "[]", ended: "[a Gone 7]"},
			{vips: []VIP{held("a")}, to: "[]", ended: "[]"}}},
		{"of several, one that dies leaves flows that only a sole other one may refuse", []step{{vips: []VIP{held("b", "a", "c")}, to: "[b a c]", ended: "[]"},
			{vips: []VIP{held("b", "a", "c")}, gone: gone("b"), to: "[a]", ended: "[b Gone 0 c Bereft 0]"}}},
		{"five quiet minutes end it", []step{{vips: []VIP{held("a")}, to: "[a]", ended: "[]"},
			{after: DefaultIdle - time.Second, vips: []VIP{held("a")}, to: "[a]", ended: "[]"},
			{after: time.Second, vips: []VIP{held("a")}, to: "[]", ended: "[a Quiet 0]"}, {vips: []VIP{held("a")}, to: "[]", ended: "[]"}}},
		{"traffic keeps it", []step{{vips: []VIP{held("a")}, to: "[a]", ended: "[]"},
			{after: 2 * DefaultIdle, vips: []VIP{held("a")}, uses: busy(time.Minute, 1), to: "[a]", ended: "[]"}}},
		{"and counts on when the kernel has forgotten it", []step{{vips: []VIP{held("a")}, to: "[a]", ended: "[]"},
			{after: DefaultIdle - time.Second, vips: []VIP{held("a")}, uses: busy(time.Second, 1), to: "[a]", ended: "[]"},
			{after: DefaultIdle - 2*time.Second, vips: []VIP{held("a")}, to: "[a]", ended: "[]"},
			{after: time.Second, vips: []VIP{held("a")}, to: "[]", ended: "[a Quiet 0]"}}},
		{"but not for longer than an hour", []step{{vips: []VIP{held("a")}, to: "[a]", ended: "[]"},
			{after: DefaultMax, vips: []VIP{held("a")}, uses: busy(time.Second, 2), to: "[]", ended: "[a Expired 2]"}}},
		{"a VIP that moves away ends it here, once what is under way has come", []step{{vips: []VIP{held("a")}, to: "[a]", ended: "[]"}, {to: "[a]", ended: "[a Left 0]"},
			{after: lingerFor - time.Second, vips: []VIP{standby}, to: "[a]", ended: "[]"}, {after: time.Second, vips: []VIP{standby}, to: "[]", ended: "[]"}}},
		{"but at once with an earlier owner that is gone", []step{{vips: []VIP{held("b", "a")}, to: "[b a]", ended: "[]"}, {gone: gone("a"), to: "[]", ended: "[b Left 0 a Left 0]"}}},
		{"and where the Service refuses", []step{{vips: []VIP{held("a")}, to: "[a]", ended: "[]"}, {to: "[a]", ended: "[a Left 0]"}, {vips: []VIP{refusing}, to: "[]", ended: "[]"}}},
		{"and begins anew when it is back", []step{{vips: []VIP{held("a")}, to: "[a]", ended: "[]"}, {to: "[a]", ended: "[a Left 0]"},
			{vips: []VIP{held("b", "self", "a")}, to: "[b a]", ended: "[]"}}},
		{"that the list forgets an owner changes nothing", []step{{vips: []VIP{held("b", "a")}, to: "[b a]", ended: "[]"}, {vips: []VIP{held("b")}, to: "[b a]", ended: "[]"}}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			c, now := newTestCore(t), epoch
			for i, s := range tt.steps {
				now = now.Add(s.after)
				in := Input{VIPs: s.vips, Dead: s.gone}
				if s.uses != nil {
					in.Uses = s.uses(now)
				}
				r := c.Update(in, now)
				if to(r) != s.to || ends(r) != s.ended {
					t.Errorf("step %d: handed on to %s, ended %s; want %s and %s", i, to(r), ends(r), s.to, s.ended)
				}
			}
		})
	}
}

func TestCopiesEndAtAVIPThatHasLeft(t *testing.T) {
	c := newTestCore(t)
	c.Update(Input{VIPs: []VIP{held("a")}}, epoch)
	guards := func(after time.Duration) int { return len(c.Update(Input{}, epoch.Add(after)).State.Guards) }
	if n := guards(DefaultMax - time.Second); n != 1 {
		t.Errorf("%d guards while others may still send copies, want 1", n)
	}
	if n := guards(DefaultMax); n != 0 {
		t.Errorf("%d guards afterwards, want none", n)
	}
}

func TestANextProcessKnowsWhenAnEntryWasLastUsed(t *testing.T) {
	first := newTestCore(t)
	first.Update(Input{VIPs: []VIP{held("a")}}, epoch)
	used := epoch.Add(DefaultIdle - time.Second)
	before := first.Update(Input{VIPs: []VIP{held("a")}, Uses: map[netip.Addr]Use{vip4: {Last: used}}}, used).State

	second, now := newTestCore(t), used.Add(time.Minute)
	second.Adopt(before, now)
	if got := to(second.Update(Input{VIPs: []VIP{held("a")}}, now)); got != "[a]" {
		t.Errorf("a minute after its last packet an old entry is handed on to %s", got)
	}
	if got := to(second.Update(Input{VIPs: []VIP{held("a")}}, used.Add(DefaultIdle+time.Minute))); got != "[]" {
		t.Errorf("long after its last packet it is handed on to %s", got)
	}
}

func TestANextProcessGoesOn(t *testing.T) {
	first := newTestCore(t)
	before := first.Update(Input{VIPs: []VIP{held("b", "a")}}, epoch).State

	second := newTestCore(t)
	second.Adopt(before, epoch.Add(time.Minute))
	after := second.Update(Input{VIPs: []VIP{held("b", "a", "c")}}, epoch.Add(time.Minute))
	if to(after) != "[b a]" {
		t.Errorf("handed on to %s, want [b a]: what had ended for c stays so", to(after))
	}
	if diff := cmp.Diff(before.Entries, after.State.Entries, cmp.Comparer(func(a, b netip.Addr) bool { return a == b })); diff != "" {
		t.Errorf("entries (-before +after):\n%s", diff)
	}
	if r := second.Update(Input{VIPs: []VIP{held("b", "a", "c")}, Uses: map[netip.Addr]Use{vip4: {Last: epoch.Add(DefaultMax)}}}, epoch.Add(DefaultMax)); to(r) != "[]" {
		t.Errorf("handed on to %s an hour after the first process began, want nobody", to(r))
	}
}

// TestInvariants: whatever happens, the rules can hold what is wanted, nobody hands on to itself or for a VIP that it hasn't, every
// one that it hands on to is known to the loop guard, and what has ended begins again only with a new tenure.
func TestInvariants(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		c, now := newTestCore(t), epoch
		ended := map[string]bool{}
		was, leftAt := false, time.Time{}
		for range rapid.IntRange(1, 30).Draw(t, "updates") {
			now = now.Add(time.Duration(rapid.IntRange(0, 400).Draw(t, "seconds")) * time.Second)
			var in Input
			name := rapid.SampledFrom([]string{"a", "b", "c", "d", "e", "self"})
			isHeld := rapid.Bool().Draw(t, "held")
			v := held(rapid.SliceOfN(name, 0, 6).Draw(t, "earlier")...)
			v.Held, v.Off = isHeld, rapid.IntRange(0, 9).Draw(t, "off") == 0
			in.VIPs = []VIP{v}
			dead := rapid.SliceOfN(name, 0, 2).Draw(t, "gone")
			in.Dead = func(node string) bool { return slices.Contains(dead, node) }
			if rapid.Bool().Draw(t, "busy") {
				in.Uses = map[netip.Addr]Use{vip4: {Last: now, Flows: 1}}
			}
			if !was {
				clear(ended)
			} else if !isHeld {
				leftAt = now
			}
			was = isHeld
			r := c.Update(in, now)
			if err := r.State.check(); err != nil {
				t.Fatalf("%v: %+v", err, r.State)
			}
			if again := c.Update(in, now); !reflect.DeepEqual(again.State, r.State) || len(again.Ended) > 0 {
				t.Fatalf("the same again gives %+v, ended %v; want %+v", again.State, again.Ended, r.State)
			}
			for _, e := range r.State.Entries {
				switch {
				case v.Off || !v.Held && now.Sub(leftAt) >= lingerFor:
					t.Fatalf("handed on to %s for a VIP that isn't held or refuses", e.Node)
				case e.Node == "self":
					t.Fatal("handed on to itself")
				case slices.Contains(dead, e.Node):
					t.Fatalf("handed on to %s, which is dead", e.Node)
				case !slices.Contains(r.State.Peers, owner(e.Node).MACs[0]):
					t.Fatalf("handed on to %s, whose MAC the loop guard doesn't know", e.Node)
				case now.Sub(e.Started) >= DefaultMax:
					t.Fatalf("handed on to %s for %v", e.Node, now.Sub(e.Started))
				case v.Held && ended[e.Node]:
					t.Fatalf("handed on to %s again", e.Node)
				}
			}
			for _, e := range r.Ended {
				ended[e.Node] = e.Reason != Left
			}
		}
	})
}

func TestImpossibleStatesAreRefused(t *testing.T) {
	guard := Guard{VIP: vip4, Interface: 2}
	entry := Entry{VIP: vip4, Interface: 2, To: owner("a").Addrs[0]}
	peers := owner("a").MACs
	change := func(f func(*Entry)) []Entry { e := entry; f(&e); return []Entry{e} }
	for name, s := range map[string]State{
		"an entry without a guard":           {Peers: peers, Entries: []Entry{entry}},
		"an entry without anybody's MAC":     {Guards: []Guard{guard}, Entries: []Entry{entry}},
		"a gap in the slots":                 {Guards: []Guard{guard}, Peers: peers, Entries: change(func(e *Entry) { e.Slot = 1 })},
		"a copy to the VIP itself":           {Guards: []Guard{guard}, Peers: peers, Entries: change(func(e *Entry) { e.To = vip4 })},
		"a copy to the other family":         {Guards: []Guard{guard}, Peers: peers, Entries: change(func(e *Entry) { e.To = netip.IPv6LinkLocalAllNodes() })},
		"a guard twice":                      {Guards: []Guard{guard, guard}},
		"a guard without an interface":       {Guards: []Guard{{VIP: vip4}}},
		"an entry on another interface":      {Guards: []Guard{guard}, Peers: peers, Entries: change(func(e *Entry) { e.Interface = 3 })},
		"a guard for an address with a zone": {Guards: []Guard{{VIP: netip.MustParseAddr("fe80::1%eth0"), Interface: 2}}},
	} {
		if s.check() == nil {
			t.Errorf("%s is accepted", name)
		}
	}
}
