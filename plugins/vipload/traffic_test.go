package vipload

import (
	"fmt"
	"testing"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	fwk "k8s.io/kube-scheduler/framework"
	"k8s.io/kubernetes/pkg/scheduler/framework"
	st "k8s.io/kubernetes/pkg/scheduler/testing"

	"evenkeel.io/evenkeel/api/load"
	"evenkeel.io/evenkeel/api/placeholder"
	"evenkeel.io/evenkeel/api/v1alpha1"
)

// besideBusy is a node with three VIPs that carry everything, and two with six idle ones each.
func besideBusy() ([]fwk.NodeInfo, *v1alpha1.VIPNodeTraffic) {
	long := metav1.NewTime(time.Now().Add(-time.Hour))
	traffic := &v1alpha1.VIPNodeTraffic{ObjectMeta: metav1.ObjectMeta{Name: "busy"}}
	traffic.Status.MeasuredAt = metav1.Now()
	var nodes []fwk.NodeInfo
	next := 1
	for _, n := range []struct {
		name string
		vips int
	}{{"busy", 3}, {"idle-1", 6}, {"idle-2", 6}} {
		info := nodeInfo(st.MakeNode().Name(n.name).Obj())
		for range n.vips {
			pod := vipPod(fmt.Sprintf("p%d", next), fmt.Sprintf("192.0.2.%d", next)).Node(n.name).Obj()
			pod.CreationTimestamp = long
			info.(*framework.NodeInfo).AddPod(pod)
			if n.name == "busy" {
				traffic.Status.VIPs = append(traffic.Status.VIPs, v1alpha1.VIPTraffic{Name: pod.Labels[placeholder.LabelVIP], BytesPerSecond: 5e6})
			}
			next++
		}
		nodes = append(nodes, info)
	}
	return nodes, traffic
}

func TestNewVIPsKeepOffTheBusyNodeWhereTrafficComesFirst(t *testing.T) {
	ctx := t.Context()
	for _, tt := range []struct {
		by     []load.Criterion
		toBusy int
	}{
		{by: []load.Criterion{load.Traffic}, toBusy: 0},
		{by: []load.Criterion{load.Count}, toBusy: 4},
		{by: load.DefaultCriteria(), toBusy: 4},
	} {
		t.Run(fmt.Sprint(tt.by), func(t *testing.T) {
			nodes, traffic := besideBusy()
			pl := newMeasuring(tt.by...)
			pl.meter.Observe(traffic)
			got := map[string]int{}
			for i := range 6 {
				pod := vipPod(fmt.Sprintf("new%d", i), fmt.Sprintf("192.0.2.%d", 100+i)).Obj()
				pod.CreationTimestamp = metav1.Now()
				best := choose(ctx, t, pl, pod, nodes)
				pod.Spec.NodeName = nodes[best].Node().Name
				nodes[best].(*framework.NodeInfo).AddPod(pod)
				got[pod.Spec.NodeName]++
			}
			if got["busy"] != tt.toBusy {
				t.Errorf("the new ones went to %v, want %d on the busy node", got, tt.toBusy)
			}
			if a, b := got["idle-1"], got["idle-2"]; a-b > 1 || b-a > 1 {
				t.Errorf("the idle nodes got %d and %d: what isn't measured yet must count", a, b)
			}
		})
	}
}
