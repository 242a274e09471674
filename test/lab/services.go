package lab

import (
	"context"
	"fmt"
	"net/netip"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/intstr"
)

// appLabel selects backend pods.
const appLabel = "app"

// CreateBackends creates one ready pod on each node, labelled app=APP, that
// answers HTTP on BackendPort with the node's name. Pods have a fixed node: no
// scheduler has a part in it. They belong to a DaemonSet, so that a drain leaves
// them where they are.
func (c *Cluster) CreateBackends(ctx context.Context, app string, nodes ...*Node) error {
	owner, err := c.backendOwner(ctx, app)
	if err != nil {
		return err
	}
	for _, n := range nodes {
		pod := &corev1.Pod{
			ObjectMeta: metav1.ObjectMeta{
				Name: app + "-" + n.name, Namespace: metav1.NamespaceDefault, Labels: map[string]string{appLabel: app},
				OwnerReferences: []metav1.OwnerReference{*owner},
			},
			Spec: corev1.PodSpec{
				NodeName:   n.name,
				Containers: []corev1.Container{{Name: "web", Image: "lab", Ports: []corev1.ContainerPort{{ContainerPort: BackendPort}}}},
				// Whatever happens to the node: tests decide when pods go.
				Tolerations: []corev1.Toleration{{Operator: corev1.TolerationOpExists}},
			},
		}
		_, err := c.Kube.CoreV1().Pods(pod.Namespace).Create(ctx, pod, metav1.CreateOptions{})
		if err != nil && !apierrors.IsAlreadyExists(err) {
			return fmt.Errorf("creating backend %s: %w", pod.Name, err)
		}
	}
	for _, n := range nodes {
		err := n.Kubelet.until(ctx, func(ctx context.Context) error {
			pod, err := c.Kube.CoreV1().Pods(metav1.NamespaceDefault).Get(ctx, app+"-"+n.name, metav1.GetOptions{})
			if err != nil {
				return err
			}
			for _, cond := range pod.Status.Conditions {
				if cond.Type == corev1.PodReady && cond.Status == corev1.ConditionTrue && pod.Status.PodIP != "" {
					return nil
				}
			}
			return fmt.Errorf("backend %s is not ready", pod.Name)
		})
		if err != nil {
			return err
		}
	}
	return nil
}

// backendOwner returns the reference to a DaemonSet that no controller cares for.
func (c *Cluster) backendOwner(ctx context.Context, app string) (*metav1.OwnerReference, error) {
	labels := map[string]string{appLabel: app}
	sets := c.Kube.AppsV1().DaemonSets(metav1.NamespaceDefault)
	set, err := sets.Create(ctx, &appsv1.DaemonSet{
		ObjectMeta: metav1.ObjectMeta{Name: app, Namespace: metav1.NamespaceDefault},
		Spec: appsv1.DaemonSetSpec{
			Selector: &metav1.LabelSelector{MatchLabels: labels},
			Template: corev1.PodTemplateSpec{
				ObjectMeta: metav1.ObjectMeta{Labels: labels},
				Spec:       corev1.PodSpec{Containers: []corev1.Container{{Name: "web", Image: "lab"}}},
			},
		},
	}, metav1.CreateOptions{})
	if apierrors.IsAlreadyExists(err) {
		set, err = sets.Get(ctx, app, metav1.GetOptions{})
	}
	if err != nil {
		return nil, fmt.Errorf("creating the owner of backends %s: %w", app, err)
	}
	return metav1.NewControllerRef(set, appsv1.SchemeGroupVersion.WithKind("DaemonSet")), nil
}

// ServiceOptions of NewService.
type ServiceOptions struct {
	// App selects the backends.
	App string
	// Type is LoadBalancer by default.
	Type corev1.ServiceType
	// Families in order; two of them make a dual stack Service. IPv4 by default.
	Families []corev1.IPFamily
	// Local sets externalTrafficPolicy: Local.
	Local       bool
	Class       string
	Annotations map[string]string
	// Port is the Service's; 80 by default.
	Port int32
	// SameNode has kube-proxies prefer the backend on their own node: it lives if they do.
	SameNode bool
}

// NewService describes a Service in namespace default with backends of
// CreateBackends; the caller creates it.
func NewService(name string, o ServiceOptions) *corev1.Service {
	if o.Type == "" {
		o.Type = corev1.ServiceTypeLoadBalancer
	}
	if len(o.Families) == 0 {
		o.Families = []corev1.IPFamily{corev1.IPv4Protocol}
	}
	if o.Port == 0 {
		o.Port = 80
	}
	policy := corev1.IPFamilyPolicySingleStack
	if len(o.Families) > 1 {
		policy = corev1.IPFamilyPolicyRequireDualStack
	}
	s := &corev1.Service{
		ObjectMeta: metav1.ObjectMeta{Name: name, Namespace: metav1.NamespaceDefault, Annotations: o.Annotations},
		Spec: corev1.ServiceSpec{
			Type:           o.Type,
			Selector:       map[string]string{appLabel: o.App},
			IPFamilies:     o.Families,
			IPFamilyPolicy: &policy,
			Ports:          []corev1.ServicePort{{Name: "http", Port: o.Port, TargetPort: intstr.FromInt32(BackendPort)}},
		},
	}
	if o.Local {
		s.Spec.ExternalTrafficPolicy = corev1.ServiceExternalTrafficPolicyLocal
	}
	if o.SameNode {
		preference := corev1.ServiceTrafficDistributionPreferSameNode
		s.Spec.TrafficDistribution = &preference
	}
	if o.Class != "" {
		s.Spec.LoadBalancerClass = &o.Class
	}
	return s
}

// CreateService creates a Service of NewService.
func (c *Cluster) CreateService(ctx context.Context, name string, o ServiceOptions) (*corev1.Service, error) {
	s, err := c.Kube.CoreV1().Services(metav1.NamespaceDefault).Create(ctx, NewService(name, o), metav1.CreateOptions{})
	if err != nil {
		return nil, fmt.Errorf("creating service %s: %w", name, err)
	}
	return s, nil
}

// VIPs returns the addresses that the Service's status shows.
func VIPs(s *corev1.Service) []netip.Addr {
	var out []netip.Addr
	for _, i := range s.Status.LoadBalancer.Ingress {
		if a, err := netip.ParseAddr(i.IP); err == nil {
			out = append(out, a)
		}
	}
	return out
}

// WaitForVIPs returns the Service's addresses once its status shows one for each
// of its families.
func (c *Cluster) WaitForVIPs(ctx context.Context, name string) ([]netip.Addr, error) {
	var vips []netip.Addr
	err := Eventually(ctx, func(ctx context.Context) error {
		s, err := c.Kube.CoreV1().Services(metav1.NamespaceDefault).Get(ctx, name, metav1.GetOptions{})
		if err != nil {
			return err
		}
		if vips = VIPs(s); len(vips) < len(s.Spec.IPFamilies) {
			return fmt.Errorf("service %s has %d of %d addresses", name, len(vips), len(s.Spec.IPFamilies))
		}
		return nil
	})
	return vips, err
}
