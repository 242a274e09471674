package written

import (
	"testing"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

func at(version string) *corev1.Service {
	return &corev1.Service{ObjectMeta: metav1.ObjectMeta{UID: "u", ResourceVersion: version}}
}

func TestStale(t *testing.T) {
	tracker := New()
	if tracker.Stale(at("1")) {
		t.Error("what was never written is stale")
	}
	tracker.Wrote(at("100"))
	tracker.Wrote(at("99")) // answers overtake each other
	if !tracker.Stale(at("99")) {
		t.Error("a cache before the write isn't stale")
	}
	if tracker.Stale(at("100")) {
		t.Error("a cache with the write is stale")
	}
	tracker.Wrote(at("200"))
	tracker.Forget("u")
	if tracker.Stale(at("150")) {
		t.Error("a forgotten object is stale")
	}
	tracker.Wrote(at("odd"))
	if tracker.Stale(at("1")) {
		t.Error("versions that can't be compared must not stop anything")
	}
}
