package load

import (
	"cmp"
	"fmt"
	"maps"
	"math/bits"
	"slices"

	"k8s.io/apimachinery/pkg/util/validation/field"
)

// Criterion is one way to say how loaded a node is.
type Criterion string

const (
	// Count is the weight of the active VIPs over the node's capacity. It is exact at every moment.
	Count Criterion = "Count"
	// Traffic is the bytes per second that the active VIPs carry, over the node's capacity: by the newest figure for each VIP,
	// wherever it was measured.
	Traffic Criterion = "Traffic"
	// NICUtilization is how busy the busiest of the node's interfaces is, with VIPs or anything else.
	NICUtilization Criterion = "NICUtilization"
	// CPU is how busy the node's processors are.
	CPU Criterion = "CPU"
)

var criteria = []Criterion{Count, Traffic, NICUtilization, CPU}

// DefaultCriteria are those of components that are told nothing else.
func DefaultCriteria() []Criterion { return []Criterion{Count, Traffic} }

// ValidateCriteria says what is wrong with a list of criteria, by the path of each.
func ValidateCriteria(list []Criterion, path *field.Path) field.ErrorList {
	if len(list) == 0 {
		return field.ErrorList{field.Required(path, fmt.Sprintf("name at least one of %v, or leave the field out for %v", criteria, DefaultCriteria()))}
	}
	var errs field.ErrorList
	for i, c := range list {
		switch {
		case !slices.Contains(criteria, c):
			errs = append(errs, field.NotSupported(path.Index(i), c, criteria))
		case slices.Contains(list[:i], c):
			errs = append(errs, field.Duplicate(path.Index(i), c))
		}
	}
	return errs
}

// Measure compares the loads of nodes by several criteria: the first one in which they differ decides. It is a total preorder.
type Measure []Criterion

// MeasureOf makes a Measure of valid criteria. Where Count isn't among them it comes last, so that nodes that are equal by what was
// measured, as all are before anything was, get equal numbers of VIPs.
func MeasureOf(list []Criterion) Measure {
	if !slices.Contains(list, Count) {
		list = append(slices.Clip(list), Count)
	}
	return list
}

// Measured says whether any criterion is one that is measured, so that VIPNodeTraffics are needed.
func (m Measure) Measured() bool {
	return slices.ContainsFunc(m, func(c Criterion) bool { return c != Count })
}

// Additive leaves out the criteria that nobody can foretell for other placements than those that are: how busy processors and NICs
// are. What is about the loss of a node goes by it.
func (m Measure) Additive() Measure {
	return slices.DeleteFunc(slices.Clone(m), func(c Criterion) bool { return c == NICUtilization || c == CPU })
}

// Figures are what a node is measured by.
type Figures struct {
	// Siblings come before all criteria: active VIPs here that the VIP to be placed is to keep away from as long as it can.
	Siblings int64
	// Load is the weight of the active VIPs, Capacity the share of it that the node is to have; 0 counts as 1.
	Load, Capacity int64
	// Shared tells apart nodes of one Count: for a standby, the weight of the standbys that a node has for VIPs of the same other node.
	Shared int64
	// Traffic in bytes per second.
	Traffic int64
	// NICPermille and CPUPermille are utilisations.
	NICPermille, CPUPermille int64
}

// With is what a node amounts to with one more active VIP.
func (f Figures) With(weight, bytesPerSecond int64) Figures {
	f.Load += weight
	f.Traffic += bytesPerSecond
	return f
}

// Compare returns -1 where a is less loaded than b, 1 where it is more loaded, and 0 where the measure can't tell them apart.
func (m Measure) Compare(a, b Figures) int { return m.compare(m.steps(a), m.steps(b)) }

// Ranks numbers nodes by their load: 0 for the least loaded, equal numbers for equally loaded ones.
func (m Measure) Ranks(nodes []Figures) []int64 {
	all, rank := make([]steps, len(nodes)), map[steps]int64{}
	for i, f := range nodes {
		all[i] = m.steps(f)
		rank[all[i]] = 0
	}
	var next int64
	order := slices.SortedFunc(maps.Keys(rank), m.compare) // far fewer than nodes, mostly
	for i, s := range order {
		if i > 0 && m.compare(order[i-1], s) != 0 {
			next++
		}
		rank[s] = next
	}
	ranks := make([]int64, len(nodes))
	for i, s := range all {
		ranks[i] = rank[s]
	}
	return ranks
}

// steps are figures as they are compared: what is measured goes in steps, so that noise decides nothing.
type steps struct {
	siblings               int64
	load, capacity, shared uint64
	traffic, nic, cpu      int64
}

// steps leaves out what the measure doesn't look at.
func (m Measure) steps(f Figures) steps {
	capacity := max(1, f.Capacity)
	s := steps{siblings: f.Siblings, capacity: uint64(capacity)}
	for _, c := range m {
		switch c {
		case Count:
			s.load, s.shared = uint64(max(0, f.Load)), uint64(max(0, f.Shared))
		case Traffic:
			s.traffic = trafficStep(f.Traffic, capacity)
		case NICUtilization:
			s.nic = f.NICPermille / utilizationStep
		case CPU:
			s.cpu = f.CPUPermille / utilizationStep
		}
	}
	return s
}

func (m Measure) compare(a, b steps) int {
	if d := cmp.Compare(a.siblings, b.siblings); d != 0 {
		return d
	}
	for _, c := range m {
		var d int
		switch c {
		case Count:
			d = cmp.Or(compareShares(a.load, a.capacity, b.load, b.capacity), compareShares(a.shared, a.capacity, b.shared, b.capacity))
		case Traffic:
			d = cmp.Compare(a.traffic, b.traffic)
		case NICUtilization:
			d = cmp.Compare(a.nic, b.nic)
		case CPU:
			d = cmp.Compare(a.cpu, b.cpu)
		}
		if d != 0 {
			return d
		}
	}
	return 0
}

// compareShares compares a/ca with b/cb, exactly, whatever their size.
func compareShares(a, ca, b, cb uint64) int {
	if ca == cb {
		return cmp.Compare(a, b)
	}
	hiA, loA := bits.Mul64(a, cb)
	hiB, loB := bits.Mul64(b, ca)
	return cmp.Or(cmp.Compare(hiA, hiB), cmp.Compare(loA, loB))
}

const (
	// utilizationStep in permille: smaller differences are noise, and worth no other placement.
	utilizationStep = 50
	// megabit a second in bytes per second: less traffic counts as none.
	megabit = 125000
	// shareBits keep a share of a node's capacity an integer: the largest capacity fits.
	shareBits = 20
	// maxMegabits keeps a share within 64 bits; it is a million times what NICs can do.
	maxMegabits = 1 << 40
)

// trafficSteps are where steps of traffic begin: each is a twentieth above the one before it, at least one unit.
var trafficSteps = func() []uint64 {
	var begin []uint64
	for at := uint64(1); at <= maxMegabits<<shareBits; at += max(1, at/20) {
		begin = append(begin, at)
	}
	return begin
}()

// trafficStep numbers the step that a node's traffic over its capacity is on: whole megabits, and then steps of 5 %. As every node has one
// number for itself, comparing is transitive, which it wouldn't be with a tolerance between two nodes.
func trafficStep(bytesPerSecond, capacity int64) int64 {
	megabits := min(max(0, bytesPerSecond)/megabit, maxMegabits)
	if megabits == 0 {
		return 0
	}
	share := uint64(megabits) << shareBits / uint64(capacity)
	step, exact := slices.BinarySearch(trafficSteps, share)
	if exact {
		step++
	}
	return int64(step)
}
