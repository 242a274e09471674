package ipam

import (
	"errors"
	"net/netip"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

var epoch = time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)

func pool(name string, addresses ...string) Pool {
	return Pool{Name: name, Created: epoch, Addresses: addresses, AutoAssign: true}
}

func addrs(texts ...string) []netip.Addr {
	var out []netip.Addr
	for _, text := range texts {
		out = append(out, netip.MustParseAddr(text))
	}
	return out
}

func texts(addrs []netip.Addr) string {
	var out []string
	for _, addr := range addrs {
		out = append(out, addr.String())
	}
	return strings.Join(out, ",")
}

func claim(kind Kind, name string, addresses ...string) Claim {
	return Claim{Holder: Holder{kind, name}, Addresses: addrs(addresses...)}
}

func TestAllocate(t *testing.T) {
	v4, v6 := []Family{IPv4}, []Family{IPv6}
	avoiding := pool("avoiding", "192.0.2.0/24")
	avoiding.AvoidBuggyIPs = true
	manual := pool("manual", "198.51.100.1-198.51.100.2")
	manual.AutoAssign = false
	urgent := pool("zz-urgent", "203.0.113.1")
	urgent.Priority = 10
	tests := []struct {
		name    string
		pools   []Pool
		claims  []Claim
		request Request
		want    string
		from    string
		refused RefusalReason
		says    string
	}{
		{name: "the first free address in the order of entries", pools: []Pool{pool("a", "192.0.2.20", "192.0.2.10-192.0.2.12")},
			claims: []Claim{claim(KindVIP, "x", "192.0.2.20", "192.0.2.10")}, request: Request{Families: v4}, want: "192.0.2.11", from: "a"},
		{name: "all addresses of a prefix count", pools: []Pool{pool("a", "192.0.2.0/31")}, request: Request{Families: v4}, want: "192.0.2.0", from: "a"},
		{name: "addresses that old clients refuse are avoided", pools: []Pool{avoiding}, request: Request{Families: v4}, want: "192.0.2.1", from: "avoiding"},
		{name: "an avoided address that is asked for is refused", pools: []Pool{avoiding}, request: Request{Families: v4, Addresses: addrs("192.0.2.255")}, refused: AddressAvoided, says: "avoidBuggyIPs"},
		{name: "the higher priority comes first", pools: []Pool{pool("a", "192.0.2.1"), urgent}, request: Request{Families: v4}, want: "203.0.113.1", from: "zz-urgent"},
		{name: "then the name", pools: []Pool{pool("b", "192.0.2.2"), pool("a", "192.0.2.1")}, request: Request{Families: v4}, want: "192.0.2.1", from: "a"},
		{name: "a full pool hands over to the next", pools: []Pool{pool("a", "192.0.2.1"), pool("b", "192.0.2.2")}, claims: []Claim{claim(KindVIP, "x", "192.0.2.1")}, request: Request{Families: v4}, want: "192.0.2.2", from: "b"},
		{name: "a pool that doesn't assign automatically is left alone", pools: []Pool{manual}, request: Request{Families: v4}, refused: NoPool, says: "1 don't assign automatically"},
		{name: "and is used when asked for", pools: []Pool{manual}, request: Request{Families: v4, Pool: "manual"}, want: "198.51.100.1", from: "manual"},
		{name: "and when one of its addresses is asked for", pools: []Pool{manual}, request: Request{Families: v4, Addresses: addrs("198.51.100.2")}, want: "198.51.100.2", from: "manual"},
		{name: "a pool that isn't there", pools: []Pool{manual}, request: Request{Families: v4, Pool: "nope"}, refused: UnknownPool, says: "nope"},
		{name: "no pool at all", request: Request{Families: v4}, refused: NoPool, says: "Create a VIPPool"},
		{name: "a pool whose selectors don't match", pools: []Pool{pool("a", "192.0.2.1")}, request: Request{Families: v4, Pool: "a", Allowed: func(string) bool { return false }}, refused: PoolNotAllowed, says: "namespaceSelector"},
		{name: "an address of a pool whose selectors don't match", pools: []Pool{pool("a", "192.0.2.1")}, request: Request{Families: v4, Addresses: addrs("192.0.2.1"), Allowed: func(string) bool { return false }}, refused: PoolNotAllowed},
		{name: "selectors choose among pools", pools: []Pool{pool("a", "192.0.2.1"), pool("b", "192.0.2.2")}, request: Request{Families: v4, Allowed: func(p string) bool { return p == "b" }}, want: "192.0.2.2", from: "b"},
		{name: "a full pool names itself and what to do", pools: []Pool{pool("a", "192.0.2.1")}, claims: []Claim{claim(KindVIP, "x", "192.0.2.1")}, request: Request{Families: v4}, refused: PoolExhausted, says: "No free IPv4 address: VIPPool a. Add addresses"},
		{name: "an address outside all pools", pools: []Pool{pool("a", "192.0.2.1")}, request: Request{Families: v4, Addresses: addrs("192.0.2.2")}, refused: NotInPool, says: "192.0.2.2 is in no VIPPool"},
		{name: "an address of another pool than the one asked for", pools: []Pool{pool("a", "192.0.2.1"), pool("b", "192.0.2.2")}, request: Request{Families: v4, Pool: "b", Addresses: addrs("192.0.2.1")}, refused: NotInPool, says: "belongs to VIPPool a"},
		{name: "a taken address names who has it", pools: []Pool{pool("a", "192.0.2.1")}, claims: []Claim{claim(KindVIP, "web", "192.0.2.1")}, request: Request{Families: v4, Addresses: addrs("192.0.2.1")}, refused: AddressTaken, says: "taken by VIP web"},
		{name: "a node's own address is never handed out", pools: []Pool{pool("a", "192.0.2.1-192.0.2.2")}, claims: []Claim{claim(KindNode, "node-1", "192.0.2.1")}, request: Request{Families: v4}, want: "192.0.2.2", from: "a"},
		{name: "and says so when asked for", pools: []Pool{pool("a", "192.0.2.1")}, claims: []Claim{claim(KindNode, "node-1", "192.0.2.1")}, request: Request{Families: v4, Addresses: addrs("192.0.2.1")}, refused: AddressTaken, says: "address of node node-1 and never handed out"},
		{name: "a quarantined address says until when", pools: []Pool{pool("a", "192.0.2.1")}, claims: []Claim{{Holder: Holder{KindQuarantine, "x"}, Addresses: addrs("192.0.2.1"), Until: epoch.Add(time.Minute)}}, request: Request{Families: v4, Addresses: addrs("192.0.2.1")}, refused: AddressTaken, says: "at 00:01:00 UTC"},
		{name: "who has the token gets a reserved address", pools: []Pool{pool("a", "192.0.2.1-192.0.2.2")}, claims: []Claim{{Holder: Holder{KindReserved, "x"}, Addresses: addrs("192.0.2.2"), Tokens: []string{"mine"}}}, request: Request{Families: v4, Prefer: addrs("192.0.2.2"), Tokens: []string{"mine"}}, want: "192.0.2.2", from: "a"},
		{name: "who hasn't doesn't", pools: []Pool{pool("a", "192.0.2.1-192.0.2.2")}, claims: []Claim{{Holder: Holder{KindReserved, "x"}, Addresses: addrs("192.0.2.2"), Tokens: []string{"mine"}}}, request: Request{Families: v4, Prefer: addrs("192.0.2.2"), Tokens: []string{"other"}}, want: "192.0.2.1", from: "a"},
		{name: "a preferred address that left the pools is forgotten", pools: []Pool{pool("a", "192.0.2.1")}, request: Request{Families: v4, Prefer: addrs("198.51.100.9")}, want: "192.0.2.1", from: "a"},
		{name: "IPv6", pools: []Pool{pool("a", "192.0.2.1", "2001:db8::/64")}, claims: []Claim{claim(KindSubnet, "node-1", "2001:db8::")}, request: Request{Families: v6}, want: "2001:db8::1", from: "a"},
		{name: "dual stack in the order of the families", pools: []Pool{pool("a", "192.0.2.1", "2001:db8::1")}, request: Request{Families: []Family{IPv6, IPv4}, All: true}, want: "2001:db8::1,192.0.2.1", from: "a"},
		{name: "both families come from one pool", pools: []Pool{pool("a", "192.0.2.1"), pool("b", "192.0.2.2", "2001:db8::1")}, request: Request{Families: []Family{IPv4, IPv6}, All: true}, want: "192.0.2.2,2001:db8::1", from: "b"},
		{name: "required dual stack waits for both", pools: []Pool{pool("a", "192.0.2.1")}, request: Request{Families: []Family{IPv4, IPv6}, All: true}, refused: PoolExhausted, says: "No free pair of IPv4 and IPv6"},
		{name: "preferred dual stack takes what there is", pools: []Pool{pool("a", "192.0.2.1")}, request: Request{Families: []Family{IPv6, IPv4}}, want: "192.0.2.1", from: "a"},
		{name: "asked-for addresses follow the families too", pools: []Pool{pool("a", "192.0.2.1", "2001:db8::1")}, request: Request{Families: []Family{IPv6, IPv4}, Addresses: addrs("192.0.2.1", "2001:db8::1")}, want: "2001:db8::1,192.0.2.1", from: "a"},
		{name: "asked-for addresses of two pools are refused", pools: []Pool{pool("a", "192.0.2.1"), pool("b", "2001:db8::1")}, request: Request{Families: []Family{IPv4, IPv6}, Addresses: addrs("192.0.2.1", "2001:db8::1")}, refused: NotInPool, says: "different VIPPools"},
		{name: "loopback and multicast inside an entry are passed over", pools: []Pool{pool("a", "127.255.255.255-128.0.0.5")}, request: Request{Families: v4}, want: "128.0.0.0", from: "a"},
		{name: "the last address of the family ends the search", pools: []Pool{pool("a", "223.255.255.255-255.255.255.255")}, claims: []Claim{claim(KindVIP, "x", "223.255.255.255")}, request: Request{Families: v4}, refused: PoolExhausted},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			var claims Claims
			for _, c := range tt.claims {
				claims.Set(c)
			}
			got, err := Allocate(Compile(tt.pools), &claims, tt.request)
			if tt.refused != "" {
				var refusal *Refusal
				if !errors.As(err, &refusal) || refusal.Reason != tt.refused || !strings.Contains(refusal.Message, tt.says) {
					t.Fatalf("got %+v, %v; want a refusal %s saying %q", got, err, tt.refused, tt.says)
				}
				return
			}
			if err != nil || texts(got.Addresses) != tt.want || got.Pool != tt.from {
				t.Fatalf("got %s of %q, %v; want %s of %q", texts(got.Addresses), got.Pool, err, tt.want, tt.from)
			}
		})
	}
}

func TestProblems(t *testing.T) {
	older := pool("older", "192.0.2.0/28")
	older.Created = epoch.Add(-time.Hour)
	tests := []struct {
		name  string
		pools []Pool
		of    string
		want  []Problem
	}{
		{name: "a sound pool has none", pools: []Pool{pool("a", "192.0.2.1")}, of: "a"},
		{name: "a reversed range", pools: []Pool{pool("a", "192.0.2.9-192.0.2.1")}, of: "a", want: []Problem{{Reversed, `"192.0.2.9-192.0.2.1": the range's end lies before its start`}}},
		{name: "nonsense", pools: []Pool{pool("a", "what")}, of: "a", want: []Problem{{Unreadable, `"what" is no address`}}},
		{name: "mixed families", pools: []Pool{pool("a", "192.0.2.1-2001:db8::1")}, of: "a", want: []Problem{{Unreadable, `"192.0.2.1-2001:db8::1" mixes families`}}},
		{name: "multicast", pools: []Pool{pool("a", "224.0.0.0/24")}, of: "a", want: []Problem{{Unreadable, "224.0.0.0/24 holds no address that can be announced on a segment"}}},
		{name: "entries of one pool that overlap", pools: []Pool{pool("a", "192.0.2.0/30", "192.0.2.3-192.0.2.9")}, of: "a",
			want: []Problem{{Overlapping, "192.0.2.3-192.0.2.9 overlaps 192.0.2.0/30 of the same pool, which keeps the addresses that both hold"}}},
		{name: "the younger of two overlapping pools is told", pools: []Pool{pool("a", "192.0.2.8-192.0.2.20"), older}, of: "a",
			want: []Problem{{Overlapping, "192.0.2.8-192.0.2.20 overlaps 192.0.2.0/28 of the older pool older, which keeps the addresses that both hold"}}},
		{name: "the older isn't", pools: []Pool{pool("a", "192.0.2.8-192.0.2.20"), older}, of: "older"},
		{name: "of two of one age the name decides", pools: []Pool{pool("b", "192.0.2.1"), pool("a", "192.0.2.1")}, of: "b",
			want: []Problem{{Overlapping, "192.0.2.1 overlaps 192.0.2.1 of the older pool a, which keeps the addresses that both hold"}}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			if diff := cmp.Diff(tt.want, Compile(tt.pools).Problems(tt.of)); diff != "" {
				t.Errorf("problems (-want +got):\n%s", diff)
			}
		})
	}
}

func TestUsageCountsWithoutWalking(t *testing.T) {
	avoiding := pool("avoiding", "10.0.0.0/8")
	avoiding.AvoidBuggyIPs = true
	table := Compile([]Pool{pool("a", "192.0.2.0/28", "2001:db8::/64"), avoiding, pool("empty", "what")})
	var claims Claims
	claims.Set(claim(KindVIP, "x", "192.0.2.3", "2001:db8::3"))
	claims.Set(claim(KindPod, "x-1", "192.0.2.3"))
	claims.Set(claim(KindNode, "node-1", "192.0.2.4", "10.0.0.0"))
	want := map[Family]Usage{IPv4: {Assigned: 1, Withheld: 1, Available: 14}, IPv6: {Assigned: 1, Available: maxCount}}
	if diff := cmp.Diff(want, table.Usage("a", &claims)); diff != "" {
		t.Errorf("usage of a (-want +got):\n%s", diff)
	}
	want = map[Family]Usage{IPv4: {Available: 1<<24 - 2<<16}}
	if diff := cmp.Diff(want, table.Usage("avoiding", &claims)); diff != "" {
		t.Errorf("usage of a pool that avoids .0 and .255 (-want +got):\n%s", diff)
	}
	if got := table.Usage("empty", &claims); len(got) != 0 {
		t.Errorf("usage of a pool without addresses: %v", got)
	}
}

func TestClaimsExpire(t *testing.T) {
	var claims Claims
	claims.Set(Claim{Holder: Holder{KindQuarantine, "a"}, Addresses: addrs("192.0.2.1"), Until: epoch.Add(time.Second)})
	claims.Set(Claim{Holder: Holder{KindQuarantine, "b"}, Addresses: addrs("192.0.2.2"), Until: epoch.Add(time.Minute)})
	if freed, next := claims.Expire(epoch); freed || !next.Equal(epoch.Add(time.Second)) {
		t.Errorf("before: freed %v, next %v", freed, next)
	}
	if freed, next := claims.Expire(epoch.Add(time.Second)); !freed || !next.Equal(epoch.Add(time.Minute)) {
		t.Errorf("at its end: freed %v, next %v", freed, next)
	}
	if _, blocked := claims.Blocking(netip.MustParseAddr("192.0.2.1"), nil); blocked {
		t.Error("an expired claim still blocks")
	}
}
