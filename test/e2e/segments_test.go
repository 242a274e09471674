package e2e

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"os"
	"slices"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"

	"evenkeel.io/evenkeel/api/placeholder"
	"evenkeel.io/evenkeel/api/v1alpha1"
	"evenkeel.io/evenkeel/test/lab"
	"evenkeel.io/evenkeel/test/lab/nickind"
	"evenkeel.io/evenkeel/test/scenario"
)

// takeoverAtMost is how long a VIP of the second segment may be unanswered after its node's NIC there was cut.
const takeoverAtMost = 1500 * time.Millisecond

// segmented is a pool with Services, and where its VIPs are to be answered for.
type segmented struct {
	pool     string
	services []string
	families []corev1.IPFamily
	second   bool
}

var (
	nearPool   = segmented{pool: "segment", services: scenario.Names("near", 6), families: both}
	secondPool = segmented{pool: "second", services: scenario.Names("second", 6), families: both, second: true}
	// routedPool is outside of all subnets, on the NICs that it names.
	routedPool = segmented{pool: "routed", services: scenario.Names("routed", 6), families: []corev1.IPFamily{corev1.IPv4Protocol}, second: true}

	both        = []corev1.IPFamily{corev1.IPv4Protocol, corev1.IPv6Protocol}
	routedRange = netip.MustParsePrefix("172.31.9.16/28")
)

// TestSegments is about nodes with a NIC on each of two segments.
func TestSegments(t *testing.T) {
	ctx := t.Context()
	kinds := kindsHere(t)
	e, err := scenario.Start(ctx, lab.Options{Nodes: 3, SecondNICs: kinds, Progress: os.Stderr})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := e.Close(); err != nil {
			t.Errorf("closing the lab: %v", err)
		}
	})
	if err := e.RouteSecond(routedRange); err != nil {
		t.Fatal(err)
	}
	createPool(ctx, t, e, secondPool.pool, nil, "203.0.113.10-203.0.113.49", "2001:db8:1::10-2001:db8:1::49")
	createPool(ctx, t, e, routedPool.pool, secondNICs(e), routedRange.String())
	for _, s := range []segmented{nearPool, secondPool, routedPool} {
		o := lab.ServiceOptions{Families: s.families, Annotations: map[string]string{placeholder.AnnotationPool: s.pool}}
		if err := e.CreateAll(ctx, s.services, o); err != nil {
			t.Fatal(err)
		}
	}
	chapters := []struct {
		name string
		tell func(context.Context, *testing.T, *scenario.Env)
	}{
		{"every VIP is answered for on its own segment alone, by its node's NIC there", answeredOnItsSegment},
		{"and serves there", servesOnItsSegment},
		{"a NIC that loses its carrier is left by its VIPs alone", cutsSecond(lab.CarrierLost)},
		{"a port that is cut with its carrier kept is left in time", cutsSecond(lab.CarrierKept)},
		{"a node loses its power: its VIPs answer elsewhere on both segments", losesBothNICs},
		{"VIPs follow a change of the interfaces to the other segment and back", changesInterfaces},
		{"after all of this, too, every VIP is answered for on its own segment alone", answeredOnItsSegment},
	}
	for _, chapter := range chapters {
		if !t.Run(chapter.name, func(t *testing.T) { chapter.tell(ctx, t, e) }) {
			t.Log(logsOf(e))
		}
	}
}

// kindsHere are the kinds of NIC that this kernel has. It says which aren't tested.
func kindsHere(t *testing.T) []nickind.Kind {
	var kinds []nickind.Kind
	for _, kind := range nickind.All() {
		if err := kind.Supported(); err != nil {
			t.Logf("NOT TESTED: %v", err)
			continue
		}
		kinds = append(kinds, kind)
	}
	return kinds
}

// secondNICs are the names of all nodes' NICs on the second segment.
func secondNICs(e *scenario.Env) []string {
	var names []string
	for _, n := range e.Nodes {
		if !slices.Contains(names, n.Second.Name) {
			names = append(names, n.Second.Name)
		}
	}
	return names
}

// createPool makes a pool that only those get who ask for it.
func createPool(ctx context.Context, t *testing.T, e *scenario.Env, name string, interfaces []string, addresses ...string) {
	t.Helper()
	standbys, auto := int32(e.Standbys), false
	pool := &v1alpha1.VIPPool{
		TypeMeta:   metav1.TypeMeta{APIVersion: v1alpha1.GroupVersion.String(), Kind: "VIPPool"},
		ObjectMeta: metav1.ObjectMeta{Name: name},
		Spec:       v1alpha1.VIPPoolSpec{Addresses: addresses, Standbys: &standbys, AutoAssign: &auto, Interfaces: interfaces},
	}
	if err := e.VIPs.Post().Resource("vippools").Body(pool).Do(ctx).Error(); err != nil {
		t.Fatal(err)
	}
}

// found is a VIP's address with the node that has it.
type found struct {
	addr   netip.Addr
	node   *lab.Node
	second bool
}

// addressesOf lists the addresses of a pool's VIPs.
func addressesOf(ctx context.Context, t *testing.T, e *scenario.Env, s segmented) []found {
	t.Helper()
	vips, err := e.Announced(ctx, s.services...)
	if err != nil {
		t.Fatal(err)
	}
	placements, err := e.Placements(ctx)
	if err != nil {
		t.Fatal(err)
	}
	var list []found
	for _, service := range s.services {
		node, err := e.Node(placements[placeholder.VIPName(vips[service][0])])
		if err != nil {
			t.Fatalf("%s at %v: %v", service, vips[service], err)
		}
		for _, addr := range vips[service] {
			list = append(list, found{addr, node, s.second})
		}
	}
	return list
}

// heardAlone is nil when the NIC that should answers for an address on its segment, and nothing else anywhere.
func heardAlone(ctx context.Context, e *scenario.Env, f found) error {
	here, there, mac := e.Client, e.SecondClient, f.node.MAC
	if f.second {
		here, there, mac = there, here, f.node.Second.MAC
	}
	answers, err := here.WhoHas(ctx, f.addr, 500*time.Millisecond)
	if err != nil {
		return err
	}
	if len(answers) != 1 || answers[0].MAC.String() != mac.String() {
		return fmt.Errorf("on its segment %v answer for %s, want %s of %s alone", answers, f.addr, mac, f.node.Name())
	}
	if answers, err = there.WhoHas(ctx, f.addr, 300*time.Millisecond); err != nil || len(answers) > 0 {
		return fmt.Errorf("on the other segment %v answer for %s: %w", answers, f.addr, err)
	}
	return nil
}

func answeredOnItsSegment(ctx context.Context, t *testing.T, e *scenario.Env) {
	if err := e.Whole(ctx); err != nil {
		t.Fatal(err)
	}
	for _, s := range []segmented{nearPool, secondPool, routedPool} {
		for _, f := range addressesOf(ctx, t, e, s) {
			if err := heardAlone(ctx, e, f); err != nil {
				t.Errorf("%s: %v", s.pool, err)
			}
		}
	}
}

func servesOnItsSegment(ctx context.Context, t *testing.T, e *scenario.Env) {
	for _, s := range []segmented{nearPool, secondPool, routedPool} {
		client := e.Client
		if s.second {
			client = e.SecondClient
		}
		for _, f := range addressesOf(ctx, t, e, s) {
			eventually(ctx, t, func(ctx context.Context) error {
				_, err := client.Get(ctx, lab.URL(f.addr, 80))
				return err
			})
		}
	}
}

// busiestOnSecond is the node that has most addresses of the second segment, with these.
func busiestOnSecond(ctx context.Context, t *testing.T, e *scenario.Env) (*lab.Node, []netip.Addr) {
	t.Helper()
	byNode := map[*lab.Node][]netip.Addr{}
	for _, s := range []segmented{secondPool, routedPool} {
		for _, f := range addressesOf(ctx, t, e, s) {
			byNode[f.node] = append(byNode[f.node], f.addr)
		}
	}
	best := slices.MaxFunc(e.Nodes, func(a, b *lab.Node) int { return len(byNode[a]) - len(byNode[b]) })
	if len(byNode[best]) == 0 {
		t.Fatal("no node has a VIP on the second segment")
	}
	return best, byNode[best]
}

// takenOver has something befall a node, and wants its addresses on the second segment to be answered for by others in time.
func takenOver(t *testing.T, e *scenario.Env, n *lab.Node, addrs []netip.Addr, befall func() error) {
	t.Helper()
	asker, err := e.SecondClient.StartAsking(addrs, 10*time.Millisecond)
	if err != nil {
		t.Fatal(err)
	}
	begin := time.Now()
	if err := befall(); err != nil {
		t.Fatal(errors.Join(err, asker.Stop()))
	}
	first := map[netip.Addr]time.Duration{}
	for deadline := begin.Add(30 * time.Second); len(first) < len(addrs) && time.Now().Before(deadline); time.Sleep(5 * time.Millisecond) {
		for _, addr := range addrs {
			for _, s := range asker.Sightings(addr) {
				if _, seen := first[addr]; !seen && s.First.After(begin) && s.MAC.String() != n.Second.MAC.String() {
					first[addr] = s.First.Sub(begin)
					asker.Leave(addr)
				}
			}
		}
	}
	if err := asker.Stop(); err != nil {
		t.Error(err)
	}
	t.Logf("answered elsewhere after %v", first)
	for _, addr := range addrs {
		if took, ok := first[addr]; !ok || took > takeoverAtMost {
			t.Errorf("%s answered elsewhere: %v, after %s, want it within %s", addr, ok, took, takeoverAtMost)
		}
	}
}

// cutsSecond cuts the NIC on the second segment of the node that has most VIPs there.
func cutsSecond(how lab.Cut) func(context.Context, *testing.T, *scenario.Env) {
	return func(ctx context.Context, t *testing.T, e *scenario.Env) {
		if err := e.Whole(ctx); err != nil {
			t.Fatal(err)
		}
		n, addrs := busiestOnSecond(ctx, t, e)
		near := addressesOf(ctx, t, e, nearPool)
		takenOver(t, e, n, addrs, func() error { return n.CutSecond(how) })
		if how == lab.CarrierLost {
			// Longer than the controller waits before it moves the VIPs of a node that fell silent.
			time.Sleep(5 * time.Second)
			if suspects, err := e.Suspects(ctx); err != nil || len(suspects) > 0 {
				t.Errorf("suspects %v, %v: the node said itself that its NIC had no carrier", suspects, err)
			}
			if after := addressesOf(ctx, t, e, nearPool); !slices.Equal(near, after) {
				t.Errorf("VIPs of the first segment moved: %v, then %v", near, after)
			}
			for _, f := range near {
				if err := heardAlone(ctx, e, f); err != nil {
					t.Error(err)
				}
			}
		}
		if err := n.RestoreSecond(); err != nil {
			t.Fatal(err)
		}
		if err := e.Whole(ctx); err != nil {
			t.Fatal(err)
		}
	}
}

func losesBothNICs(ctx context.Context, t *testing.T, e *scenario.Env) {
	n, addrs := busiestOnSecond(ctx, t, e)
	near := addressesOf(ctx, t, e, nearPool)
	takenOver(t, e, n, addrs, func() error { return e.PowerLoss(n) })
	for _, f := range near {
		if f.node != n {
			continue
		}
		eventually(ctx, t, func(ctx context.Context) error {
			answers, err := e.Client.WhoHas(ctx, f.addr, 100*time.Millisecond)
			if err == nil && len(answers) != 1 {
				err = fmt.Errorf("%v answer for %s", answers, f.addr)
			}
			return err
		})
	}
	if err := e.PowerOn(ctx, n); err != nil {
		t.Fatal(err)
	}
	if err := e.Whole(ctx); err != nil {
		t.Fatal(err)
	}
}

// changesInterfaces has a pool announced on the first segment's NICs for a while: its VIPs stay on their nodes.
func changesInterfaces(ctx context.Context, t *testing.T, e *scenario.Env) {
	moved := routedPool
	before := addressesOf(ctx, t, e, routedPool)
	for _, step := range []struct {
		second     bool
		interfaces string
	}{{false, `["eth0"]`}, {true, quotedList(secondNICs(e))}} {
		patch := fmt.Sprintf(`{"spec":{"interfaces":%s}}`, step.interfaces)
		if err := e.VIPs.Patch(types.MergePatchType).Resource("vippools").Name(routedPool.pool).Body([]byte(patch)).Do(ctx).Error(); err != nil {
			t.Fatal(err)
		}
		moved.second = step.second
		for i, f := range before {
			f.second = step.second
			eventually(ctx, t, func(ctx context.Context) error { return heardAlone(ctx, e, f) })
			if now := addressesOf(ctx, t, e, moved)[i]; now != f {
				t.Errorf("%s went from %s to %s", f.addr, f.node.Name(), now.node.Name())
			}
		}
	}
	if err := e.Whole(ctx); err != nil {
		t.Fatal(err)
	}
}

func quotedList(names []string) string {
	text := "["
	for i, name := range names {
		if i > 0 {
			text += ","
		}
		text += fmt.Sprintf("%q", name)
	}
	return text + "]"
}
