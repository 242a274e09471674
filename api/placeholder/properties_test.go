package placeholder

import (
	"net"
	"net/netip"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/validation"
	"pgregory.net/rapid"
)

// anyAddr draws an address of either family, announceable or not.
func anyAddr(t *rapid.T) netip.Addr {
	if rapid.Bool().Draw(t, "ipv4") {
		return netip.AddrFrom4([4]byte(rapid.SliceOfN(rapid.Byte(), 4, 4).Draw(t, "bytes")))
	}
	// Groups with many zeros and few digits are where names could run into each other.
	bytes := rapid.SliceOfN(rapid.OneOf(rapid.Just(byte(0)), rapid.ByteRange(0, 17), rapid.Byte()), 16, 16).Draw(t, "bytes")
	return netip.AddrFrom16([16]byte(bytes))
}

func announceableAddr(t *rapid.T, label string) netip.Addr {
	return rapid.Custom(anyAddr).Filter(func(a netip.Addr) bool { return Announceable(a) == nil }).Draw(t, label)
}

func TestNamesOfDifferentAddressesDiffer(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		a, b := announceableAddr(t, "a"), announceableAddr(t, "b")
		if (VIPName(a) == VIPName(b)) != (a == b) {
			t.Fatalf("%s is named %s, %s is named %s", a, VIPName(a), b, VIPName(b))
		}
	})
}

func TestNamesAreGoodForObjectsPodsAndLabels(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		name := VIPName(announceableAddr(t, "address"))
		if errs := validation.IsDNS1123Label(name + "-999999"); errs != nil { // the pod's name
			t.Fatalf("%s: %v", name, errs)
		}
		if errs := validation.IsValidLabelValue(name); errs != nil {
			t.Fatalf("%s: %v", name, errs)
		}
	})
}

func TestAddressesSurviveARoundTrip(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		want := []netip.Addr{announceableAddr(t, "first")}
		if second := announceableAddr(t, "second"); second.Is4() != want[0].Is4() {
			want = append(want, second)
		}
		got, err := ParseAddresses(FormatAddresses(want))
		if err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff(want, got, compareAddrs); diff != "" {
			t.Fatalf("(-want +got)\n%s", diff)
		}
	})
}

func TestPortsSurviveARoundTrip(t *testing.T) {
	port := rapid.Custom(func(t *rapid.T) Port {
		return Port{rapid.SampledFrom([]string{"tcp", "udp", "sctp"}).Draw(t, "protocol"), rapid.Uint16Range(1, 65535).Draw(t, "port")}
	})
	rapid.Check(t, func(t *rapid.T) {
		ports := rapid.SliceOfN(port, 0, 20).Draw(t, "ports")
		text := FormatPorts(ports)
		got, err := ParsePorts(text)
		if err != nil {
			t.Fatal(err)
		}
		if again := FormatPorts(got); again != text {
			t.Fatalf("%q became %q", text, again)
		}
		if diff := cmp.Diff(sortPorts(ports), got, cmpopts.EquateEmpty()); diff != "" {
			t.Fatalf("(-want +got)\n%s", diff)
		}
	})
}

func TestPeersSurviveARoundTrip(t *testing.T) {
	peer := rapid.Custom(func(t *rapid.T) Peer {
		p := Peer{Pod: rapid.StringMatching(`[a-z0-9-]{0,20}`).Draw(t, "pod"), Node: rapid.StringMatching(`[a-z0-9.-]{1,20}`).Draw(t, "node")}
		for range rapid.IntRange(0, 2).Draw(t, "macs") {
			p.MACs = append(p.MACs, net.HardwareAddr(rapid.SliceOfN(rapid.Byte(), 6, 6).Draw(t, "mac")).String())
		}
		for range rapid.IntRange(0, 2).Draw(t, "addresses") {
			p.Addresses = append(p.Addresses, anyAddr(t))
		}
		return p
	})
	rapid.Check(t, func(t *rapid.T) {
		want := rapid.SliceOfN(peer, 0, maxPeers).Draw(t, "peers")
		got, err := ParsePeers(FormatPeers(want))
		if err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff(want, got, compareAddrs, cmpopts.EquateEmpty()); diff != "" {
			t.Fatalf("(-want +got)\n%s", diff)
		}
	})
}

// Whatever people write on a Node, its capacity and limit stay within bounds, and what is refused is the default.
func TestPropertyNodesSayNothingThatOverflows(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		text := rapid.OneOf(rapid.String(), rapid.StringMatching(`[-+]?[0-9]{1,25}`), rapid.Just(CapacityNICSpeed)).Draw(t, "text")
		node := &corev1.Node{ObjectMeta: metav1.ObjectMeta{Annotations: map[string]string{AnnotationCapacity: text, AnnotationMaxVIPs: text}}}
		capacity, err := Capacity(node, rapid.Int64().Draw(t, "speed"))
		if capacity < 1 || capacity > MaxCapacity || err != nil && capacity != 1 {
			t.Fatalf("%q makes a capacity of %d (%v)", text, capacity, err)
		}
		most, err := NodeLimit(node)
		if most < 0 || most > MaxLimit || (err != nil) != (most == 0) {
			t.Fatalf("%q makes a limit of %d (%v)", text, most, err)
		}
	})
}
