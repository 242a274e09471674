package ipam

import (
	"fmt"
	"net/netip"
	"slices"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"

	"evenkeel.io/evenkeel/api/placeholder"
)

// drawPools makes a few small pools on a little ground, so that overlaps, reversed ranges and exhaustion are frequent.
func drawPools(t *rapid.T) []Pool {
	last := rapid.IntRange(0, 40)
	entry := rapid.Custom(func(t *rapid.T) string {
		base := rapid.SampledFrom([]string{"192.0.2.", "192.0.2.", "2001:db8::"}).Draw(t, "base")
		a, b := last.Draw(t, "a"), last.Draw(t, "b")
		if base == "2001:db8::" {
			return fmt.Sprintf("%s%x-%s%x", base, a+1, base, b+1)
		}
		return rapid.SampledFrom([]string{
			fmt.Sprintf("%s%d-%s%d", base, a, base, b), fmt.Sprintf("%s%d", base, a), fmt.Sprintf("%s%d/30", base, a&^3), "nonsense",
		}).Draw(t, "entry")
	})
	var pools []Pool
	for i := range rapid.IntRange(1, 4).Draw(t, "pools") {
		pools = append(pools, Pool{
			Name: fmt.Sprintf("pool-%d", i), Created: epoch.Add(time.Duration(rapid.IntRange(0, 2).Draw(t, "age")) * time.Hour),
			Addresses: rapid.SliceOfN(entry, 1, 5).Draw(t, "entries"), AutoAssign: rapid.Bool().Draw(t, "auto"),
			Priority: int32(rapid.IntRange(0, 2).Draw(t, "priority")), AvoidBuggyIPs: rapid.Bool().Draw(t, "avoid"),
		})
	}
	return pools
}

func drawRequest(t *rapid.T, pools []Pool) Request {
	r := Request{Families: rapid.SampledFrom([][]Family{{IPv4}, {IPv6}, {IPv4, IPv6}, {IPv6, IPv4}}).Draw(t, "families"), All: rapid.Bool().Draw(t, "all")}
	if rapid.Bool().Draw(t, "names a pool") {
		r.Pool = rapid.SampledFrom(pools).Draw(t, "pool").Name
	}
	if rapid.IntRange(0, 3).Draw(t, "asks") == 0 {
		r.Addresses = []netip.Addr{netip.AddrFrom4([4]byte{192, 0, 2, byte(rapid.IntRange(0, 40).Draw(t, "asked"))})}
		r.Families = []Family{IPv4}
	}
	return r
}

// inEntries says whether one of a pool's readable entries holds the address.
func inEntries(pool Pool, addr netip.Addr) bool {
	return slices.ContainsFunc(pool.Addresses, func(entry string) bool {
		r, err := ParseEntry(entry)
		return err == nil && r.Contains(addr)
	})
}

func TestPropertyAllocations(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		pools := drawPools(t)
		table := Compile(pools)
		var claims Claims
		given := map[netip.Addr]string{}
		for i := range rapid.IntRange(1, 60).Draw(t, "steps") {
			name := fmt.Sprintf("vip-%d", i)
			if i > 0 && rapid.IntRange(0, 3).Draw(t, "frees") == 0 {
				victim := fmt.Sprintf("vip-%d", rapid.IntRange(0, i-1).Draw(t, "victim"))
				claims.Withdraw(Holder{KindVIP, victim})
				for addr, owner := range given {
					if owner == victim {
						delete(given, addr)
					}
				}
				continue
			}
			r := drawRequest(t, pools)
			a, err := Allocate(table, &claims, r)
			if err != nil {
				continue
			}
			if len(a.Addresses) == 0 || r.All && len(r.Addresses) == 0 && len(a.Addresses) != len(r.Families) {
				t.Fatalf("%+v was given %v", r, a.Addresses)
			}
			for _, addr := range a.Addresses {
				if owner, double := given[addr]; double {
					t.Fatalf("%s was given to %s while %s has it", addr, name, owner)
				}
				i := slices.IndexFunc(pools, func(p Pool) bool { return p.Name == a.Pool })
				if !inEntries(pools[i], addr) {
					t.Fatalf("%s isn't in %s", addr, a.Pool)
				}
				if err := placeholder.Announceable(addr); err != nil {
					t.Fatalf("gave what can't be announced: %v", err)
				}
				if pools[i].AvoidBuggyIPs && buggy(addr) {
					t.Fatalf("gave %s, which the pool avoids", addr)
				}
				given[addr] = name
			}
			claims.Set(Claim{Holder: Holder{KindVIP, name}, Addresses: a.Addresses})
		}
		for _, pool := range pools {
			checkUsage(t, table, pool, &claims)
		}
	})
}

// checkUsage counts by walking what Usage counts by arithmetic: assigned + withheld + available is the pool's size.
func checkUsage(t *rapid.T, table *Table, pool Pool, claims *Claims) {
	want := map[Family]Usage{}
	for _, r := range table.pools[pool.Name].ranges {
		u := want[FamilyOf(r.From())]
		for addr := r.From(); addr.Compare(r.To()) <= 0; addr = addr.Next() {
			if pool.AvoidBuggyIPs && buggy(addr) {
				continue
			}
			if _, taken := claims.Blocking(addr, nil); taken {
				u.Assigned++
			} else {
				u.Available++
			}
		}
		want[FamilyOf(r.From())] = u
	}
	if diff := cmp.Diff(want, table.Usage(pool.Name, claims)); diff != "" && len(want) > 0 {
		t.Fatalf("usage of %s (-walked +counted):\n%s", pool.Name, diff)
	}
}

func TestPropertyEveryAddressHasOnePoolAndTheOldestOne(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		pools := drawPools(t)
		table := Compile(pools)
		shuffled := Compile(rapid.Permutation(pools).Draw(t, "shuffled"))
		for last := range 45 {
			addr := netip.AddrFrom4([4]byte{192, 0, 2, byte(last)})
			var want *Pool
			for i, p := range pools {
				if inEntries(p, addr) && (want == nil || p.Created.Before(want.Created)) { // names grow with i
					want = &pools[i]
				}
			}
			got, ok := table.PoolOf(addr)
			if ok != (want != nil) || ok && got != want.Name {
				t.Fatalf("%s belongs to %q, want %v", addr, got, want)
			}
			if again, _ := shuffled.PoolOf(addr); again != got {
				t.Fatalf("the order of pools matters: %s is of %s or of %s", addr, got, again)
			}
		}
	})
}

func TestPropertyOrderOfClaimsDoesNotMatter(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		pools := drawPools(t)
		table := Compile(pools)
		var list []Claim
		for i := range rapid.IntRange(0, 30).Draw(t, "claims") {
			list = append(list, Claim{
				Holder:    Holder{Kind(rapid.IntRange(0, 5).Draw(t, "kind")), fmt.Sprint(i)},
				Addresses: []netip.Addr{netip.AddrFrom4([4]byte{192, 0, 2, byte(rapid.IntRange(0, 40).Draw(t, "last"))})},
			})
		}
		var one, other Claims
		for _, c := range list {
			one.Set(c)
		}
		for _, c := range rapid.Permutation(list).Draw(t, "shuffled") {
			other.Set(c)
		}
		r := drawRequest(t, pools)
		a, errA := Allocate(table, &one, r)
		b, errB := Allocate(table, &other, r)
		if fmt.Sprint(a, errA) != fmt.Sprint(b, errB) {
			t.Fatalf("got %v, %v in one order and %v, %v in another", a, errA, b, errB)
		}
	})
}

func TestPropertyABadEntryDisturbsNothing(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		pools := drawPools(t)
		spoilt := slices.Clone(pools)
		i := rapid.IntRange(0, len(pools)-1).Draw(t, "which")
		bad := rapid.SampledFrom([]string{"", "x", "192.0.2.9-192.0.2.1", "192.0.2.1/24", "fe80::1%eth0", "::ffff:192.0.2.1", "-", "/"}).Draw(t, "bad")
		at := rapid.IntRange(0, len(pools[i].Addresses)).Draw(t, "at")
		spoilt[i].Addresses = slices.Insert(slices.Clone(pools[i].Addresses), at, bad)
		r := drawRequest(t, pools)
		var claims Claims
		a, errA := Allocate(Compile(pools), &claims, r)
		b, errB := Allocate(Compile(spoilt), &claims, r)
		if fmt.Sprint(a, errA) != fmt.Sprint(b, errB) {
			t.Fatalf("a bad entry changed %v, %v to %v, %v", a, errA, b, errB)
		}
		if len(Compile(spoilt).Problems(spoilt[i].Name)) <= len(Compile(pools).Problems(pools[i].Name)) {
			t.Fatalf("the bad entry %q isn't told", bad)
		}
	})
}

func FuzzParseEntry(f *testing.F) {
	for _, seed := range []string{"192.0.2.0/28", "192.0.2.10-192.0.2.50", "2001:db8::/120", "2001:db8::1-2001:db8::ff", "192.0.2.1", "::ffff:192.0.2.1", "fe80::1%eth0", "1-2-3", "/", "-"} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, entry string) {
		r, err := ParseEntry(entry)
		if err != nil {
			return
		}
		if !r.IsValid() || r.From().Is4() != r.To().Is4() || r.From().Is4In6() || r.From().Zone() != "" || r.To().Less(r.From()) {
			t.Fatalf("%q was read as %v", entry, r)
		}
		table := Compile([]Pool{{Name: "p", Addresses: []string{entry}, AutoAssign: true}})
		a, err := Allocate(table, &Claims{}, Request{Families: []Family{FamilyOf(r.From())}})
		if err == nil && (!r.Contains(a.Addresses[0]) || placeholder.Announceable(a.Addresses[0]) != nil) {
			t.Fatalf("%q gave %v", entry, a)
		}
	})
}

func BenchmarkAllocateFromASlash64WithAThousandTaken(b *testing.B) {
	table := Compile([]Pool{pool("a", "2001:db8::/64")})
	var claims Claims
	addr := netip.MustParseAddr("2001:db8::")
	for i := range 1000 {
		claims.Set(Claim{Holder: Holder{KindVIP, fmt.Sprint(i)}, Addresses: []netip.Addr{addr}})
		addr = addr.Next()
	}
	for b.Loop() {
		if _, err := Allocate(table, &claims, Request{Families: []Family{IPv6}}); err != nil {
			b.Fatal(err)
		}
	}
}
