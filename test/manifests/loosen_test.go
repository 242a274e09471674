package manifests

import (
	"context"
	"testing"
	"time"

	authorizationv1 "k8s.io/api/authorization/v1"
	rbacv1 "k8s.io/api/rbac/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/wait"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"evenkeel.io/evenkeel/api/v1alpha1"
)

// allowTooMuch grants the announcers everything on pods, VIPNodes and VIPNodeTraffics until the test ends, as a careless administrator might:
// what is refused then, the admission policies refuse.
func allowTooMuch(t *testing.T, admin client.Client) {
	t.Helper()
	name := metav1.ObjectMeta{Name: "evenkeel-test-too-wide"}
	role := &rbacv1.ClusterRole{ObjectMeta: name, Rules: []rbacv1.PolicyRule{
		{APIGroups: []string{""}, Resources: []string{"pods"}, Verbs: []string{"*"}},
		{APIGroups: []string{v1alpha1.GroupVersion.Group}, Resources: []string{"vipnodes", "vipnodetraffics"}, Verbs: []string{"*"}},
	}}
	binding := &rbacv1.ClusterRoleBinding{
		ObjectMeta: name,
		RoleRef:    rbacv1.RoleRef{APIGroup: rbacv1.GroupName, Kind: "ClusterRole", Name: role.Name},
		Subjects:   []rbacv1.Subject{{Kind: rbacv1.ServiceAccountKind, Namespace: ns, Name: announcer}},
	}
	for _, object := range []client.Object{role, binding} {
		if err := admin.Create(t.Context(), object); err != nil {
			t.Fatal(err)
		}
	}
	settled := func(ctx context.Context, allowed bool) error {
		return wait.PollUntilContextTimeout(ctx, 50*time.Millisecond, settleTimeout, true, func(ctx context.Context) (bool, error) {
			got, err := may(ctx, admin, announcer, authorizationv1.ResourceAttributes{Namespace: ns, Verb: "patch", Resource: "pods"})
			return got == allowed, err
		})
	}
	t.Cleanup(func() {
		for _, object := range []client.Object{binding, role} {
			if err := admin.Delete(context.Background(), object); err != nil {
				t.Error(err)
			}
		}
		// No later test may be allowed something by accident.
		if err := settled(context.Background(), false); err != nil {
			t.Errorf("waiting for the wide role to go: %v", err)
		}
	})
	if err := settled(t.Context(), true); err != nil {
		t.Fatalf("waiting for the wide role: %v", err)
	}
}

// may asks the API server whether RBAC lets a service account of ours do something.
func may(ctx context.Context, admin client.Client, account string, what authorizationv1.ResourceAttributes) (bool, error) {
	review := &authorizationv1.SubjectAccessReview{Spec: authorizationv1.SubjectAccessReviewSpec{
		User:               "system:serviceaccount:" + ns + ":" + account,
		Groups:             []string{"system:serviceaccounts", "system:serviceaccounts:" + ns, "system:authenticated"},
		ResourceAttributes: &what,
	}}
	err := admin.Create(ctx, review)
	return review.Status.Allowed, err
}
