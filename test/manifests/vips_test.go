package manifests

import (
	"context"
	"testing"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"evenkeel.io/evenkeel/api/v1alpha1"
)

func TestVIPAddresses(t *testing.T) {
	const canonical = "must be an address in canonical form"
	tests := map[string]struct {
		addresses []string
		want      string
	}{
		"an IPv4 address":             {[]string{"192.0.2.10"}, ""},
		"an IPv6 address":             {[]string{"2001:db8::10"}, ""},
		"one of each family":          {[]string{"192.0.2.10", "2001:db8::10"}, ""},
		"one of each, IPv6 first":     {[]string{"2001:db8::10", "192.0.2.10"}, ""},
		"none":                        {[]string{}, "at least 1 items"},
		"two of IPv4":                 {[]string{"192.0.2.10", "192.0.2.11"}, "different families"},
		"two of IPv6":                 {[]string{"2001:db8::10", "2001:db8::11"}, "different families"},
		"twice the same":              {[]string{"192.0.2.10", "192.0.2.10"}, "different families"},
		"three":                       {[]string{"192.0.2.10", "2001:db8::10", "192.0.2.11"}, "at most 2 items"},
		"a prefix":                    {[]string{"192.0.2.10/32"}, canonical},
		"a name":                      {[]string{"example.org"}, canonical},
		"IPv6 in upper case":          {[]string{"2001:DB8::10"}, canonical},
		"IPv6 that could be shorter":  {[]string{"2001:db8:0::10"}, canonical},
		"IPv4 mapped into IPv6":       {[]string{"::ffff:192.0.2.10"}, canonical},
		"IPv6 with a zone":            {[]string{"fe80::1%eth0"}, canonical},
		"an address behind a bad one": {[]string{"nonsense", "2001:db8::10"}, "spec.addresses[0]"},
	}
	admin := adminClient(t)
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			checkRefusal(t, admin.Create(t.Context(), vip("some-vip", test.addresses...), client.DryRunAll), test.want)
		})
	}
}

func TestVIPAddressesNeverChange(t *testing.T) {
	tests := map[string]struct {
		change func(*v1alpha1.VIP)
		want   string
	}{
		"another address":     {func(v *v1alpha1.VIP) { v.Spec.Addresses[0] = "192.0.2.11" }, "addresses are immutable"},
		"one address less":    {func(v *v1alpha1.VIP) { v.Spec.Addresses = v.Spec.Addresses[:1] }, "addresses are immutable"},
		"the other order":     {func(v *v1alpha1.VIP) { a := v.Spec.Addresses; a[0], a[1] = a[1], a[0] }, "addresses are immutable"},
		"no address any more": {func(v *v1alpha1.VIP) { v.Spec.Addresses = nil }, "spec.addresses"},
		"other Services": {func(v *v1alpha1.VIP) {
			v.Spec.Services = []v1alpha1.ServiceReference{{Namespace: "default", Name: "web", UID: "1"}}
		}, ""},
		"released": {func(v *v1alpha1.VIP) { v.Spec.ReleasedAt = &metav1.Time{Time: v.CreationTimestamp.Time} }, ""},
	}
	admin := adminClient(t)
	stored := vip("192-0-2-10", "192.0.2.10", "2001:db8::10")
	if err := admin.Create(t.Context(), stored); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = admin.Delete(context.Background(), vip("192-0-2-10")) })
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			changed := stored.DeepCopy()
			test.change(changed)
			checkRefusal(t, admin.Update(t.Context(), changed, client.DryRunAll), test.want)
		})
	}
	t.Run("the same address again", func(t *testing.T) {
		if err := admin.Create(t.Context(), vip("192-0-2-10", "192.0.2.10")); !apierrors.IsAlreadyExists(err) {
			t.Errorf("got %v, want AlreadyExists: the name is what makes a double allocation impossible", err)
		}
	})
}

func vip(name string, addresses ...string) *v1alpha1.VIP {
	return &v1alpha1.VIP{ObjectMeta: metav1.ObjectMeta{Name: name}, Spec: v1alpha1.VIPSpec{Addresses: addresses}}
}
