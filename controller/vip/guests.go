package vip

import (
	"cmp"
	"fmt"
	"slices"
	"strconv"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"evenkeel.io/evenkeel/api/placeholder"
	"evenkeel.io/evenkeel/api/v1alpha1"
	"evenkeel.io/evenkeel/controller/failover"
	"evenkeel.io/evenkeel/controller/place"
)

// guests are the placeholders of a VIP that has no VIP object: people wrote its active ones.
type guests struct {
	// live is the active one that counts: the youngest that has a node, else the youngest. Nil: all have ended.
	live *corev1.Pod
	// coming are younger ones that have no node yet, the oldest first.
	coming []*corev1.Pod
	// others are older active ones, the youngest first: a Deployment is about to end them, or has more than one replica.
	others []*corev1.Pod
	// standbys haven't ended, in order of succession; guards of ours and those that people wrote.
	standbys []*corev1.Pod
	// ended are active ones that are going, the youngest first.
	ended []*corev1.Pod
	// names of all of them, and of standbys that are going.
	names []string
}

func sortGuests(pods []*corev1.Pod) guests {
	byAge := func(a, b *corev1.Pod) int {
		return cmp.Or(a.CreationTimestamp.Compare(b.CreationTimestamp.Time), cmp.Compare(placeholder.Term(a), placeholder.Term(b)), cmp.Compare(a.Name, b.Name))
	}
	pods = slices.Clone(pods)
	slices.SortFunc(pods, byAge)
	var g guests
	var actives []*corev1.Pod
	for _, pod := range pods {
		g.names = append(g.names, pod.Name)
		switch {
		case !placeholder.Is(pod):
		case placeholder.RoleOf(pod) == placeholder.Standby && !placeholder.Ended(pod):
			g.standbys = append(g.standbys, pod)
		case placeholder.RoleOf(pod) == placeholder.Standby:
		case placeholder.Ended(pod):
			g.ended = append(g.ended, pod)
		default:
			actives = append(actives, pod)
		}
	}
	slices.Reverse(g.ended)
	at := len(actives) - 1
	for i, pod := range actives {
		if pod.Spec.NodeName != "" {
			at = i
		}
	}
	if at >= 0 {
		g.live, g.coming, g.others = actives[at], actives[at+1:], actives[:at]
		slices.Reverse(g.others)
	}
	return g
}

// places are the guests as the succession is made of them.
func (g guests) places() place.Places {
	return place.Places{Live: g.live, Surplus: g.others, Standbys: g.standbys, Ended: g.ended}
}

func (g guests) all() []*corev1.Pod {
	all := slices.Concat(g.coming, g.others, g.standbys, g.ended)
	if g.live != nil {
		all = append(all, g.live)
	}
	return all
}

// returnAfter is how long a node whose VIP was taken over must have been well again before the VIP goes back to the pod that people
// wrote for it. It goes back at all because there, and not at a guard, may be what it is for.
const returnAfter = time.Minute

// liveTerm is the term of the live one: a new one where another could think that the VIP is its own, or where the VIP goes back.
func (g guests) liveTerm(back bool) int64 {
	term, highest := placeholder.Term(g.live), int64(0)
	contested := back
	for _, pod := range g.all() {
		highest = max(highest, placeholder.Term(pod))
		other := placeholder.Term(pod)
		standby := placeholder.RoleOf(pod) == placeholder.Standby
		contested = contested || pod != g.live && !slices.Contains(g.coming, pod) && (other > term || other == term && !standby)
	}
	if contested {
		return highest + 1
	}
	return term
}

// goesBack says whether the VIP, which a guard has taken over, goes back to the live one.
func (g guests) goesBack(v failover.View) bool {
	n := v.Nodes[v.Live.Node]
	return v.Live.Superseded >= returnAfter && n.Able && !n.Sick && n.Suspicion == "" &&
		slices.ContainsFunc(v.Standbys, func(pod failover.Pod) bool { return pod.TookOver && pod.Announced })
}

// room is how many guards leave a node each to those that wait for one: on two nodes a rollout would otherwise wait for ever.
func (g guests) room(nodes map[string]failover.Node, wanted int) int {
	if len(g.coming) == 0 {
		return wanted
	}
	taken := map[string]bool{}
	for _, pod := range slices.Concat([]*corev1.Pod{g.live}, g.others, g.ended) {
		taken[pod.Spec.NodeName] = true
	}
	left := -len(g.coming)
	for name, n := range nodes {
		if n.Able && !n.Sick && !n.Closed && n.Suspicion == "" && !taken[name] {
			left++
		}
	}
	return min(wanted, max(0, left))
}

// guardsWanted is what the pod's annotation asks for: none by default. mistake says what it asks for that can't be.
func guardsWanted(pod *corev1.Pod) (n int, mistake string) {
	text, ok := pod.Annotations[placeholder.AnnotationStandbys]
	if !ok {
		return 0, ""
	}
	asked, err := strconv.Atoi(text)
	if err != nil || asked < 0 || asked > maxStandbys {
		return 0, fmt.Sprintf("annotation %s: %q is not 0, 1 or 2. The VIP has no standby", placeholder.AnnotationStandbys, text)
	}
	return asked, ""
}

// vipOf is a VIP object as far as the addresses of a placeholder make one; it exists in no API.
func vipOf(p placeholder.Placeholder) *v1alpha1.VIP {
	vip := &v1alpha1.VIP{ObjectMeta: metav1.ObjectMeta{Name: p.VIP}}
	for _, addr := range p.Addresses {
		vip.Spec.Addresses = append(vip.Spec.Addresses, addr.String())
	}
	return vip
}
