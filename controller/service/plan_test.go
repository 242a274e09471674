package service

import (
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"testing"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"evenkeel.io/evenkeel/api/placeholder"
	"evenkeel.io/evenkeel/api/v1alpha1"
	"evenkeel.io/evenkeel/controller/ipam"
)

// aged is a VIP of pool "a" that is so many seconds old.
func aged(seconds int, addresses ...string) *v1alpha1.VIP {
	return &v1alpha1.VIP{ObjectMeta: metav1.ObjectMeta{Name: addresses[0], CreationTimestamp: metav1.NewTime(time.Unix(int64(1000-seconds), 0))},
		Spec: v1alpha1.VIPSpec{Addresses: addresses, Pool: "a"}}
}

func TestPlanFor(t *testing.T) {
	four, six, dual := []ipam.Family{ipam.IPv4}, []ipam.Family{ipam.IPv6}, []ipam.Family{ipam.IPv4, ipam.IPv6}
	one, other, v6only, pair := aged(30, "192.0.2.1"), aged(20, "192.0.2.2"), aged(10, "2001:db8::1"), aged(40, "192.0.2.9", "2001:db8::9")
	list := func(vips ...*v1alpha1.VIP) []*v1alpha1.VIP { return vips }
	ask := func(texts ...string) []netip.Addr {
		var addrs []netip.Addr
		for _, text := range texts {
			addrs = append(addrs, netip.MustParseAddr(text))
		}
		return addrs
	}
	tests := []struct {
		name  string
		wish  wish
		vips  []*v1alpha1.VIP
		serve string
		need  string // families, "?" where only hoped for, or addresses
		leave string
	}{
		{"nothing yet", wish{families: four, count: 1}, nil, "", "IPv4", ""},
		{"nothing yet of both: a pair", wish{families: dual, count: 1}, nil, "", "IPv4 IPv6", ""},
		{"what it asks for", wish{families: four, count: 1}, list(one), "192.0.2.1", "", ""},
		{"both are preferred, one is there", wish{families: dual, count: 1}, list(one), "192.0.2.1", "IPv6?", ""},
		{"both are required, one is there", wish{families: dual, all: true, count: 1}, list(one), "192.0.2.1", "IPv6", ""},
		{"both in two VIPs", wish{families: dual, all: true, count: 1}, list(one, v6only), "192.0.2.1,2001:db8::1", "", ""},
		{"both in the other order", wish{families: []ipam.Family{ipam.IPv6, ipam.IPv4}, all: true, count: 1}, list(one, v6only), "2001:db8::1,192.0.2.1", "", ""},
		{"one of two VIPs is wanted", wish{families: four, count: 1}, list(one, v6only), "192.0.2.1", "", "2001:db8::1"},
		{"half of a pair is wanted", wish{families: six, count: 1}, list(pair), "2001:db8::9", "", ""},
		{"another family serves until its successor is there", wish{families: six, count: 1}, list(one), "", "IPv6", ""},
		{"and goes when it is", wish{families: six, count: 1}, list(one, v6only), "2001:db8::1", "", "192.0.2.1"},
		{"of too many the youngest go", wish{families: four, count: 1}, list(other, one), "192.0.2.1", "", "192.0.2.2"},
		{"more are wanted", wish{families: four, count: 3}, list(one, other), "192.0.2.1,192.0.2.2", "IPv4", ""},
		{"more of a pair", wish{families: dual, all: true, count: 2}, list(pair), "192.0.2.9,2001:db8::9", "IPv4 IPv6", ""},
		{"more of what is missing in one family", wish{families: dual, all: true, count: 2}, list(pair, one), "192.0.2.9,192.0.2.1,2001:db8::9", "IPv6", ""},
		{"another pool serves until its successor is there", wish{families: four, count: 1, pool: "b"}, list(one), "192.0.2.1", "IPv4", ""},
		{"another address does", wish{families: four, count: 1, addresses: ask("192.0.2.7")}, list(one), "192.0.2.1", "192.0.2.7", ""},
		{"the address that is asked for is kept though younger", wish{families: four, count: 1, addresses: ask("192.0.2.2")}, list(one, other), "192.0.2.2", "", "192.0.2.1"},
		{"room is kept for the address that is asked for", wish{families: four, count: 2, addresses: ask("192.0.2.7")}, list(one, other), "192.0.2.1,192.0.2.2", "192.0.2.7", ""},
		{"one address of two families is asked for", wish{families: dual, count: 1, addresses: ask("192.0.2.1")}, list(one), "192.0.2.1", "", ""},
		{"the second of two that are asked for is missing", wish{families: dual, all: true, count: 1, addresses: ask("192.0.2.1", "2001:db8::7")}, list(one), "192.0.2.1", "2001:db8::7", ""},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			p := planFor(tt.wish, tt.vips, func(*v1alpha1.VIP) string { return "" })
			var need, leave []string
			if p.need != nil && len(p.need.addresses) > 0 {
				need = append(need, placeholder.FormatAddresses(p.need.addresses))
			} else if p.need != nil {
				for _, family := range p.need.families {
					need = append(need, family.String())
				}
				if p.need.hoped {
					need[len(need)-1] += "?"
				}
			}
			for _, vip := range p.leave {
				leave = append(leave, vip.Name)
			}
			got := fmt.Sprintf("serve %s need %s leave %s", placeholder.FormatAddresses(p.serve), strings.Join(need, " "), strings.Join(leave, " "))
			if want := fmt.Sprintf("serve %s need %s leave %s", tt.serve, tt.need, tt.leave); got != want {
				t.Errorf("got  %s\nwant %s", got, want)
			}
		})
	}
	t.Run("what collides goes at once", func(t *testing.T) {
		p := planFor(wish{families: four, count: 1}, list(one), func(*v1alpha1.VIP) string { return "taken" })
		if len(p.serve) > 0 || p.need == nil || !slices.Equal(p.leave, list(one)) || len(p.collisions) != 1 {
			t.Errorf("got %+v", p)
		}
	})
}
