package placeholder

import (
	"maps"
	"net/netip"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/utils/ptr"
)

var compareAddrs = cmpopts.EquateComparable(netip.Addr{})

// pod returns a placeholder as the controller makes it; the annotations are laid over its own, "" removes one.
func pod(annotations map[string]string) *corev1.Pod {
	p := &corev1.Pod{
		ObjectMeta: metav1.ObjectMeta{
			Namespace: DefaultNamespace, Name: "192-0-2-10-0", UID: "pod-uid",
			Labels:      map[string]string{LabelVIP: "192-0-2-10", LabelRole: string(Active)},
			Annotations: map[string]string{AnnotationAddresses: "192.0.2.10"},
		},
		Spec: corev1.PodSpec{SchedulerName: SchedulerName, NodeName: "node-1"},
	}
	maps.Copy(p.Annotations, annotations)
	maps.DeleteFunc(p.Annotations, func(_, value string) bool { return value == "" })
	return p
}

func TestParse(t *testing.T) {
	base := Placeholder{
		Pod: types.NamespacedName{Namespace: DefaultNamespace, Name: "192-0-2-10-0"}, UID: "pod-uid", Node: "node-1",
		VIP: "192-0-2-10", Role: Active, Addresses: []netip.Addr{netip.MustParseAddr("192.0.2.10")}, Weight: 1,
	}
	with := func(change func(*Placeholder)) Placeholder {
		p := base
		change(&p)
		return p
	}
	labelled := func(p *corev1.Pod, key, value string) *corev1.Pod {
		p.Labels[key] = value
		return p
	}
	tests := map[string]struct {
		pod  *corev1.Pod
		want Placeholder
	}{
		"the least there can be": {pod(nil), base},
		"everything there can be": {
			pod(map[string]string{
				AnnotationAddresses: "192.0.2.10,2001:db8::10", AnnotationWeight: "7", AnnotationInterfaces: "eth0, bond0.100",
				AnnotationTerm: "3", AnnotationPeers: `[{"pod":"192-0-2-10-1","node":"node-2","macs":["02:00:00:00:00:02"],"addresses":["192.0.2.102"]}]`,
				AnnotationPorts: "tcp/443,tcp/80", AnnotationService: "default/web", AnnotationPolicy: "Local", AnnotationRelease: "true",
			}),
			with(func(p *Placeholder) {
				p.Addresses = append(p.Addresses[:1:1], netip.MustParseAddr("2001:db8::10"))
				p.Weight, p.Interfaces, p.Term = 7, []string{"eth0", "bond0.100"}, 3
				p.Peers = []Peer{{Pod: "192-0-2-10-1", Node: "node-2", MACs: []string{"02:00:00:00:00:02"}, Addresses: []netip.Addr{netip.MustParseAddr("192.0.2.102")}}}
				p.Ports = []Port{{"tcp", 80}, {"tcp", 443}}
				p.Service = types.NamespacedName{Namespace: "default", Name: "web"}
				p.Local, p.Release = true, true
			}),
		},
		"a standby":                           {labelled(pod(nil), LabelRole, "standby"), with(func(p *Placeholder) { p.Role = Standby })},
		"a role that nobody knows is active":  {labelled(pod(nil), LabelRole, "spare"), base},
		"the policy Cluster":                  {pod(map[string]string{AnnotationPolicy: "Cluster"}), base},
		"release with another word than true": {pod(map[string]string{AnnotationRelease: "yes"}), base},
		"interfaces that are only commas":     {pod(map[string]string{AnnotationInterfaces: ", ,"}), base},
		"a VIP named after its IPv6 address": {
			labelled(pod(map[string]string{AnnotationAddresses: "2001:db8::10,192.0.2.10"}), LabelVIP, "2001-db8-0-0-0-0-0-10"),
			with(func(p *Placeholder) {
				p.VIP = "2001-db8-0-0-0-0-0-10"
				p.Addresses = []netip.Addr{netip.MustParseAddr("2001:db8::10"), netip.MustParseAddr("192.0.2.10")}
			}),
		},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			got, err := Parse(test.pod)
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(test.want, got, compareAddrs, cmpopts.EquateEmpty()); diff != "" {
				t.Errorf("(-want +got)\n%s", diff)
			}
		})
	}
}

func TestParseNamesWhatIsWrong(t *testing.T) {
	many := func(text, separator string, n int) string { return strings.Repeat(text+separator, n-1) + text }
	tests := map[string]struct {
		annotations map[string]string
		want        []string // all of it is in the error
	}{
		"no addresses":                  {map[string]string{AnnotationAddresses: ""}, []string{AnnotationAddresses, "one of each family"}},
		"three addresses":               {map[string]string{AnnotationAddresses: "192.0.2.10,2001:db8::1,192.0.2.11"}, []string{AnnotationAddresses, "one of each family"}},
		"two of IPv4":                   {map[string]string{AnnotationAddresses: "192.0.2.10,192.0.2.11"}, []string{AnnotationAddresses, "of one family"}},
		"two of IPv6":                   {map[string]string{AnnotationAddresses: "2001:db8::1,2001:db8::2"}, []string{"of one family"}},
		"no address":                    {map[string]string{AnnotationAddresses: "example.org"}, []string{AnnotationAddresses, `"example.org"`}},
		"a prefix":                      {map[string]string{AnnotationAddresses: "192.0.2.10/24"}, []string{`"192.0.2.10/24"`}},
		"an address that isn't the VIP": {map[string]string{AnnotationAddresses: "192.0.2.11"}, []string{LabelVIP, `"192-0-2-10"`, `"192-0-2-11"`}},
		"the VIP's address second":      {map[string]string{AnnotationAddresses: "2001:db8::10,192.0.2.10"}, []string{LabelVIP, `"2001-db8-0-0-0-0-0-10"`}},
		"a weight of 0":                 {map[string]string{AnnotationWeight: "0"}, []string{AnnotationWeight, `"0"`, "1 to 1000"}},
		"a weight of 1001":              {map[string]string{AnnotationWeight: "1001"}, []string{AnnotationWeight}},
		"a weight of half":              {map[string]string{AnnotationWeight: "0.5"}, []string{AnnotationWeight}},
		"a term below 0":                {map[string]string{AnnotationTerm: "-1"}, []string{AnnotationTerm}},
		"a term that is no number":      {map[string]string{AnnotationTerm: "first"}, []string{AnnotationTerm, `"first"`}},
		"a term too large":              {map[string]string{AnnotationTerm: "9223372036854775808"}, []string{AnnotationTerm}},
		"peers that are no JSON":        {map[string]string{AnnotationPeers: "node-2"}, []string{AnnotationPeers}},
		"peers that are no list":        {map[string]string{AnnotationPeers: `{"node":"node-2"}`}, []string{AnnotationPeers}},
		"a peer with a bad MAC":         {map[string]string{AnnotationPeers: `[{"node":"node-2","macs":["02:00"]}]`}, []string{AnnotationPeers, "node-2", `"02:00"`}},
		"a peer with an EUI-64":         {map[string]string{AnnotationPeers: `[{"node":"n","macs":["02:00:00:00:00:00:00:01"]}]`}, []string{"no MAC address"}},
		"a peer with a bad address":     {map[string]string{AnnotationPeers: `[{"node":"n","addresses":["192.0.2"]}]`}, []string{AnnotationPeers}},
		"17 peers":                      {map[string]string{AnnotationPeers: "[" + many(`{"node":"n"}`, ",", 17) + "]"}, []string{AnnotationPeers, "at most 16"}},
		"a port without protocol":       {map[string]string{AnnotationPorts: "80"}, []string{AnnotationPorts, `"80"`}},
		"a service without namespace":   {map[string]string{AnnotationService: "web"}, []string{AnnotationService, "namespace/name"}},
		"a service without name":        {map[string]string{AnnotationService: "default/"}, []string{AnnotationService}},
		"a service of an empty space":   {map[string]string{AnnotationService: "/web"}, []string{AnnotationService}},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			_, err := Parse(pod(test.annotations))
			if err == nil {
				t.Fatal("parsed, want an error")
			}
			for _, want := range test.want {
				if !strings.Contains(err.Error(), want) {
					t.Errorf("%q doesn't mention %s", err, want)
				}
			}
		})
	}
}

func TestAnnounceable(t *testing.T) {
	tests := map[string]bool{
		"192.0.2.10": true, "10.0.0.1": true, "100.64.0.1": true, "223.255.255.254": true, "1.0.0.0": true, "192.0.2.255": true,
		"2001:db8::10": true, "fd00::1": true,
		"0.0.0.0": false, "0.1.2.3": false, "127.0.0.1": false, "169.254.1.1": false, "224.0.0.18": false, "240.0.0.1": false, "255.255.255.255": false,
		"::": false, "::1": false, "fe80::1": false, "fe80::1%eth0": false, "2001:db8::1%eth0": false, "ff02::1": false, "::ffff:192.0.2.10": false,
	}
	for text, want := range tests {
		t.Run(text, func(t *testing.T) {
			if err := Announceable(netip.MustParseAddr(text)); (err == nil) != want {
				t.Errorf("got %v, want announceable: %t", err, want)
			}
		})
	}
}

func TestVIPName(t *testing.T) {
	tests := map[string]string{
		"192.0.2.10":       "192-0-2-10",
		"1.1.1.1":          "1-1-1-1",
		"2001:db8::10":     "2001-db8-0-0-0-0-0-10",
		"::":               "0-0-0-0-0-0-0-0",
		"fd00:0:0:a::ffff": "fd00-0-0-a-0-0-0-ffff",
	}
	for text, want := range tests {
		if got := VIPName(netip.MustParseAddr(text)); got != want {
			t.Errorf("VIPName(%s) is %q, want %q", text, got, want)
		}
	}
}

func TestIs(t *testing.T) {
	tests := map[string]struct {
		change func(*corev1.Pod)
		want   bool
	}{
		"a placeholder":                  {func(*corev1.Pod) {}, true},
		"a pod of another scheduler":     {func(p *corev1.Pod) { p.Spec.SchedulerName = "default-scheduler" }, false},
		"a pod without the label":        {func(p *corev1.Pod) { delete(p.Labels, LabelVIP) }, false},
		"a pod with an empty label":      {func(p *corev1.Pod) { p.Labels[LabelVIP] = "" }, false},
		"a pod without any label at all": {func(p *corev1.Pod) { p.Labels = nil }, false},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			p := pod(nil)
			test.change(p)
			if got := Is(p); got != test.want {
				t.Errorf("got %t, want %t", got, test.want)
			}
		})
	}
}

func TestHandWritten(t *testing.T) {
	tests := map[string]struct {
		owners []metav1.OwnerReference
		want   bool
	}{
		"no owner":                           {nil, true},
		"a VIP that controls it":             {[]metav1.OwnerReference{{Kind: "VIP", Controller: ptr.To(true)}}, false},
		"a VIP that only owns it":            {[]metav1.OwnerReference{{Kind: "VIP"}}, true},
		"a VIP that expressly controls not":  {[]metav1.OwnerReference{{Kind: "VIP", Controller: ptr.To(false)}}, true},
		"a StatefulSet":                      {[]metav1.OwnerReference{{Kind: "StatefulSet", Controller: ptr.To(true)}}, true},
		"a VIP that controls, another owner": {[]metav1.OwnerReference{{Kind: "Node"}, {Kind: "VIP", Controller: ptr.To(true)}}, false},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			p := pod(nil)
			p.OwnerReferences = test.owners
			if got := HandWritten(p); got != test.want {
				t.Errorf("got %t, want %t", got, test.want)
			}
		})
	}
}

func TestEnded(t *testing.T) {
	now := metav1.NewTime(time.Unix(0, 0))
	tests := map[string]struct {
		change func(*corev1.Pod)
		want   bool
	}{
		"pending":       {func(p *corev1.Pod) { p.Status.Phase = corev1.PodPending }, false},
		"running":       {func(p *corev1.Pod) { p.Status.Phase = corev1.PodRunning }, false},
		"phase unknown": {func(p *corev1.Pod) { p.Status.Phase = corev1.PodUnknown }, false},
		"failed":        {func(p *corev1.Pod) { p.Status.Phase = corev1.PodFailed }, true},
		"succeeded":     {func(p *corev1.Pod) { p.Status.Phase = corev1.PodSucceeded }, true},
		"being deleted": {func(p *corev1.Pod) { p.Status.Phase, p.DeletionTimestamp = corev1.PodRunning, &now }, true},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			p := pod(nil)
			test.change(p)
			if got := Ended(p); got != test.want {
				t.Errorf("Ended: got %t, want %t", got, test.want)
			}
			parsed, err := Parse(p)
			if err != nil || parsed.Ending != test.want {
				t.Errorf("Ending: got %t (%v), want %t", parsed.Ending, err, test.want)
			}
		})
	}
}
