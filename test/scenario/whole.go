package scenario

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"net/netip"
	"slices"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"evenkeel.io/evenkeel/api/placeholder"
	"evenkeel.io/evenkeel/api/v1alpha1"
	"evenkeel.io/evenkeel/test/lab"
)

// wholeWithin bounds how long healing may take before a scenario gives up: it is no mark, but the end of patience.
const wholeWithin = 2 * time.Minute

// places are where a VIP's placeholders are.
type places struct {
	active   string
	standbys []string
}

// Whole waits until everything is as it should be on the given nodes (names; all of the lab's without any): each VIP has one active
// placeholder, whose node alone has bound the VIP, and its standbys on other nodes, all of them ready; and no node is suspect.
func (e *Env) Whole(ctx context.Context, nodes ...string) error {
	if len(nodes) == 0 {
		nodes = e.names()
	}
	err := patiently(ctx, func(ctx context.Context) error {
		_, err := e.whole(ctx, nodes)
		return err
	})
	if err != nil {
		return fmt.Errorf("waiting until all is well on %v: %w", nodes, err)
	}
	return nil
}

// patiently calls check five times a second until it returns nil: it lists everything, and isn't to be what keeps the API server
// busy while that heals.
func patiently(ctx context.Context, check func(ctx context.Context) error) error {
	ctx, cancel := context.WithTimeout(ctx, wholeWithin)
	defer cancel()
	return lab.Eventually(ctx, func(ctx context.Context) error {
		err := check(ctx)
		if err != nil {
			time.Sleep(200 * time.Millisecond) // the pace
		}
		return err
	})
}

// Settled waits until everything is whole and no placeholder has moved for two seconds, of which a standby's move is the usual
// one, and returns how long that took. It gives placeholders ten seconds to come to rest.
func (e *Env) Settled(ctx context.Context, nodes ...string) (time.Duration, error) {
	if len(nodes) == 0 {
		nodes = e.names()
	}
	if err := e.Whole(ctx, nodes...); err != nil {
		return 0, err
	}
	begin := time.Now()
	var last map[string]places
	for changed := begin; time.Since(changed) < 2*time.Second && time.Since(begin) < 10*time.Second; time.Sleep(100 * time.Millisecond) {
		now, err := e.whole(ctx, nodes)
		if err != nil || !maps.EqualFunc(last, now, samePlaces) {
			changed = time.Now()
		}
		last = now
	}
	took := time.Since(begin)
	return took, e.Whole(ctx, nodes...)
}

// guardedEvenly waits, up to e.SettleAtMost from begin, until standbys are where the loss of n comes out evenly.
func (e *Env) guardedEvenly(ctx context.Context, n *lab.Node, begin time.Time) error {
	for time.Since(begin) < e.SettleAtMost {
		found, err := e.whole(ctx, e.names())
		if err == nil && afterLoss(found, n.Name(), e.others(n)).MaxMin <= 1 {
			break
		}
		time.Sleep(200 * time.Millisecond) // standbys move a few at a time
	}
	return e.Whole(ctx)
}

// afterLoss is the spread over the others once a node's VIPs are where their standbys are.
func afterLoss(found map[string]places, lost string, others []string) Spread {
	s := Spread{VIPs: len(found), Nodes: len(others)}
	for _, node := range others {
		count := 0
		for _, p := range found {
			if p.active == node || p.active == lost && slices.Contains(p.standbys[:min(1, len(p.standbys))], node) {
				count++
			}
		}
		s.PerNode = append(s.PerNode, count)
	}
	if len(others) > 0 {
		s.MaxMin = slices.Max(s.PerNode) - slices.Min(s.PerNode)
	}
	return s
}

func samePlaces(a, b places) bool {
	return a.active == b.active && slices.Equal(a.standbys, b.standbys)
}

// names of all nodes of the lab.
func (e *Env) names() []string {
	var out []string
	for _, n := range e.Nodes {
		out = append(out, n.Name())
	}
	return out
}

// others are the names of all nodes but the given ones.
func (e *Env) others(without ...*lab.Node) []string {
	return slices.DeleteFunc(e.names(), func(name string) bool {
		return slices.ContainsFunc(without, func(n *lab.Node) bool { return n.Name() == name })
	})
}

// whole returns each VIP's places, or what isn't as it should be.
func (e *Env) whole(ctx context.Context, nodes []string) (map[string]places, error) {
	found, err := e.placed(ctx, nodes)
	if err != nil {
		return found, err
	}
	suspects, err := e.Suspects(ctx)
	if err != nil {
		return found, err
	}
	if len(suspects) > 0 {
		return found, fmt.Errorf("nodes are suspect: %v", suspects)
	}
	return found, nil
}

// placed returns each VIP's places, or which VIP hasn't all its placeholders, ready, on the given nodes; what other nodes have
// bound is left out.
func (e *Env) placed(ctx context.Context, nodes []string) (map[string]places, error) {
	found, err := e.readyPlaces(ctx)
	if err != nil {
		return nil, err
	}
	vips, err := e.ListVIPs(ctx)
	if err != nil {
		return nil, err
	}
	owners, err := e.ownersOf(nodes)
	if err != nil {
		return nil, err
	}
	for name, vip := range vips {
		if len(vip.Spec.Services) == 0 {
			continue
		}
		p := found[name]
		if want := min(e.Standbys, len(nodes)-1); len(p.standbys) != want {
			return found, fmt.Errorf("VIP %s has standbys on %v, want %d", name, p.standbys, want)
		}
		on := append([]string{p.active}, p.standbys...)
		for i, node := range on {
			if !slices.Contains(nodes, node) || slices.Contains(on[:i], node) {
				return found, fmt.Errorf("VIP %s is on %v, want different ones of %v", name, on, nodes)
			}
		}
		for _, text := range vip.Spec.Addresses {
			addr, err := netip.ParseAddr(text)
			if err != nil {
				return found, err
			}
			if !slices.Equal(owners[addr], []string{p.active}) {
				return found, fmt.Errorf("%s is bound on %v, want it on %s alone", addr, owners[addr], p.active)
			}
		}
	}
	return found, nil
}

// readyPlaces returns where the placeholders are, if all of them are ready; standbys in order of their nodes.
func (e *Env) readyPlaces(ctx context.Context) (map[string]places, error) {
	pods, err := e.Kube.CoreV1().Pods(lab.Namespace).List(ctx, metav1.ListOptions{LabelSelector: placeholder.LabelVIP})
	if err != nil {
		return nil, fmt.Errorf("listing placeholders: %w", err)
	}
	found := map[string]places{}
	for _, pod := range pods.Items {
		name := pod.Labels[placeholder.LabelVIP]
		p := found[name]
		switch {
		case pod.DeletionTimestamp != nil || placeholder.Ended(&pod):
			return found, fmt.Errorf("placeholder %s is about to end", pod.Name)
		case pod.Spec.NodeName == "":
			return found, fmt.Errorf("placeholder %s is on no node", pod.Name)
		case !podReady(&pod):
			return found, fmt.Errorf("placeholder %s (%s on %s) is not ready: %s", pod.Name, placeholder.RoleOf(&pod), pod.Spec.NodeName, conditionsOf(&pod))
		case placeholder.RoleOf(&pod) == placeholder.Standby:
			p.standbys = append(p.standbys, pod.Spec.NodeName)
			slices.Sort(p.standbys)
		case p.active != "":
			return found, fmt.Errorf("VIP %s is active on %s and %s", name, p.active, pod.Spec.NodeName)
		default:
			p.active = pod.Spec.NodeName
		}
		found[name] = p
	}
	return found, nil
}

func podReady(pod *corev1.Pod) bool {
	for _, c := range pod.Status.Conditions {
		if c.Type == placeholder.ConditionReady {
			return c.Status == corev1.ConditionTrue
		}
	}
	return false
}

// conditionsOf is for messages.
func conditionsOf(pod *corev1.Pod) string {
	var out []string
	for _, c := range pod.Status.Conditions {
		if c.Type == placeholder.ConditionReady || c.Type == placeholder.ConditionAnnounced {
			out = append(out, fmt.Sprintf("%s=%s %s %s", c.Type, c.Status, c.Reason, c.Message))
		}
	}
	return fmt.Sprint(out)
}

// Suspects returns why nodes are suspect, by their names.
func (e *Env) Suspects(ctx context.Context) (map[string]string, error) {
	var nodes v1alpha1.VIPNodeList
	if err := e.VIPs.Get().Resource("vipnodes").Do(ctx).Into(&nodes); err != nil {
		return nil, fmt.Errorf("listing VIPNodes: %w", err)
	}
	out := map[string]string{}
	for _, n := range nodes.Items {
		if n.Spec.Suspect != nil {
			out[n.Name] = n.Spec.Suspect.Reason
		}
	}
	return out, nil
}

// Owners returns the nodes whose kernels have each VIP, in order; nodes without power have none.
func (e *Env) Owners() (map[netip.Addr][]string, error) {
	owners := map[netip.Addr][]string{}
	for _, n := range e.Nodes {
		held, err := Held(n)
		if errors.Is(err, lab.ErrPoweredOff) {
			continue
		}
		if err != nil {
			return nil, err
		}
		for _, vip := range held {
			owners[vip] = append(owners[vip], n.Name())
		}
	}
	return owners, nil
}

// Busiest returns the node that has most VIPs, the first one from the given number on where several have as many: repeated losses
// then meet all nodes.
func (e *Env) Busiest(from int) (*lab.Node, error) {
	owners, err := e.Owners()
	if err != nil {
		return nil, err
	}
	names := e.names()
	counts := spreadOver(owners, names).PerNode
	best := from % len(names)
	for i := range names {
		if at := (from + i) % len(names); counts[at] > counts[best] {
			best = at
		}
	}
	return e.Nodes[best], nil
}

// movesBetween counts the VIPs that have other owners now.
func movesBetween(before, now map[netip.Addr][]string) int {
	moves := 0
	for vip, owners := range before {
		if !slices.Equal(owners, now[vip]) {
			moves++
		}
	}
	return moves
}

// spreadOver counts the VIPs that each of the nodes has bound.
func spreadOver(owners map[netip.Addr][]string, nodes []string) Spread {
	s := Spread{VIPs: len(owners), Nodes: len(nodes)}
	for _, node := range nodes {
		count := 0
		for _, on := range owners {
			if slices.Contains(on, node) {
				count++
			}
		}
		s.PerNode = append(s.PerNode, count)
	}
	s.MaxMin = slices.Max(s.PerNode) - slices.Min(s.PerNode)
	return s
}
