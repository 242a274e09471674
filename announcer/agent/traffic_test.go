package agent

import (
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"evenkeel.io/evenkeel/announcer/traffic"
	"evenkeel.io/evenkeel/api/placeholder"
)

type trafficFake struct{ *rig }

func (f trafficFake) Set(vips []traffic.VIP) { f.carried = vips }

func TestWhatIsBoundIsMeasured(t *testing.T) {
	r := newRig(t)
	expect := func(when string, want ...traffic.VIP) {
		t.Helper()
		if diff := cmp.Diff(want, r.carried, cmpopts.EquateComparable(traffic.VIP{}), cmpopts.EquateEmpty()); diff != "" {
			t.Errorf("%s, measured (-want +got):\n%s", when, diff)
		}
	}
	r.Synced(r.ctx)
	r.PodChanged(r.ctx, pod("a", "192.0.2.10"))
	r.turn()
	expect("while it is probed")
	r.announced()
	r.turn()
	expect("once it is announced", traffic.VIP{Addr: v4, Name: "192-0-2-10"})
	released := pod("a", "192.0.2.10")
	released.Annotations[placeholder.AnnotationRelease] = "true"
	r.PodChanged(r.ctx, released)
	r.turn()
	expect("once it is released")
}
