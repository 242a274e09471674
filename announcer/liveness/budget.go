package liveness

import (
	"time"
)

// Bounds that hold for every profile.
const (
	// burst is how many addresses of one node are asked for in one turn of an alarm, in rotation.
	burst = 64
	// solicitRate and solicitBurst bound ARP requests and neighbour solicitations per NIC and second while somebody is looked
	// for, witnessRate and witnessBurst those to witnesses: switches with dynamic ARP inspection shut a port above 15 a second.
	solicitRate, solicitBurst = 5, 8
	witnessRate, witnessBurst = 2, 3
	// greetRate and greetBurst bound those for nodes whose silence doesn't count, all the time.
	greetRate, greetBurst = 1, 4
	// dumbEvery is the least time between two questions by ARP to nodes that drop echo, over all of them on a NIC. The others
	// ask us as often, so that our port sends as many answers: 7 frames a second with two neighbours, 9 with four.
	dumbEvery = 400 * time.Millisecond
	// dumbNeighbourEvery is that pace for a neighbour that drops echo.
	dumbNeighbourEvery = 2 * time.Second
)

// Plan is how a node asks those it stands by for while all is well.
type Plan struct {
	// Every is the pace of turns with each of them: that of the profile, or longer where the node's rate wouldn't do.
	Every time.Duration
	// Round is within what time each address is asked for.
	Round time.Duration
}

// perTurn is how many of a peer's addresses are asked for in one turn, so that each has its turn within a Round.
func (c Config) perTurn(addresses int) int {
	return int((time.Duration(addresses)*c.Every + c.Round - 1) / c.Round)
}

// plan spreads the rate over peers; addresses is how many each has. All are asked, however many: who isn't can't be guarded.
func (c Config) plan(addresses []int) Plan {
	perTurn := 0
	for _, n := range addresses {
		perTurn += c.perTurn(n)
	}
	every := max(c.Every, time.Duration(perTurn)*time.Second/time.Duration(c.Rate))
	return Plan{Every: every, Round: time.Duration(int64(c.Round) * int64(every) / int64(c.Every))}
}

// Budget is what watching costs a node and how soon it finds out what, with VIPs spread evenly. A node asks as much as it is
// asked.
type Budget struct {
	// Guarded addresses of a node, and Peers that it asks for them.
	Guarded, Peers int
	// Packets sent and received per node and second while all is well: questions and answers, both ways.
	Packets int
	// ARP requests and answers that a port sends per second where all nodes drop echo; with echo there are none.
	ARP int
	// NodeDetection is the longest time from a node's death to the verdict about all its addresses, AddressDetection from the
	// loss of one address on a node that lives. Measured delays of answers stretch each by at most Silence.
	NodeDetection, AddressDetection time.Duration
}

// Budget returns what nodes, each with one NIC, pay for addresses with so many standbys each, and neighbours to watch per node.
// It is computed by the same functions that the core asks by.
func (c Config) Budget(nodes, addresses, standbys, neighbours int) Budget {
	if nodes < 2 || addresses < 1 || standbys < 1 {
		return Budget{}
	}
	guarded := (addresses*min(standbys, nodes-1) + nodes - 1) / nodes
	peers := min(nodes-1, guarded)
	spread := make([]int, peers)
	for i := range guarded {
		spread[i%peers]++
	}
	plan := c.plan(spread)
	perTurn, worst := 0, 0
	for _, n := range spread {
		perTurn += c.perTurn(n)
		worst = max(worst, n)
	}
	perSecond := func(questions int, every time.Duration) int {
		return int((time.Duration(questions)*time.Second + every - 1) / every)
	}
	questions := perSecond(perTurn, plan.Every) + perSecond(neighbours, neighbourEvery)
	return Budget{
		Guarded: guarded, Peers: peers,
		Packets: 4 * questions, ARP: perSecond(2, dumbEvery) + perSecond(2*neighbours, dumbNeighbourEvery),
		NodeDetection: plan.Every + c.Silence, AddressDetection: plan.Round + plan.Every + c.Silence,
	}
}
