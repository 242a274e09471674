package agent

import (
	"errors"
	"net/netip"
	"testing"

	"github.com/google/go-cmp/cmp"
	"k8s.io/apimachinery/pkg/types"

	"evenkeel.io/evenkeel/announcer/place"
	"evenkeel.io/evenkeel/announcer/report"
	"evenkeel.io/evenkeel/api/placeholder"
)

var (
	v4 = netip.MustParseAddr("192.0.2.10")
	v6 = netip.MustParseAddr("2001:db8::10")
)

func active(uid types.UID, term int64) placeholder.Placeholder {
	return placeholder.Placeholder{UID: uid, Node: "node-1", Role: placeholder.Active, Term: term, Addresses: []netip.Addr{v4}}
}

func TestOwner(t *testing.T) {
	ending := active("ending", 9)
	ending.Ending = true
	released := active("released", 9)
	released.Release, released.Ending = true, true
	standby := active("standby", 9)
	standby.Role = placeholder.Standby
	tests := []struct {
		name string
		pods []placeholder.Placeholder
		want types.UID
	}{
		{"nobody asks for the address", nil, ""},
		{"one placeholder speaks for its address", []placeholder.Placeholder{active("a", 0)}, "a"},
		{"of two actives the higher term speaks", []placeholder.Placeholder{active("a", 1), active("b", 2)}, "b"},
		{"a placeholder that stays comes before one that ends, whatever its term", []placeholder.Placeholder{ending, active("a", 1)}, "a"},
		{"a placeholder that stays comes before a released one", []placeholder.Placeholder{released, active("a", 1)}, "a"},
		{"a release comes before an end", []placeholder.Placeholder{ending, released}, "released"},
		{"a standby speaks for the address where no active does", []placeholder.Placeholder{standby}, "standby"},
		{"an active comes before a standby, whatever its term", []placeholder.Placeholder{standby, active("a", 1)}, "a"},
		{"a standby that stays comes before an active that ends", []placeholder.Placeholder{ending, standby}, "standby"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			d := desired{pods: map[types.UID]view{}}
			for _, p := range tt.pods {
				d.set(p, nil)
			}
			got, _ := d.owner(v4)
			if got.UID != tt.want {
				t.Errorf("owner = %q, want %q", got.UID, tt.want)
			}
		})
	}
}

func TestAMistakeMadeLaterDisturbsNothing(t *testing.T) {
	d := desired{pods: map[types.UID]view{}}
	d.set(active("a", 1), nil)
	d.set(placeholder.Placeholder{UID: "a"}, errors.New("annotation gone"))
	if wish := d.wish(v4); wish == nil || wish.Ending {
		t.Errorf("wish = %+v, want what the placeholder asked for before the mistake", wish)
	}
	d.set(placeholder.Placeholder{UID: "a", Ending: true}, errors.New("annotation gone"))
	if wish := d.wish(v4); wish == nil || !wish.Ending {
		t.Errorf("wish = %+v, want an end: the pod is deleted all the same", wish)
	}
	d.set(placeholder.Placeholder{UID: "b"}, errors.New("no addresses"))
	if touched := d.remove("b"); len(touched) != 0 {
		t.Errorf("a placeholder that never could be read touches %v", touched)
	}
}

func TestWishIgnoresTheNodesOwnMACsAmongPeers(t *testing.T) {
	p := active("a", 1)
	p.Peers = []placeholder.Peer{
		{Node: "node-2", MACs: []string{"02:00:00:00:00:02"}},
		{Node: "node-1", MACs: []string{"02:00:00:00:00:01"}},
	}
	d := desired{pods: map[types.UID]view{}}
	d.set(p, nil)
	want := map[place.MAC]uint8{{2, 0, 0, 0, 0, 2}: 0}
	if diff := cmp.Diff(want, d.wish(v4).Peers); diff != "" {
		t.Errorf("peers (-want +got):\n%s", diff)
	}
}

func TestSummarize(t *testing.T) {
	announcing := place.Report{Ready: true, Announced: true, Reason: place.ReasonAnnouncing, Message: "A"}
	contested := place.Report{Ready: true, Announced: true, Reason: place.ReasonConflict, Message: "C"}
	probing := place.Report{Reason: place.ReasonProbing, Message: "P"}
	guarding := place.Report{Ready: true, Reason: place.ReasonGuarding, Message: "G"}
	notHeard := place.Report{Reason: place.ReasonNotHeard, Message: "N"}
	tests := []struct {
		name    string
		reports []place.Report
		want    report.Condition
	}{
		{"a pair is announced when both are", []place.Report{announcing, announcing}, report.Condition{Ready: true, Announced: true, Reason: "Announcing", Message: "A, A"}},
		{"the one that isn't announced speaks for the pair", []place.Report{announcing, probing}, report.Condition{Reason: "Probing", Message: "P"}},
		{"a contested address is announced, and the conflict is told", []place.Report{announcing, contested}, report.Condition{Ready: true, Announced: true, Reason: "Conflict", Message: "C"}},
		{"a pair is guarded when both are", []place.Report{guarding, guarding}, report.Condition{Ready: true, Reason: "Guarding", Message: "G"}},
		{"the one that isn't guarded speaks for the pair", []place.Report{guarding, notHeard}, report.Condition{Reason: "NotHeard", Message: "N"}},
		{"an address that isn't announced counts more than a contested one", []place.Report{contested, probing}, report.Condition{Reason: "Probing", Message: "P"}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			if diff := cmp.Diff(tt.want, summarize(tt.reports)); diff != "" {
				t.Errorf("summary (-want +got):\n%s", diff)
			}
		})
	}
}
