package e2e

import (
	"context"
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"testing"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"

	"evenkeel.io/evenkeel/api/placeholder"
	"evenkeel.io/evenkeel/api/v1alpha1"
	"evenkeel.io/evenkeel/test/lab"
	"evenkeel.io/evenkeel/test/scenario"
)

// serviceChapters are chapters of TestCluster about what a Service can ask for beside one address.
var serviceChapters = []struct {
	name string
	tell func(context.Context, *testing.T, *scenario.Env)
}{
	{"a Service with several VIPs has them on different nodes, more or fewer of them live", severalVIPs},
	{"Services share an address, and come and go without a move", sharedAddress},
	{"a live Service gets a second family, and gives it back, without a move", secondFamily},
}

// patchService merges a patch into a Service.
func patchService(ctx context.Context, t *testing.T, e *scenario.Env, name, patch string) {
	t.Helper()
	if _, err := e.Kube.CoreV1().Services("default").Patch(ctx, name, types.MergePatchType, []byte(patch), metav1.PatchOptions{}); err != nil {
		t.Fatal(err)
	}
}

// deleteServices deletes Services and waits until no VIP names them.
func deleteServices(ctx context.Context, t *testing.T, e *scenario.Env, names ...string) {
	t.Helper()
	for _, name := range names {
		if err := e.Kube.CoreV1().Services("default").Delete(ctx, name, metav1.DeleteOptions{}); err != nil {
			t.Fatal(err)
		}
	}
	eventually(ctx, t, func(ctx context.Context) error {
		all, err := e.ListVIPs(ctx)
		for _, vip := range all {
			for _, ref := range vip.Spec.Services {
				if slices.Contains(names, ref.Name) {
					return fmt.Errorf("%s is still used by %s", vip.Name, ref.Name)
				}
			}
		}
		return err
	})
}

// shows waits until a Service's ingress has as many addresses, all of them announced.
func shows(ctx context.Context, t *testing.T, e *scenario.Env, name string, count int) []netip.Addr {
	t.Helper()
	var addrs []netip.Addr
	eventually(ctx, t, func(ctx context.Context) error {
		vips, err := e.Announced(ctx, name)
		if err != nil {
			return err
		}
		if addrs = vips[name]; len(addrs) != count {
			return fmt.Errorf("%s shows %v, want %d addresses", name, addrs, count)
		}
		all, err := e.ListVIPs(ctx)
		for _, vip := range all {
			if used := slices.ContainsFunc(vip.Spec.Services, func(ref v1alpha1.ServiceReference) bool { return ref.Name == name }); used && vip.Status.Node == "" {
				return fmt.Errorf("%s isn't announced: %+v", vip.Name, vip.Status.Conditions)
			}
		}
		return err
	})
	return addrs
}

// answers waits until a port of an address serves.
func answers(ctx context.Context, t *testing.T, e *scenario.Env, addr netip.Addr, port int) {
	t.Helper()
	eventually(ctx, t, func(ctx context.Context) error {
		_, err := e.Client.Get(ctx, lab.URL(addr, port))
		return err
	})
}

// tenureOf names the node that announces an address and the term, as the VIP says.
func tenureOf(ctx context.Context, t *testing.T, e *scenario.Env, addr netip.Addr) string {
	t.Helper()
	all, err := e.ListVIPs(ctx)
	if err != nil {
		t.Fatal(err)
	}
	for _, vip := range all {
		if slices.Contains(vip.Spec.Addresses, addr.String()) {
			return fmt.Sprintf("%s in term %d", vip.Status.Node, vip.Status.Term)
		}
	}
	t.Fatalf("no VIP has %s", addr)
	return ""
}

func severalVIPs(ctx context.Context, t *testing.T, e *scenario.Env) {
	o := scenario.Options(lab.ServiceOptions{Annotations: map[string]string{placeholder.AnnotationVIPs: "3"}})
	if _, err := e.CreateService(ctx, "hot", o); err != nil {
		t.Fatal(err)
	}
	addrs := shows(ctx, t, e, "hot", 3)
	macs := map[string]bool{}
	for _, addr := range addrs {
		answers(ctx, t, e, addr, 80)
		owners, err := e.Client.WhoHas(ctx, addr, 200e6)
		if err != nil || len(owners) != 1 {
			t.Fatalf("%v answer for %s: %v", owners, addr, err)
		}
		macs[owners[0].MAC.String()] = true
	}
	if len(macs) != 3 {
		t.Errorf("three VIPs of one Service are on %d of three nodes", len(macs))
	}
	before := tenureOf(ctx, t, e, addrs[0])
	patchService(ctx, t, e, "hot", `{"metadata":{"annotations":{"`+placeholder.AnnotationVIPs+`":"2"}}}`)
	if fewer := shows(ctx, t, e, "hot", 2); !slices.Equal(fewer, addrs[:2]) {
		t.Errorf("of %v stayed %v, want the first two", addrs, fewer)
	}
	eventually(ctx, t, func(ctx context.Context) error {
		if owners, err := e.Client.WhoHas(ctx, addrs[2], 100e6); err != nil || len(owners) > 0 {
			return fmt.Errorf("%v still answer for %s: %w", owners, addrs[2], err)
		}
		return nil
	})
	patchService(ctx, t, e, "hot", `{"metadata":{"annotations":{"`+placeholder.AnnotationVIPs+`":"4"}}}`)
	for _, addr := range shows(ctx, t, e, "hot", 4) {
		answers(ctx, t, e, addr, 80)
	}
	if after := tenureOf(ctx, t, e, addrs[0]); after != before {
		t.Errorf("%s was on %s and is on %s", addrs[0], before, after)
	}
	deleteServices(ctx, t, e, "hot")
}

func sharedAddress(ctx context.Context, t *testing.T, e *scenario.Env) {
	create := func(name string, port int32, protocol corev1.Protocol) {
		t.Helper()
		o := scenario.Options(lab.ServiceOptions{Port: port, Annotations: map[string]string{placeholder.ForeignMetalLBSharing: "front"}})
		s := lab.NewService(name, o)
		s.Spec.Ports[0].Protocol = protocol
		if _, err := e.Kube.CoreV1().Services("default").Create(ctx, s, metav1.CreateOptions{}); err != nil {
			t.Fatal(err)
		}
	}
	portsAre := func(addr netip.Addr, want string) {
		t.Helper()
		eventually(ctx, t, func(ctx context.Context) error {
			pods, err := e.Kube.CoreV1().Pods(lab.Namespace).List(ctx, metav1.ListOptions{LabelSelector: placeholder.LabelVIP + "=" + placeholder.VIPName(addr)})
			if err != nil {
				return err
			}
			for _, pod := range pods.Items {
				if got := pod.Annotations[placeholder.AnnotationPorts]; got != want {
					return fmt.Errorf("ports of %s = %q, want %q", pod.Name, got, want)
				}
			}
			return nil
		})
	}
	create("front-80", 80, corev1.ProtocolTCP)
	addr := shows(ctx, t, e, "front-80", 1)[0]
	before := tenureOf(ctx, t, e, addr)
	create("front-81", 81, corev1.ProtocolTCP)
	create("front-53", 53, corev1.ProtocolUDP)
	for _, name := range []string{"front-81", "front-53"} {
		if got := shows(ctx, t, e, name, 1)[0]; got != addr {
			t.Errorf("%s has %s, want %s which it can share", name, got, addr)
		}
	}
	answers(ctx, t, e, addr, 80)
	answers(ctx, t, e, addr, 81)
	portsAre(addr, "tcp/80,tcp/81,udp/53")

	create("front-again", 80, corev1.ProtocolTCP) // the port is taken
	if got := shows(ctx, t, e, "front-again", 1)[0]; got == addr {
		t.Errorf("two Services have port 80 of %s", addr)
	}
	deleteServices(ctx, t, e, "front-again", "front-80")
	portsAre(addr, "tcp/81,udp/53")
	answers(ctx, t, e, addr, 81)
	eventually(ctx, t, func(ctx context.Context) error {
		if opens(ctx, e, addr, 80) {
			return fmt.Errorf("port 80 of %s is still open", addr)
		}
		return nil
	})
	if after := tenureOf(ctx, t, e, addr); after != before {
		t.Errorf("%s was on %s and is on %s", addr, before, after)
	}
	deleteServices(ctx, t, e, "front-81", "front-53")
	eventually(ctx, t, func(ctx context.Context) error {
		if owners, err := e.Client.WhoHas(ctx, addr, 100e6); err != nil || len(owners) > 0 {
			return fmt.Errorf("%v still answer for %s: %w", owners, addr, err)
		}
		return nil
	})
}

func secondFamily(ctx context.Context, t *testing.T, e *scenario.Env) {
	if _, err := e.CreateService(ctx, "grows", scenario.Options(lab.ServiceOptions{})); err != nil {
		t.Fatal(err)
	}
	four := shows(ctx, t, e, "grows", 1)[0]
	answers(ctx, t, e, four, 80)
	before := tenureOf(ctx, t, e, four)
	patchService(ctx, t, e, "grows", `{"spec":{"ipFamilyPolicy":"RequireDualStack","ipFamilies":["IPv4","IPv6"]}}`)
	both := shows(ctx, t, e, "grows", 2)
	if both[0] != four || !both[1].Is6() {
		t.Fatalf("addresses = %v, want %s and an IPv6 one", both, four)
	}
	for _, addr := range both {
		answers(ctx, t, e, addr, 80)
	}
	patchService(ctx, t, e, "grows", `{"spec":{"ipFamilyPolicy":"SingleStack"}}`)
	if one := shows(ctx, t, e, "grows", 1); one[0] != four {
		t.Errorf("addresses = %v, want %s", one, four)
	}
	eventually(ctx, t, func(ctx context.Context) error {
		if owners, err := e.Client.WhoHas(ctx, both[1], 100e6); err != nil || len(owners) > 0 {
			return fmt.Errorf("%v still answer for %s: %w", owners, both[1], err)
		}
		return nil
	})
	if after := tenureOf(ctx, t, e, four); after != before || strings.HasPrefix(after, " ") {
		t.Errorf("%s was on %s and is on %s", four, before, after)
	}
	deleteServices(ctx, t, e, "grows")
}
