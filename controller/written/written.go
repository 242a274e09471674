// Package written remembers the controller's own last writes, so that what a lagging cache shows isn't taken for somebody
// else's doing and written again.
package written

import (
	"sync"

	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/util/resourceversion"
	"sigs.k8s.io/controller-runtime/pkg/client"
)

// Tracker knows the resource version of the last write to each object. It is safe for concurrent use.
type Tracker struct {
	mu   sync.Mutex
	last map[types.UID]string
}

// New returns an empty Tracker.
func New() *Tracker { return &Tracker{last: map[types.UID]string{}} }

// Wrote remembers the object as the API server returned it from a write.
func (t *Tracker) Wrote(obj client.Object) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if last, ok := t.last[obj.GetUID()]; ok && Newer(last, obj.GetResourceVersion()) {
		return
	}
	t.last[obj.GetUID()] = obj.GetResourceVersion()
}

// Stale says whether the object is older than the last write to it. Who gets true does nothing: the cache will bring the
// newer one, and with it the next reconciliation.
func (t *Tracker) Stale(obj client.Object) bool {
	t.mu.Lock()
	defer t.mu.Unlock()
	last, ok := t.last[obj.GetUID()]
	if !ok {
		return false
	}
	if Newer(last, obj.GetResourceVersion()) {
		return true
	}
	delete(t.last, obj.GetUID()) // the cache has caught up
	return false
}

// Forget drops an object that is gone.
func (t *Tracker) Forget(uid types.UID) {
	t.mu.Lock()
	defer t.mu.Unlock()
	delete(t.last, uid)
}

// Newer says whether resource version a is newer than b. Versions that can't be compared (KEP-5504: all that Kubernetes' own
// and CRD servers make can) count as not newer, so that nothing waits for what it can't recognise.
func Newer(a, b string) bool {
	order, err := resourceversion.CompareResourceVersion(a, b)
	return err == nil && order > 0
}
