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
)

// allowPods grants the announcers everything on pods until the test ends, as a careless administrator might.
func allowPods(t *testing.T, admin client.Client) {
	t.Helper()
	role := &rbacv1.Role{
		ObjectMeta: metav1.ObjectMeta{Namespace: ns, Name: "too-wide"},
		Rules:      []rbacv1.PolicyRule{{APIGroups: []string{""}, Resources: []string{"pods"}, Verbs: []string{"*"}}},
	}
	binding := &rbacv1.RoleBinding{
		ObjectMeta: metav1.ObjectMeta{Namespace: ns, Name: "too-wide"},
		RoleRef:    rbacv1.RoleRef{APIGroup: rbacv1.GroupName, Kind: "Role", Name: "too-wide"},
		Subjects:   []rbacv1.Subject{{Kind: rbacv1.ServiceAccountKind, Namespace: ns, Name: announcer}},
	}
	for _, object := range []client.Object{role, binding} {
		if err := admin.Create(t.Context(), object); err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { _ = admin.Delete(context.Background(), object) })
	}
	wantAllowed := func(allowed bool) func(context.Context) (bool, error) {
		return func(ctx context.Context) (bool, error) {
			got, err := may(ctx, admin, announcer, authorizationv1.ResourceAttributes{Namespace: ns, Verb: "patch", Resource: "pods"})
			return got == allowed, err
		}
	}
	if err := wait.PollUntilContextTimeout(t.Context(), 50*time.Millisecond, settleTimeout, true, wantAllowed(true)); err != nil {
		t.Fatalf("waiting for the wide role: %v", err)
	}
	// Cleanups run last first: this one deletes and waits, so that no later test is allowed by accident.
	t.Cleanup(func() {
		_ = admin.Delete(context.Background(), binding)
		if err := wait.PollUntilContextTimeout(context.Background(), 50*time.Millisecond, settleTimeout, true, wantAllowed(false)); err != nil {
			t.Errorf("waiting for the wide role to go: %v", err)
		}
	})
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
