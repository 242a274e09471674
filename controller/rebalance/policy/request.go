package policy

import (
	"fmt"
	"time"

	"evenkeel.io/evenkeel/api/placeholder"
	"evenkeel.io/evenkeel/api/v1alpha1"
)

// requestLife is for how long a request to even out now is followed. One that couldn't be met within the hour is no longer what
// its author has in mind.
const requestLife = time.Hour

// maxRequest is as much as a pool's status repeats of a request.
const maxRequest = 64

// exampleRequest is what one looks like. It is always the same one, so that an event that names it is told once.
const exampleRequest = "2026-05-01T12:00:00Z"

// Request is what the annotation that asks for evening out now says at a moment.
func Request(at time.Time) string { return at.UTC().Format(time.RFC3339) }

// Requested says whether somebody asks for evening out a pool now, and hasn't been served yet. An annotation that can't be read is
// an error, for an event; it asks for nothing.
func Requested(pool *v1alpha1.VIPPool, now time.Time) (bool, error) {
	text, ok := pool.Annotations[placeholder.AnnotationRebalanceNow]
	if !ok || pool.Status.Rebalance != nil && pool.Status.Rebalance.HandledRequest == text {
		return false, nil
	}
	at, err := time.Parse(time.RFC3339, text)
	if err != nil || len(text) > maxRequest {
		return false, fmt.Errorf(`annotation %s: %q is no time such as %s: use "kubectl evenkeel rebalance --now"`,
			placeholder.AnnotationRebalanceNow, text, exampleRequest)
	}
	age := now.Sub(at)
	return age < requestLife && age > -requestLife, nil
}

// NeverRebalanced says whether a Service's annotations keep its VIPs where they are. A value other than "never" is an error, for
// an event; it keeps nothing.
func NeverRebalanced(annotations map[string]string) (bool, error) {
	switch text, ok := annotations[placeholder.AnnotationRebalance]; {
	case !ok:
		return false, nil
	case text == placeholder.RebalanceNever:
		return true, nil
	default:
		return false, fmt.Errorf("annotation %s: %q is not %q. The VIP is moved to even out like others",
			placeholder.AnnotationRebalance, text, placeholder.RebalanceNever)
	}
}
