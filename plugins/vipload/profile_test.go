package vipload

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/informers"
	"k8s.io/client-go/kubernetes/fake"
	"k8s.io/klog/v2"
	fwk "k8s.io/kube-scheduler/framework"
	schedconfig "k8s.io/kubernetes/pkg/scheduler/apis/config"
	schedscheme "k8s.io/kubernetes/pkg/scheduler/apis/config/scheme"
	schedcache "k8s.io/kubernetes/pkg/scheduler/backend/cache"
	"k8s.io/kubernetes/pkg/scheduler/framework"
	"k8s.io/kubernetes/pkg/scheduler/framework/plugins"
	frameworkruntime "k8s.io/kubernetes/pkg/scheduler/framework/runtime"
	schedmetrics "k8s.io/kubernetes/pkg/scheduler/metrics"
	st "k8s.io/kubernetes/pkg/scheduler/testing"
	"pgregory.net/rapid"

	"evenkeel.io/evenkeel/api/eligible"
	"evenkeel.io/evenkeel/api/load"
	"evenkeel.io/evenkeel/api/placeholder"
	"evenkeel.io/evenkeel/api/v1alpha1"
	placing "evenkeel.io/evenkeel/controller/place"
	"evenkeel.io/evenkeel/manifests/scheduler"
)

// profile runs scheduling cycles with the profile that ships and all its plugins, on a cluster of values.
type profile struct {
	ctx    context.Context
	fw     framework.Framework
	lister *lister
	nodes  []*corev1.Node
	pods   []*corev1.Pod
}

type lister struct{ fwk.SharedLister }

func newProfile(ctx context.Context, tb rapid.TB, nodes ...*corev1.Node) *profile {
	tb.Helper()
	decoded, _, err := schedscheme.Codecs.UniversalDecoder().Decode([]byte(scheduler.Config), nil, nil)
	if err != nil {
		tb.Fatal(err)
	}
	pl := newMeasuring(load.DefaultCriteria()...)
	for _, node := range nodes {
		pl.nodes.set(node.Name, eligible.FactsOf(vipNode(node.Name, alive("eth0", "192.0.2.1/24"))))
	}
	registry := plugins.NewInTreeRegistry()
	if err := registry.Register(Name, func(context.Context, runtime.Object, fwk.Handle) (fwk.Plugin, error) { return pl, nil }); err != nil {
		tb.Fatal(err)
	}
	schedmetrics.Register()
	p := &profile{ctx: ctx, lister: &lister{}}
	p.reset(nodes...)
	client := fake.NewClientset()
	p.fw, err = frameworkruntime.NewFramework(ctx, registry, &decoded.(*schedconfig.KubeSchedulerConfiguration).Profiles[0],
		frameworkruntime.WithLogger(klog.Logger{}), frameworkruntime.WithSnapshotSharedLister(p.lister), frameworkruntime.WithClientSet(client),
		frameworkruntime.WithInformerFactory(informers.NewSharedInformerFactory(client, 0)))
	if err != nil {
		tb.Fatal(err)
	}
	return p
}

// reset begins with an empty cluster of some of the nodes.
func (p *profile) reset(nodes ...*corev1.Node) {
	p.nodes, p.pods = nodes, nil
	p.lister.SharedLister = schedcache.NewSnapshot(nil, nodes)
}

// add puts a pod on a node.
func (p *profile) add(pod *corev1.Pod, node string) {
	bound := pod.DeepCopy()
	bound.Spec.NodeName = node
	p.pods = append(p.pods, bound)
	p.lister.SharedLister = schedcache.NewSnapshot(p.pods, p.nodes)
}

// score runs a pod's cycle and returns the total score of each node that it may be on.
func (p *profile) score(tb rapid.TB, pod *corev1.Pod) map[string]fwk.NodePluginScores {
	tb.Helper()
	state := framework.NewCycleState()
	infos, err := p.lister.NodeInfos().List()
	if err != nil {
		tb.Fatal(err)
	}
	if _, status, _ := p.fw.RunPreFilterPlugins(p.ctx, state, pod); !status.IsSuccess() {
		return nil
	}
	var feasible []fwk.NodeInfo
	for _, info := range infos {
		if p.fw.RunFilterPlugins(p.ctx, state, pod, info).IsSuccess() {
			feasible = append(feasible, info)
		}
	}
	if len(feasible) == 0 {
		return nil
	}
	if status := p.fw.RunPreScorePlugins(p.ctx, state, pod, feasible); !status.IsSuccess() {
		tb.Fatal(status)
	}
	scores, status := p.fw.RunScorePlugins(p.ctx, state, pod, feasible)
	if !status.IsSuccess() {
		tb.Fatal(status)
	}
	byNode := map[string]fwk.NodePluginScores{}
	for _, s := range scores {
		byNode[s.Name] = s
	}
	return byNode
}

// place places a pod as the scheduler does; it returns "" where it must wait.
func (p *profile) place(tb rapid.TB, pod *corev1.Pod) string {
	tb.Helper()
	best := ""
	scores := p.score(tb, pod)
	for _, node := range slices.Sorted(maps.Keys(scores)) {
		if best == "" || scores[node].TotalScore > scores[best].TotalScore {
			best = node
		}
	}
	if best != "" {
		p.add(pod, best)
	}
	return best
}

// load is how many actives a node has, and how many of them are of a group.
func (p *profile) load(node, group string) (all, members int) {
	for _, pod := range p.pods {
		if pod.Spec.NodeName == node && pod.Labels[placeholder.LabelVIP] != "" && placeholder.RoleOf(pod) == placeholder.Active {
			all++
			if pod.Labels[placeholder.LabelSpreadGroup] == group {
				members++
			}
		}
	}
	return all, members
}

func aNode(name, zone string) *corev1.Node {
	return st.MakeNode().Name(name).Label(corev1.LabelHostname, name).Label(corev1.LabelTopologyZone, zone).
		Capacity(map[corev1.ResourceName]string{corev1.ResourcePods: "110"}).Obj()
}

// wishing builds the placeholder of the n-th VIP as the controller does.
func wishing(n int, role placeholder.Role, annotations map[string]string) *corev1.Pod {
	vip := &v1alpha1.VIP{ObjectMeta: metav1.ObjectMeta{Name: fmt.Sprintf("192-0-2-%d", n), UID: "vip"}, Spec: v1alpha1.VIPSpec{Addresses: []string{fmt.Sprintf("192.0.2.%d", n)}}}
	service := &corev1.Service{ObjectMeta: metav1.ObjectMeta{Namespace: "shop", Name: "web", Annotations: annotations}}
	sequence := int64(1)
	if role == placeholder.Standby {
		sequence = 2
	}
	pod := placing.Build(placing.Subject{VIP: vip, Service: service}, placing.Look{Namespace: placeholder.DefaultNamespace, Image: "pause"}, placing.Claim{Role: role, Sequence: sequence, Term: 1}, nil)
	pod.UID = types.UID(pod.Name)
	return pod
}

// Promise 1 for all who don't ask for more: whatever others prefer, in their pods or their Services, a placeholder without
// wishes is scored by VIPLoad alone.
func TestOnlyWhoAsksIsPlacedByMoreThanLoad(t *testing.T) {
	nodes := []*corev1.Node{aNode("a", "1"), aNode("b", "1"), aNode("c", "2"), aNode("d", "2")}
	p := newProfile(t.Context(), t, nodes...)
	rapid.Check(t, func(t *rapid.T) {
		p.reset(nodes...)
		names := []string{"a", "b", "c", "d"}
		for i := range rapid.IntRange(0, 12).Draw(t, "others") {
			node := rapid.SampledFrom(names).Draw(t, "node")
			switch rapid.IntRange(0, 3).Draw(t, "kind") {
			case 0: // a pod of no concern to us, which would keep away from whatever there is, or be near it
				term := corev1.WeightedPodAffinityTerm{Weight: 100, PodAffinityTerm: corev1.PodAffinityTerm{
					TopologyKey: corev1.LabelHostname, LabelSelector: &metav1.LabelSelector{}, NamespaceSelector: &metav1.LabelSelector{}}}
				pod := st.MakePod().Namespace(placeholder.DefaultNamespace).Name(fmt.Sprintf("app-%d", i)).UID(fmt.Sprintf("app-%d", i)).Obj()
				pod.Spec.Affinity = &corev1.Affinity{
					PodAntiAffinity: &corev1.PodAntiAffinity{PreferredDuringSchedulingIgnoredDuringExecution: []corev1.WeightedPodAffinityTerm{term}},
					PodAffinity:     &corev1.PodAffinity{RequiredDuringSchedulingIgnoredDuringExecution: []corev1.PodAffinityTerm{term.PodAffinityTerm}},
				}
				p.add(pod, node)
			case 1:
				p.add(wishing(100+i, placeholder.Active, map[string]string{placeholder.LabelSpreadGroup: "dns"}), node)
			case 2:
				p.add(wishing(100+i, placeholder.Active, map[string]string{placeholder.LabelSpreadGroup: "dns", placeholder.AnnotationSpread: "hard"}), node)
			default:
				p.add(wishing(100+i, placeholder.Active, nil), node)
			}
		}
		pod := wishing(1, placeholder.Active, nil)
		if rapid.Bool().Draw(t, "with a node selector") {
			pod = wishing(1, placeholder.Active, map[string]string{placeholder.AnnotationNodeSelector: "topology.kubernetes.io/zone in (1,2)"})
		}
		scores, winners := p.score(t, pod), 0
		if len(scores) != len(names) {
			t.Fatalf("%d nodes may take it", len(scores))
		}
		least := 1000
		for _, node := range names {
			all, _ := p.load(node, "")
			least = min(least, all)
		}
		for node, s := range scores {
			for _, plugin := range s.Scores {
				if plugin.Name != Name && plugin.Score != 0 {
					t.Fatalf("%s gives %s %d", plugin.Name, node, plugin.Score)
				}
			}
			if s.TotalScore == fwk.MaxScore {
				if all, _ := p.load(node, ""); all != least {
					t.Fatalf("%s wins with %d, the least loaded has %d", node, all, least)
				}
				winners++
			}
		}
		if winners != 1 {
			t.Fatalf("%d winners", winners)
		}
	})
}

// A soft group comes first, then the load.
func TestASoftGroupIsSpreadAndThenEven(t *testing.T) {
	var known []*corev1.Node
	for i := range 6 {
		known = append(known, aNode(fmt.Sprintf("n%d", i), "z"))
	}
	p := newProfile(t.Context(), t, known...)
	rapid.Check(t, func(t *rapid.T) {
		nodes := known[:rapid.IntRange(1, len(known)).Draw(t, "nodes")]
		p.reset(nodes...)
		for i := range rapid.IntRange(0, 15).Draw(t, "other VIPs") {
			p.add(wishing(100+i, placeholder.Active, nil), rapid.SampledFrom(nodes).Draw(t, "node").Name)
		}
		for i := range rapid.IntRange(1, 12).Draw(t, "members") {
			before := map[string][2]int{}
			fewest, least := 1000, 1000
			for _, node := range nodes {
				all, members := p.load(node.Name, "shop.dns")
				before[node.Name] = [2]int{all, members}
				if members < fewest || members == fewest && all < least {
					fewest, least = members, all
				}
			}
			got := p.place(t, wishing(i, placeholder.Active, map[string]string{placeholder.LabelSpreadGroup: "dns"}))
			if got == "" || before[got] != [2]int{least, fewest} {
				t.Fatalf("member %d went to %q; loads and members were %v", i, got, before)
			}
		}
	})
}

func TestWhatAServiceWishesForIsWhatItGets(t *testing.T) {
	nodes := func() []*corev1.Node { return []*corev1.Node{aNode("a", "1"), aNode("b", "1"), aNode("c", "2")} }
	group := func(more ...string) map[string]string {
		set := map[string]string{placeholder.LabelSpreadGroup: "dns"}
		for i := 0; i < len(more); i += 2 {
			set[more[i]] = more[i+1]
		}
		return set
	}
	type step struct {
		role        placeholder.Role
		vip         int
		annotations map[string]string
		fits        []string // of these it takes one; none: it waits
	}
	active, standby := placeholder.Active, placeholder.Standby
	hard := group(placeholder.AnnotationSpread, "hard")
	hardZones := group(placeholder.AnnotationSpread, "hard", placeholder.AnnotationSpreadTopology, corev1.LabelTopologyZone)
	tests := []struct {
		name  string
		steps []step
	}{
		{"a node selector selects", []step{
			{active, 1, map[string]string{placeholder.AnnotationNodeSelector: corev1.LabelTopologyZone + "=2"}, []string{"c"}},
			{active, 2, map[string]string{placeholder.AnnotationNodeSelector: corev1.LabelTopologyZone + "=2"}, []string{"c"}},
			{active, 3, map[string]string{placeholder.AnnotationNodeSelector: corev1.LabelTopologyZone + " notin (1,2)"}, nil},
			{standby, 1, map[string]string{placeholder.AnnotationNodeSelector: corev1.LabelTopologyZone + "=2"}, nil},
		}},
		{"a hard group as large as the cluster has its actives on different nodes, all its standbys, and no room for one more", []step{
			{active, 1, hard, []string{"a", "b", "c"}}, {active, 2, hard, []string{"a", "b", "c"}}, {active, 3, hard, []string{"a", "b", "c"}},
			{standby, 1, hard, []string{"a", "b", "c"}}, {standby, 2, hard, []string{"a", "b", "c"}}, {standby, 3, hard, []string{"a", "b", "c"}},
			{active, 4, hard, nil},
			{active, 5, nil, []string{"a", "b", "c"}}, // another VIP is no part of it
		}},
		{"a hard group over zones", []step{
			{active, 1, hardZones, []string{"a", "b", "c"}}, {active, 2, hardZones, []string{"a", "b", "c"}}, {active, 3, hardZones, nil},
		}},
		{"a standby prefers a node without an active of the group", []step{
			{active, 1, hard, []string{"a", "b", "c"}}, {active, 2, hard, []string{"a", "b", "c"}}, {active, 9, map[string]string{placeholder.AnnotationNodeSelector: "none"}, nil},
			{standby, 1, hard, []string{"a", "b", "c"}},
		}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			p := newProfile(t.Context(), t, nodes()...)
			for i, s := range tt.steps {
				got := p.place(t, wishing(s.vip, s.role, s.annotations))
				if len(s.fits) == 0 && got != "" || len(s.fits) > 0 && !slices.Contains(s.fits, got) {
					t.Fatalf("step %d: placed on %q, want one of %q", i, got, s.fits)
				}
			}
			taken := map[string]int{}
			for _, pod := range p.pods {
				if pod.Labels[placeholder.LabelSpreadGroup] != "" && placeholder.RoleOf(pod) == active {
					taken[pod.Spec.NodeName]++
				}
			}
			for node, n := range taken {
				if n > 1 {
					t.Errorf("%d actives of the group are on %s", n, node)
				}
			}
		})
	}
}

func TestAStandbyOfAGroupKeepsOffItsOtherActives(t *testing.T) {
	for _, how := range []string{placeholder.SpreadSoft, placeholder.SpreadHard} {
		p := newProfile(t.Context(), t, aNode("a", "1"), aNode("b", "1"), aNode("c", "2"))
		wish := map[string]string{placeholder.LabelSpreadGroup: "dns", placeholder.AnnotationSpread: how}
		p.add(wishing(1, placeholder.Active, wish), "a")
		p.add(wishing(2, placeholder.Active, wish), "b")
		for i := range 5 { // the load alone would keep it off
			p.add(wishing(100+i, placeholder.Active, nil), "c")
		}
		if got := p.place(t, wishing(1, placeholder.Standby, wish)); got != "c" {
			t.Errorf("%s: the standby is on %q, where an active of its group would get company", how, got)
		}
	}
}

// After a takeover two actives of a hard group share a node. Neither keeps the other's standbys away, and the next active goes
// where the group isn't.
func TestATakeoverInAHardGroupBlocksNobody(t *testing.T) {
	p := newProfile(t.Context(), t, aNode("b", "1"), aNode("c", "2"), aNode("d", "2"))
	wish := map[string]string{placeholder.LabelSpreadGroup: "dns", placeholder.AnnotationSpread: "hard"}
	took := wishing(1, placeholder.Standby, wish)
	took.Labels[placeholder.LabelRole] = string(placeholder.Active) // what a promotion writes
	p.add(took, "b")
	p.add(wishing(2, placeholder.Active, wish), "b")
	if got := p.place(t, wishing(1, placeholder.Standby, wish)); got == "" || got == "b" {
		t.Errorf("the standby is on %q", got)
	}
	got := map[string]bool{}
	for i := range 2 {
		got[p.place(t, wishing(3+i, placeholder.Active, wish))] = true
	}
	if diff := cmp.Diff(map[string]bool{"c": true, "d": true}, got); diff != "" {
		t.Errorf("the next ones (-want +got):\n%s", diff)
	}
}

func TestAnAddressOfTheAPIServerIsNoVIP(t *testing.T) {
	slice := endpointSlice("kubernetes", discoveryv1.AddressTypeIPv4, discoveryv1.Endpoint{Addresses: []string{"192.0.2.5"}}, discoveryv1.Endpoint{Addresses: []string{"nonsense"}})
	slice.Namespace = metav1.NamespaceDefault
	other := endpointSlice("kubernetes", discoveryv1.AddressTypeIPv4, discoveryv1.Endpoint{Addresses: []string{"192.0.2.6"}}) // of a Service of that name elsewhere
	pl := newTestPlugin(t, slice, other)
	for _, tt := range []struct {
		address string
		refused bool
	}{{"192.0.2.5", true}, {"192.0.2.6", false}, {"192.0.2.7", false}} {
		_, status := pl.PreFilter(t.Context(), framework.NewCycleState(), vipPod("p", tt.address).Obj(), nil)
		if refused := status.Code() == fwk.UnschedulableAndUnresolvable; refused != tt.refused || refused && !strings.Contains(status.Message(), tt.address+" is where this cluster's API server is reached") {
			t.Errorf("%s: %v", tt.address, status)
		}
	}
}
