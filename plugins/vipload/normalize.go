package vipload

import fwk "k8s.io/kube-scheduler/framework"

// normalize turns loads into scores: MaxScore for exactly one of the least loaded nodes, less for all others, and never
// more for the higher of two loads. Loads must lie within 2^56, or the product below would overflow.
//
// Neither of the framework's helpers will do: rounded to a hundred steps, they give nearly equal loads one score
// (helper.DefaultNormalizeScore: 40 for each of 300, 301, 302 and 303), and the scheduler leaves the choice among nodes of
// one score to the order in which its filter workers finished.
func normalize(vip string, scores fwk.NodeScoreList) {
	if len(scores) == 0 {
		return
	}
	low, high := scores[0].Score, scores[0].Score
	for _, s := range scores {
		low, high = min(low, s.Score), max(high, s.Score)
	}
	winner := -1
	var best uint64
	for i, s := range scores {
		if s.Score != low {
			continue
		}
		// Equal hashes are next to impossible; the name decides, so that even then all agree.
		if h := rendezvous(vip, s.Name); winner < 0 || h > best || (h == best && s.Name < scores[winner].Name) {
			winner, best = i, h
		}
	}
	const below = fwk.MaxScore - 1
	for i := range scores {
		switch {
		case i == winner:
			scores[i].Score = fwk.MaxScore
		case high == low:
			scores[i].Score = below
		default:
			scores[i].Score = (high - scores[i].Score) * below / (high - low)
		}
	}
}

// rendezvous ranks the nodes that are equally good for a VIP; the highest wins (rendezvous hashing). So every scheduler
// comes to the same answer, the first VIPs spread over the nodes, a VIP that was away finds its node again, and a node that
// joins or leaves changes the answer only for VIPs that prefer or preferred it.
//
// It is FNV-1a with a finalizer (fmix64 of MurmurHash3): without that, names that differ in their last letter only, as the
// names of nodes do, would be ranked alike by all VIPs.
func rendezvous(vip, node string) uint64 {
	const offset, prime = 14695981039346656037, 1099511628211
	x := uint64(offset)
	for i := range len(vip) {
		x = (x ^ uint64(vip[i])) * prime
	}
	x *= prime // a zero byte, which is in no name: ("ab", "c") is not ("a", "bc")
	for i := range len(node) {
		x = (x ^ uint64(node[i])) * prime
	}
	x = (x ^ x>>33) * 0xff51afd7ed558ccd
	x = (x ^ x>>33) * 0xc4ceb9fe1a85ec53
	return x ^ x>>33
}
