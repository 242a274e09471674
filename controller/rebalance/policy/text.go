package policy

import (
	"fmt"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// between words a bound.
func between[T any](least, most T) string {
	return fmt.Sprintf("must be between %v and %v", least, most)
}

func durationOf(d time.Duration) metav1.Duration { return metav1.Duration{Duration: d} }
