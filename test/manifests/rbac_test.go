package manifests

import (
	"bytes"
	"errors"
	"io"
	"slices"
	"strings"
	"testing"

	authorizationv1 "k8s.io/api/authorization/v1"
	rbacv1 "k8s.io/api/rbac/v1"
	"k8s.io/apimachinery/pkg/util/yaml"
)

const (
	schedulerAccount = "evenkeel-scheduler"
	controller       = "evenkeel-controller"
)

// right reads "verb resource.group/subresource" with an optional "namespace:" before the resource and "=name" behind it.
func right(text string) authorizationv1.ResourceAttributes {
	verb, rest, _ := strings.Cut(text, " ")
	a := authorizationv1.ResourceAttributes{Verb: verb}
	if namespace, after, ok := strings.Cut(rest, ":"); ok {
		a.Namespace, rest = namespace, after
	}
	rest, a.Name, _ = strings.Cut(rest, "=")
	rest, a.Subresource, _ = strings.Cut(rest, "/")
	a.Resource, a.Group, _ = strings.Cut(rest, ".")
	return a
}

// TestRights asks the API server's RBAC what each component may do. The admission policies narrow the announcer's writes
// further: see TestAnnouncerPods.
func TestRights(t *testing.T) {
	const own = "evenkeel-system:"
	tests := map[string]struct {
		may, mayNot []string
	}{
		schedulerAccount: {
			may: []string{
				"watch pods", "watch nodes", "watch namespaces", "watch csinodes.storage.k8s.io", "watch endpointslices.discovery.k8s.io",
				"watch resourceclaims.resource.k8s.io", "watch resourceslices.resource.k8s.io", "watch deviceclasses.resource.k8s.io", "watch devicetaintrules.resource.k8s.io",
				"list vipnodes.evenkeel.io", "watch vipnodes.evenkeel.io", "list vipnodetraffics.evenkeel.io", "watch vipnodetraffics.evenkeel.io",
				"create " + own + "pods/binding", "patch " + own + "pods/status", "create " + own + "events.events.k8s.io",
				"create " + own + "leases.coordination.k8s.io", "update " + own + "leases.coordination.k8s.io=evenkeel-scheduler",
				"create tokenreviews.authentication.k8s.io", "create subjectaccessreviews.authorization.k8s.io",
				"get kube-system:configmaps=extension-apiserver-authentication",
			},
			mayNot: []string{
				"create default:pods/binding", "patch default:pods/status", "delete " + own + "pods", "create " + own + "pods",
				"update " + own + "leases.coordination.k8s.io=evenkeel-controller", "update kube-system:leases.coordination.k8s.io=kube-scheduler",
				"update vipnodes.evenkeel.io/status", "patch vipnodetraffics.evenkeel.io", "list vips.evenkeel.io", "list services", "patch nodes", "get kube-system:configmaps=other",
			},
		},
		controller: {
			may: []string{
				"watch services", "patch services/status", "watch nodes", "watch namespaces",
				"get endpointslices.discovery.k8s.io", "list endpointslices.discovery.k8s.io", "watch endpointslices.discovery.k8s.io",
				"create vips.evenkeel.io", "delete vips.evenkeel.io", "patch vips.evenkeel.io/status", "watch vips.evenkeel.io",
				"watch vippools.evenkeel.io", "patch vippools.evenkeel.io/status", "watch vipnodes.evenkeel.io", "list vipnodetraffics.evenkeel.io", "watch vipnodetraffics.evenkeel.io",
				"patch vips.evenkeel.io",
				"create " + own + "pods", "delete " + own + "pods", "patch " + own + "pods", "watch " + own + "pods",
				"create " + own + "leases.coordination.k8s.io", "update " + own + "leases.coordination.k8s.io=evenkeel-controller",
				"create default:events.events.k8s.io", "patch default:events.events.k8s.io", "create " + own + "events",
			},
			mayNot: []string{
				"update endpointslices.discovery.k8s.io", "patch endpointslices.discovery.k8s.io", "create endpointslices.discovery.k8s.io",
				"update services", "patch services", "create default:events", "update vips.evenkeel.io/finalizers", "delete services", "create default:pods", "delete kube-system:pods", "list default:pods",
				"create vippools.evenkeel.io", "update vippools.evenkeel.io", "delete vippools.evenkeel.io", "update vipnodes.evenkeel.io/status", "patch vipnodetraffics.evenkeel.io",
				"patch vippools.evenkeel.io", "update vipnodetraffics.evenkeel.io",
				"create " + own + "pods/binding", "create " + own + "pods/exec", "update nodes", "patch nodes/status",
				"update " + own + "leases.coordination.k8s.io=evenkeel-scheduler",
			},
		},
		announcer: {
			may: []string{
				"list " + own + "pods", "watch " + own + "pods", "patch " + own + "pods/status",
				"get vipnodes.evenkeel.io", "create vipnodes.evenkeel.io", "update vipnodes.evenkeel.io/status", "get nodes",
				"get vipnodetraffics.evenkeel.io", "create vipnodetraffics.evenkeel.io", "update vipnodetraffics.evenkeel.io",
			},
			mayNot: []string{
				"list default:pods", "patch " + own + "pods", "update " + own + "pods", "delete " + own + "pods", "create " + own + "pods", "patch default:pods/status",
				"update vipnodes.evenkeel.io", "patch vipnodes.evenkeel.io", "delete vipnodes.evenkeel.io", "watch vipnodes.evenkeel.io", "list vipnodes.evenkeel.io",
				"delete vipnodetraffics.evenkeel.io", "watch vipnodetraffics.evenkeel.io", "list vipnodetraffics.evenkeel.io",
				"list nodes", "watch nodes", "patch nodes", "get services", "list services", "patch services/status", "get vips.evenkeel.io", "get vippools.evenkeel.io",
				"create " + own + "events", "create " + own + "events.events.k8s.io", "create " + own + "leases.coordination.k8s.io",
			},
		},
	}
	// What none of them has any business with.
	nobody := []string{
		"get evenkeel-system:secrets", "list secrets", "get kube-system:secrets", "create evenkeel-system:serviceaccounts/token=evenkeel-controller",
		"impersonate serviceaccounts", "escalate clusterroles.rbac.authorization.k8s.io", "bind clusterroles.rbac.authorization.k8s.io",
		"create evenkeel-system:pods/exec", "create evenkeel-system:pods/eviction", "get nodes/proxy", "update evenkeel-system:configmaps",
		"patch customresourcedefinitions.apiextensions.k8s.io", "delete validatingadmissionpolicies.admissionregistration.k8s.io", "update services/finalizers",
	}
	admin := adminClient(t)
	for account, test := range tests {
		check := func(texts []string, want bool) {
			for _, text := range texts {
				got, err := may(t.Context(), admin, account, right(text))
				if err != nil {
					t.Fatal(err)
				}
				if got != want {
					t.Errorf("%s may %s: %t, want %t", account, text, got, want)
				}
			}
		}
		check(test.may, true)
		check(test.mayNot, false)
		check(nobody, false)
	}
}

// TestRulesNameWhatTheyAllow: no rule of ours has an asterisk in it.
func TestRulesNameWhatTheyAllow(t *testing.T) {
	text, err := cluster.kubectl(t.Context(), "kustomize", base)
	if err != nil {
		t.Fatal(err)
	}
	roles := 0
	decoder := yaml.NewYAMLOrJSONDecoder(bytes.NewBufferString(text), 4096)
	for {
		var role rbacv1.ClusterRole // a Role reads the same
		if err := decoder.Decode(&role); errors.Is(err, io.EOF) {
			break
		} else if err != nil {
			continue // a kind of another shape
		}
		if role.Kind != "Role" && role.Kind != "ClusterRole" {
			continue
		}
		roles++
		for _, rule := range role.Rules {
			if slices.Contains(slices.Concat(rule.APIGroups, rule.Resources, rule.Verbs, rule.NonResourceURLs), "*") {
				t.Errorf("%s %s allows everything of a kind: %v", role.Kind, role.Name, rule)
			}
		}
	}
	if roles != 6 {
		t.Errorf("%d roles, want 6: two for each component", roles)
	}
}
