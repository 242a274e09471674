package policy

import (
	"testing"
	"time"

	"evenkeel.io/evenkeel/api/placeholder"
	"evenkeel.io/evenkeel/api/v1alpha1"
)

func TestRequested(t *testing.T) {
	tests := []struct {
		name        string
		annotations map[string]string
		handled     string
		want, wrong bool
	}{
		{name: "nobody asked"},
		{name: "somebody asked", annotations: map[string]string{placeholder.AnnotationRebalanceNow: Request(noon)}, want: true},
		{name: "somebody whose clock is ahead", annotations: map[string]string{placeholder.AnnotationRebalanceNow: Request(noon.Add(10 * time.Minute))}, want: true},
		{name: "by hand, in another zone", annotations: map[string]string{placeholder.AnnotationRebalanceNow: "2026-05-01T20:00:00+08:00"}, want: true},
		{name: "it was done", annotations: map[string]string{placeholder.AnnotationRebalanceNow: Request(noon)}, handled: Request(noon)},
		{name: "it was done, and asked for again", annotations: map[string]string{placeholder.AnnotationRebalanceNow: Request(noon)}, handled: Request(noon.Add(-time.Minute)), want: true},
		{name: "an hour ago", annotations: map[string]string{placeholder.AnnotationRebalanceNow: Request(noon.Add(-time.Hour))}},
		{name: "in a year's time", annotations: map[string]string{placeholder.AnnotationRebalanceNow: Request(noon.AddDate(1, 0, 0))}},
		{name: "something else", annotations: map[string]string{placeholder.AnnotationRebalanceNow: "true"}, wrong: true},
		{name: "something else that was refused", annotations: map[string]string{placeholder.AnnotationRebalanceNow: "true"}, handled: "true"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			pool := &v1alpha1.VIPPool{}
			pool.Annotations = tt.annotations
			if tt.handled != "" {
				pool.Status.Rebalance = &v1alpha1.RebalanceStatus{HandledRequest: tt.handled}
			}
			got, err := Requested(pool, noon)
			if got != tt.want || (err != nil) != tt.wrong {
				t.Errorf("%t, %v", got, err)
			}
		})
	}
}

func TestNeverRebalanced(t *testing.T) {
	tests := map[string]struct {
		annotations map[string]string
		want, wrong bool
	}{
		"no annotation":  {},
		"never":          {annotations: map[string]string{placeholder.AnnotationRebalance: "never"}, want: true},
		"another word":   {annotations: map[string]string{placeholder.AnnotationRebalance: "Never"}, wrong: true},
		"an empty value": {annotations: map[string]string{placeholder.AnnotationRebalance: ""}, wrong: true},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			if got, err := NeverRebalanced(tt.annotations); got != tt.want || (err != nil) != tt.wrong {
				t.Errorf("%t, %v", got, err)
			}
		})
	}
}
