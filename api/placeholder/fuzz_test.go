package placeholder

import (
	"net/netip"
	"slices"
	"testing"
)

// What these read was written by people and by older or newer versions: whatever it is, it is refused or understood in one
// way only, which writing it anew and reading it again shows.

func FuzzParseAddresses(f *testing.F) {
	for _, text := range []string{"192.0.2.10", "2001:db8::10,192.0.2.10", "", ",", "::ffff:1.2.3.4", "fe80::1%eth0", "192.0.2.10, ", "0.0.0.0"} {
		f.Add(text)
	}
	f.Fuzz(func(t *testing.T, text string) {
		addrs, err := ParseAddresses(text)
		if err != nil {
			return
		}
		if len(addrs) < 1 || len(addrs) > 2 {
			t.Fatalf("%d addresses from %q", len(addrs), text)
		}
		for _, addr := range addrs {
			if Announceable(addr) != nil {
				t.Fatalf("%s from %q can't be announced", addr, text)
			}
		}
		again, err := ParseAddresses(FormatAddresses(addrs))
		if err != nil || !slices.Equal(addrs, again) {
			t.Fatalf("%q was read as %v, then as %v (%v)", text, addrs, again, err)
		}
	})
}

func FuzzParsePorts(f *testing.F) {
	for _, text := range []string{"tcp/80", "tcp/80,udp/53", "TCP/443", "tcp/0", "/", "sctp/65536", "tcp/80,,"} {
		f.Add(text)
	}
	f.Fuzz(func(t *testing.T, text string) {
		ports, err := ParsePorts(text)
		if err != nil {
			return
		}
		for i, port := range ports {
			if port.Port == 0 || !slices.Contains([]string{"tcp", "udp", "sctp"}, port.Protocol) {
				t.Fatalf("%v from %q", port, text)
			}
			if i > 0 && ports[i-1] == port {
				t.Fatalf("%v twice from %q", port, text)
			}
		}
		again, err := ParsePorts(FormatPorts(ports))
		if err != nil || !slices.Equal(ports, again) {
			t.Fatalf("%q was read as %v, then as %v (%v)", text, ports, again, err)
		}
	})
}

func FuzzParsePeers(f *testing.F) {
	for _, text := range []string{"", "[]", "null", `[{"node":"node-2"}]`, `[{"node":"n","macs":["02:00:00:00:00:01"],"addresses":["192.0.2.1","fe80::1%eth0"]}]`, `[{"macs":["x"]}]`, `[null]`} {
		f.Add(text)
	}
	f.Fuzz(func(t *testing.T, text string) {
		peers, err := ParsePeers(text)
		if err != nil {
			return
		}
		if len(peers) > maxPeers {
			t.Fatalf("%d peers", len(peers))
		}
		written := FormatPeers(peers)
		again, err := ParsePeers(written)
		if err != nil || FormatPeers(again) != written {
			t.Fatalf("%q was written as %q, then as %q (%v)", text, written, FormatPeers(again), err)
		}
	})
}

func FuzzParse(f *testing.F) {
	f.Add("192-0-2-10", "active", "192.0.2.10", "1", "0", "default/web", "eth0")
	f.Add("2001-db8-0-0-0-0-0-10", "", "2001:db8::10,192.0.2.10", "1000", "9223372036854775807", "", "eth0,eth1")
	f.Add("x", "standby", "192.0.2.10", "+1", "-0", "/", ",")
	f.Fuzz(func(t *testing.T, vip, role, addresses, weight, term, service, interfaces string) {
		p := pod(map[string]string{
			AnnotationAddresses: addresses, AnnotationWeight: weight, AnnotationTerm: term, AnnotationService: service, AnnotationInterfaces: interfaces,
		})
		p.Labels[LabelVIP], p.Labels[LabelRole] = vip, role
		got, err := Parse(p)
		if err != nil {
			return
		}
		switch {
		case got.VIP != VIPName(got.Addresses[0]):
			t.Errorf("VIP %q with address %s", got.VIP, got.Addresses[0])
		case got.Weight < 1 || got.Weight > MaxWeight:
			t.Errorf("weight %d", got.Weight)
		case got.Term < 0:
			t.Errorf("term %d", got.Term)
		case got.Role != Active && got.Role != Standby:
			t.Errorf("role %q", got.Role)
		case slices.Contains(got.Interfaces, ""):
			t.Errorf("interfaces %q", got.Interfaces)
		}
	})
}

// FuzzVIPName: two addresses share a name only if they are the same; the name is the record against double allocation.
func FuzzVIPName(f *testing.F) {
	f.Add([]byte{192, 0, 2, 10}, []byte{192, 0, 2, 100})
	f.Add([]byte{1, 11, 1, 1}, []byte{11, 1, 1, 1})
	f.Add([]byte("\x20\x01\x0d\xb8\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x10"), []byte("\x20\x01\x0d\xb8\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x01\x00"))
	f.Fuzz(func(t *testing.T, a, b []byte) {
		first, ok := netip.AddrFromSlice(a)
		second, ok2 := netip.AddrFromSlice(b)
		if !ok || !ok2 || Announceable(first) != nil || Announceable(second) != nil {
			return
		}
		if (VIPName(first) == VIPName(second)) != (first == second) {
			t.Fatalf("%s and %s are named %s and %s", first, second, VIPName(first), VIPName(second))
		}
	})
}
