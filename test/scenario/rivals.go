package scenario

import (
	"bytes"
	"crypto/sha256"
	"math/rand/v2"
	"net/netip"
	"slices"
)

// Weighted is a VIP with its weight.
type Weighted struct {
	Address netip.Addr
	Weight  int64
}

// Spreading is how much weight each node got.
type Spreading struct {
	PerNode []int64 `json:"perNode"`
	MaxMin  int64   `json:"maxMinusMin"`
}

func spreading(nodes []string, loads map[string]int64) Spreading {
	var s Spreading
	for _, node := range nodes {
		s.PerNode = append(s.PerNode, loads[node])
	}
	s.MaxMin = slices.Max(s.PerNode) - slices.Min(s.PerNode)
	return s
}

// ByHash is where MetalLB in layer 2 mode would put VIPs that all of the nodes may announce: on the node whose hash with the address comes
// first (speaker/layer2_controller.go, ShouldAnnounce: nodes sorted by SHA-256 of node, "#" and address). Weights mean nothing to it.
func ByHash(vips []Weighted, nodes []string) Spreading {
	loads := map[string]int64{}
	for _, vip := range vips {
		first := slices.MinFunc(nodes, func(a, b string) int {
			x, y := sha256.Sum256([]byte(a+"#"+vip.Address.String())), sha256.Sum256([]byte(b+"#"+vip.Address.String()))
			return bytes.Compare(x[:], y[:])
		})
		loads[first] += vip.Weight
	}
	return spreading(nodes, loads)
}

// AtRandom is where VIPs come to be that each go to any node: as with one lease per VIP, for which all race.
func AtRandom(vips []Weighted, nodes []string, seed uint64) Spreading {
	random := rand.New(rand.NewPCG(seed, 0))
	loads := map[string]int64{}
	for _, vip := range vips {
		loads[nodes[random.IntN(len(nodes))]] += vip.Weight
	}
	return spreading(nodes, loads)
}
