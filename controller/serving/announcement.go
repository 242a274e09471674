package serving

import (
	"cmp"
	"slices"
	"strings"

	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"evenkeel.io/evenkeel/api/v1alpha1"
)

// Announcement makes one condition of what is said about each of a Service's VIPs: True when all are announced, else with the reason of
// the first that isn't. VIPs of which nothing is said yet don't count; false where that is all of them.
func Announcement(vips []*v1alpha1.VIP) (said metav1.Condition, ok bool) {
	var messages []string
	byAge := slices.SortedFunc(slices.Values(vips), func(a, b *v1alpha1.VIP) int {
		return cmp.Or(a.CreationTimestamp.Compare(b.CreationTimestamp.Time), cmp.Compare(a.Name, b.Name))
	})
	for _, vip := range byAge {
		c := meta.FindStatusCondition(vip.Status.Conditions, v1alpha1.VIPAnnounced)
		if c == nil {
			continue
		}
		message := c.Message
		if len(vips) > 1 && c.Status != metav1.ConditionTrue { // a VIP that is announced is named by its message
			message = strings.Join(vip.Spec.Addresses, " and ") + ": " + message
		}
		messages = append(messages, message)
		latest := said.LastTransitionTime
		if latest.Before(&c.LastTransitionTime) {
			latest = c.LastTransitionTime
		}
		if !ok || said.Status == metav1.ConditionTrue && c.Status != metav1.ConditionTrue {
			said = *c
		}
		said.LastTransitionTime, ok = latest, true
	}
	said.Message = strings.Join(messages, "; ")
	return said, ok
}
