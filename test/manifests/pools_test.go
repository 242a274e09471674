package manifests

import (
	"fmt"
	"strings"
	"testing"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"evenkeel.io/evenkeel/api/v1alpha1"
)

const (
	syntax    = "must be a prefix (192.0.2.0/28), a range (192.0.2.10-192.0.2.50) or an address"
	canonical = "must be in canonical form"
	oneFamily = "both ends of a range must be of one family"
)

// TestPoolEntries asks the API server which entries of a pool it takes. Reversed ranges and overlaps pass: they need more than
// one entry or arithmetic to be seen, and the controller reports them in the pool's condition.
func TestPoolEntries(t *testing.T) {
	tests := map[string]struct {
		entry string
		want  string // part of the refusal; "" when the entry is taken
	}{
		"an IPv4 address":                           {"192.0.2.10", ""},
		"an IPv6 address":                           {"2001:db8::10", ""},
		"an IPv4 prefix":                            {"192.0.2.0/28", ""},
		"an IPv6 prefix":                            {"2001:db8::/120", ""},
		"a prefix of one IPv4 address":              {"192.0.2.10/32", ""},
		"a prefix of one IPv6 address":              {"2001:db8::1/128", ""},
		"an IPv4 range":                             {"192.0.2.10-192.0.2.50", ""},
		"an IPv6 range":                             {"2001:db8::10-2001:db8::ff", ""},
		"a range of one address":                    {"192.0.2.10-192.0.2.10", ""},
		"the longest IPv6 range":                    {"2001:db8:aaaa:bbbb:cccc:dddd:eeee:fff0-2001:db8:aaaa:bbbb:cccc:dddd:eeee:ffff", ""},
		"a reversed range, which has its condition": {"192.0.2.50-192.0.2.10", ""},

		"no text at all":                       {"", "at least 2 chars"},
		"a name":                               {"example.org", syntax},
		"a name with a dash":                   {"vip-pool", syntax},
		"a netmask":                            {"192.0.2.0/255.255.255.0", syntax},
		"a prefix too long for IPv4":           {"192.0.2.0/33", syntax},
		"a prefix too long for IPv6":           {"2001:db8::/129", syntax},
		"a prefix without a length":            {"192.0.2.0/", syntax},
		"a negative prefix":                    {"192.0.2.0/-1", syntax},
		"an octet above 255":                   {"192.0.2.256", syntax},
		"three octets":                         {"192.0.2", syntax},
		"leading zeros in IPv4":                {"192.0.2.010", syntax},
		"leading zeros in the length":          {"192.0.2.0/028", syntax},
		"an IPv4-mapped address":               {"::ffff:192.0.2.10", syntax},
		"an IPv4-mapped prefix":                {"::ffff:192.0.2.0/120", syntax},
		"an IPv4-mapped end of a range":        {"192.0.2.1-::ffff:192.0.2.10", syntax},
		"a zone":                               {"fe80::1%eth0", syntax},
		"a zone in a prefix":                   {"fe80::%eth0/64", syntax},
		"a range of three":                     {"192.0.2.1-192.0.2.2-192.0.2.3", syntax},
		"a range without an end":               {"192.0.2.1-", syntax},
		"a range without a beginning":          {"-192.0.2.1", syntax},
		"a range of prefixes":                  {"192.0.2.0/28-192.0.2.32/28", syntax},
		"a short range as kube-vip writes it":  {"192.0.2.10-50", syntax},
		"spaces around the dash":               {"192.0.2.10 - 192.0.2.50", syntax},
		"a space behind an address":            {"192.0.2.10 ", syntax},
		"two entries in one":                   {"192.0.2.10,192.0.2.11", syntax},
		"IPv4 host bits in a prefix":           {"192.0.2.10/28", canonical},
		"IPv6 host bits in a prefix":           {"2001:db8::10/120", canonical},
		"IPv6 in upper case":                   {"2001:DB8::10", canonical},
		"an IPv6 prefix in upper case":         {"2001:DB8::/120", canonical},
		"IPv6 that could be shorter":           {"2001:db8:0:0:0:0:0:10", canonical},
		"an IPv6 prefix that could be shorter": {"2001:db8:0::/120", canonical},
		"leading zeros in IPv6":                {"2001:0db8::10", canonical},
		"an upper-case end of a range":         {"2001:db8::10-2001:db8::FF", canonical},
		"a range from IPv4 to IPv6":            {"192.0.2.10-2001:db8::10", oneFamily},
		"a range from IPv6 to IPv4":            {"2001:db8::10-192.0.2.10", oneFamily},
		"a text longer than any range of IPv6": {"2001:db8::1" + strings.Repeat(" ", 80), "Too long"},
	}
	admin := adminClient(t)
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			err := admin.Create(t.Context(), pool(test.entry), client.DryRunAll)
			checkRefusal(t, err, test.want)
			if test.want != "" && !strings.Contains(err.Error(), "spec.addresses[0]") {
				t.Errorf("the refusal doesn't name the entry: %v", err)
			}
		})
	}
}

func TestPoolSizes(t *testing.T) {
	many := func(n int) []string {
		entries := make([]string, n)
		for i := range entries { // the longest kind, so that the cost of the rules is the largest
			entries[i] = fmt.Sprintf("2001:db8:aaaa:bbbb:cccc:dddd:%04x:fff0-2001:db8:aaaa:bbbb:cccc:dddd:%04x:ffff", 0x1000+i, 0x1000+i)
		}
		return entries
	}
	tests := map[string]struct {
		pool *v1alpha1.VIPPool
		want string
	}{
		"64 entries are the most":            {pool(many(64)...), ""},
		"65 entries are too many":            {pool(many(65)...), "must have at most 64 items"},
		"a pool needs an entry":              {pool(), "should have at least 1 items"},
		"one bad entry among good ones":      {pool("192.0.2.1", "192.0.2.5/24"), "spec.addresses[1]"},
		"both families in entries of a pool": {pool("192.0.2.10-192.0.2.50", "2001:db8::/120"), ""},
	}
	admin := adminClient(t)
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			checkRefusal(t, admin.Create(t.Context(), test.pool, client.DryRunAll), test.want)
		})
	}
}

func TestPoolInterfaces(t *testing.T) {
	tests := map[string]struct {
		interfaces []string
		want       string
	}{
		"usual names":                       {[]string{"eth0", "bond0.100", "enp129s0f1np1"}, ""},
		"a slash":                           {[]string{"eth/0"}, "should match"},
		"a comma would end the annotation":  {[]string{"eth0,eth1"}, "should match"},
		"longer than the kernel's 15 bytes": {[]string{"abcdefghijklmnop"}, "Too long"},
		"twice the same":                    {[]string{"eth0", "eth0"}, "Duplicate value"},
	}
	admin := adminClient(t)
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			p := pool("192.0.2.0/28")
			p.Spec.Interfaces = test.interfaces
			checkRefusal(t, admin.Create(t.Context(), p, client.DryRunAll), test.want)
		})
	}
}

// TestShortestPool applies the pool that the documentation begins with and reads back the defaults.
func TestShortestPool(t *testing.T) {
	admin := adminClient(t)
	p := pool("192.0.2.10-192.0.2.50", "2001:db8::/120")
	if err := admin.Create(t.Context(), p, client.DryRunAll); err != nil {
		t.Fatal(err)
	}
	if p.Spec.AutoAssign == nil || !*p.Spec.AutoAssign {
		t.Errorf("autoAssign is %v, want it to default to true", p.Spec.AutoAssign)
	}
	if p.Spec.Priority != 0 {
		t.Errorf("priority is %d, want it to default to 0", p.Spec.Priority)
	}
}

func pool(entries ...string) *v1alpha1.VIPPool {
	if entries == nil {
		entries = []string{}
	}
	return &v1alpha1.VIPPool{
		ObjectMeta: metav1.ObjectMeta{GenerateName: "pool-"},
		Spec:       v1alpha1.VIPPoolSpec{Addresses: entries},
	}
}

// checkRefusal fails unless err is nil exactly when want is empty, and has want in its text otherwise.
func checkRefusal(t *testing.T, err error, want string) {
	t.Helper()
	switch {
	case want == "" && err != nil:
		t.Fatalf("refused: %v", err)
	case want != "" && err == nil:
		t.Fatalf("taken, want a refusal with %q", want)
	case want != "" && !strings.Contains(err.Error(), want):
		t.Fatalf("refused, but without %q: %v", want, err)
	}
}
