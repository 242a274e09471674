package place

import (
	"cmp"
	"slices"
	"strconv"
	"strings"
	"time"

	corev1 "k8s.io/api/core/v1"

	"evenkeel.io/evenkeel/api/placeholder"
	"evenkeel.io/evenkeel/api/v1alpha1"
)

// Places are a VIP's placeholders, sorted out.
type Places struct {
	// Live is the active placeholder that counts: the one with the highest term that hasn't ended. It may be nil.
	Live *corev1.Pod
	// Surplus are other active placeholders that haven't ended.
	Surplus []*corev1.Pod
	// Standbys haven't ended. In order of succession: the one that stands by longest comes first.
	Standbys []*corev1.Pod
	// Ended were ours and are being deleted or have reached a final phase, or belonged to an earlier VIP object of this name. By term, newest first.
	Ended []*corev1.Pod
	// HandWritten pods have our label and another or no owner.
	HandWritten []*corev1.Pod

	highestSequence, highestTerm int64
}

// Sort sorts out the pods that wear the VIP's label. None of them is changed.
func Sort(vip *v1alpha1.VIP, pods []corev1.Pod) Places {
	var p Places
	var actives []*corev1.Pod
	for i := range pods {
		pod := &pods[i]
		p.highestSequence = max(p.highestSequence, sequence(vip.Name, pod.Name))
		p.highestTerm = max(p.highestTerm, placeholder.Term(pod))
		switch {
		case placeholder.HandWritten(pod):
			p.HandWritten = append(p.HandWritten, pod)
		case placeholder.Ended(pod) || !ownedBy(pod, vip):
			p.Ended = append(p.Ended, pod)
		case placeholder.RoleOf(pod) == placeholder.Standby:
			p.Standbys = append(p.Standbys, pod)
		default:
			actives = append(actives, pod)
		}
	}
	byTerm := func(a, b *corev1.Pod) int {
		return cmp.Or(cmp.Compare(placeholder.Term(b), placeholder.Term(a)), cmp.Compare(sequence(vip.Name, b.Name), sequence(vip.Name, a.Name)))
	}
	slices.SortFunc(actives, byTerm)
	slices.SortFunc(p.Standbys, func(a, b *corev1.Pod) int {
		return cmp.Compare(sequence(vip.Name, a.Name), sequence(vip.Name, b.Name))
	})
	slices.SortFunc(p.Ended, byTerm)
	if len(actives) > 0 {
		p.Live, p.Surplus = actives[0], actives[1:]
	}
	return p
}

// sequence reads the number after the VIP's name; a pod of another name has 0.
func sequence(vip, pod string) int64 {
	text, ok := strings.CutPrefix(pod, vip+"-")
	if !ok {
		return 0
	}
	n, err := strconv.ParseInt(text, 10, 64)
	if err != nil || n < 0 {
		return 0
	}
	return n
}

func ownedBy(pod *corev1.Pod, vip *v1alpha1.VIP) bool {
	for _, ref := range pod.OwnerReferences {
		if ref.UID == vip.UID {
			return true
		}
	}
	return false
}

// Any says whether there is any placeholder of the VIP, ended or not.
func (p Places) Any() bool {
	return p.Live != nil || len(p.Surplus)+len(p.Standbys)+len(p.Ended) > 0
}

// Previous is the newest active placeholder that ended: whose place the next one takes. Nil: there is none.
func (p Places) Previous() *corev1.Pod { return p.lastOf(placeholder.Active) }

// lastOf is the newest placeholder of a role that ended, or nil.
func (p Places) lastOf(role placeholder.Role) *corev1.Pod {
	for _, pod := range p.Ended {
		if placeholder.RoleOf(pod) == role {
			return pod
		}
	}
	return nil
}

func splitNames(text string) []string {
	if text == "" {
		return nil
	}
	return strings.Split(text, ",")
}

// Back-off after placeholders that failed: the first successor comes at once, then 1 s, doubled each time. Who lived for
// settled had a place, and its failure is a new story.
const (
	firstDelay = time.Second
	maxDelay   = 5 * time.Minute
	settled    = time.Minute
)

// delay is how long the successor of the n-th placeholder that failed in a row waits.
func delay(failures int) time.Duration {
	if failures <= 1 {
		return 0
	}
	if failures > 10 { // 2^9 s is beyond the maximum
		return maxDelay
	}
	return min(firstDelay<<(failures-2), maxDelay)
}
