package manifests

import (
	"slices"
	"strings"
	"testing"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"evenkeel.io/evenkeel/manifests/scheduler"
)

// TestWorkloads checks what the programs need of their pods, on what the API server made of the manifests.
func TestWorkloads(t *testing.T) {
	admin := adminClient(t)
	templates := map[string]corev1.PodSpec{}
	for _, name := range []string{schedulerAccount, controller} {
		var deployment appsv1.Deployment
		if err := admin.Get(t.Context(), client.ObjectKey{Namespace: ns, Name: name}, &deployment); err != nil {
			t.Fatal(err)
		}
		if *deployment.Spec.Replicas != 2 {
			t.Errorf("%s has %d replicas, want 2", name, *deployment.Spec.Replicas)
		}
		templates[name] = deployment.Spec.Template.Spec
	}
	var daemonSet appsv1.DaemonSet
	if err := admin.Get(t.Context(), client.ObjectKey{Namespace: ns, Name: announcer}, &daemonSet); err != nil {
		t.Fatal(err)
	}
	templates[announcer] = daemonSet.Spec.Template.Spec

	ports := map[string][]int32{schedulerAccount: {17473}, controller: {17471, 17472}, announcer: {17475, 17476}}
	for name, spec := range templates {
		container := spec.Containers[0]
		if spec.ServiceAccountName != name || container.Name != name {
			t.Errorf("%s: service account %q, container %q", name, spec.ServiceAccountName, container.Name)
		}
		if !strings.HasPrefix(container.Image, "ghcr.io/evenkeel-io/"+name+":") {
			t.Errorf("%s: image %s wasn't replaced by kustomize", name, container.Image)
		}
		var got []int32
		for _, port := range container.Ports {
			got = append(got, port.ContainerPort)
		}
		if !slices.Equal(got, ports[name]) {
			t.Errorf("%s: ports %v, want %v", name, got, ports[name])
		}
		security := container.SecurityContext
		if !*security.ReadOnlyRootFilesystem || *security.AllowPrivilegeEscalation || !slices.Equal(security.Capabilities.Drop, []corev1.Capability{"ALL"}) {
			t.Errorf("%s: security context %v", name, security)
		}
		wantAdded := []corev1.Capability(nil)
		if name == announcer {
			wantAdded = []corev1.Capability{"NET_ADMIN", "NET_RAW"}
		} else if !*spec.SecurityContext.RunAsNonRoot {
			t.Errorf("%s runs as root", name)
		}
		if !slices.Equal(security.Capabilities.Add, wantAdded) {
			t.Errorf("%s: capabilities %v, want %v", name, security.Capabilities.Add, wantAdded)
		}
		if spec.HostNetwork != (name == announcer) {
			t.Errorf("%s: hostNetwork %t", name, spec.HostNetwork)
		}
	}
	if tolerations := templates[announcer].Tolerations; !slices.Contains(tolerations, corev1.Toleration{Operator: corev1.TolerationOpExists}) {
		t.Errorf("the announcer tolerates only %v", tolerations)
	}
}

// TestSchedulerConfigMap: the scheduler in the cluster reads the same file that its binary has built in.
func TestSchedulerConfigMap(t *testing.T) {
	admin := adminClient(t)
	var deployment appsv1.Deployment
	if err := admin.Get(t.Context(), client.ObjectKey{Namespace: ns, Name: schedulerAccount}, &deployment); err != nil {
		t.Fatal(err)
	}
	var config corev1.ConfigMap
	name := deployment.Spec.Template.Spec.Volumes[0].ConfigMap.Name
	if err := admin.Get(t.Context(), client.ObjectKey{Namespace: ns, Name: name}, &config); err != nil {
		t.Fatalf("the Deployment's ConfigMap: %v", err)
	}
	if config.Data["scheduler-config.yaml"] != scheduler.Config {
		t.Error("the ConfigMap's scheduler-config.yaml is not the built-in one")
	}
}
