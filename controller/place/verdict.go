package place

import (
	"context"
	"fmt"
	"time"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"evenkeel.io/evenkeel/api/placeholder"
	"evenkeel.io/evenkeel/api/v1alpha1"
)

// verdict is what is thought of a pool's patch.
type verdict struct {
	patch   string
	refusal string // empty: it can be used
	until   time.Time
}

// refusedFor is how long a refusal stands before the API server is asked again: it may have been about a quota, or a
// PriorityClass that is there by now.
const refusedFor = time.Minute

// Usable returns the pool, without its podTemplatePatch where that can't be used. pool may be nil.
func (k *Keeper) Usable(ctx context.Context, pool *v1alpha1.VIPPool) (*v1alpha1.VIPPool, error) {
	refusal, err := k.RefusedPatch(ctx, pool)
	if err != nil || refusal == "" {
		return pool, err
	}
	without := pool.DeepCopy()
	without.Spec.PodTemplatePatch = nil
	return without, nil
}

// RefusedPatch says why a pool's podTemplatePatch can't be used; empty: it can. The API server is asked once per patch, by a
// placeholder that it only tries: its own checks, and those of the cluster's admission, are the ones that matter.
func (k *Keeper) RefusedPatch(ctx context.Context, pool *v1alpha1.VIPPool) (string, error) {
	if pool == nil || absent(pool.Spec.PodTemplatePatch) {
		return "", nil
	}
	patch := string(pool.Spec.PodTemplatePatch.Raw)
	k.mu.Lock()
	known, ok := k.verdicts[pool.UID]
	k.mu.Unlock()
	if ok && known.patch == patch && (known.refusal == "" || k.clock.Now().Before(known.until)) {
		return known.refusal, nil
	}
	refusal, err := k.try(ctx, pool)
	if err != nil {
		return "", fmt.Errorf("trying podTemplatePatch of VIPPool %s: %w", pool.Name, err)
	}
	k.mu.Lock()
	defer k.mu.Unlock()
	k.verdicts[pool.UID] = verdict{patch, refusal, k.clock.Now().Add(refusedFor)}
	return refusal, nil
}

// ForgetPatch drops what is known of the patch of a pool that is gone.
func (k *Keeper) ForgetPatch(pool types.UID) {
	k.mu.Lock()
	defer k.mu.Unlock()
	delete(k.verdicts, pool)
}

// try has the API server look at a placeholder with the pool's patch. What an error says about the server itself is no verdict.
func (k *Keeper) try(ctx context.Context, pool *v1alpha1.VIPPool) (refusal string, err error) {
	if err := CheckPatch(pool.Spec.PodTemplatePatch); err != nil {
		return err.Error(), nil
	}
	vip := &v1alpha1.VIP{ObjectMeta: metav1.ObjectMeta{Name: "192-0-2-1", UID: pool.UID}, Spec: v1alpha1.VIPSpec{Addresses: []string{"192.0.2.1"}}}
	pod := Build(Subject{VIP: vip, Pool: pool}, k.look, Claim{Role: placeholder.Active}, nil)
	pod.Name = "podtemplatepatch" // the same each time, as it is in the refusal
	err = k.client.Create(ctx, pod, client.DryRunAll)
	if apierrors.IsInvalid(err) || apierrors.IsBadRequest(err) || apierrors.IsForbidden(err) {
		return err.Error(), nil
	}
	return "", err
}
