// Package rebalance says which VIPs to move so that the nodes carry even loads again. Nothing here knows of Kubernetes or of time:
// Classify and Plan are functions of a Snapshot, and the same snapshot always gives the same answer.
//
// # What is even
//
// A node's load is the weight of the VIPs that are active there, and it counts in proportion to the node's capacity. Nodes are
// compared within an area: nodes that some VIP may be on are in one, and so are the nodes of two VIPs that share a node. The spread of
// an area is the weight by which its emptiest node falls short of the level of its fullest; with equal capacities that is the largest
// load less the smallest. An area is even when its spread is at most the largest weight of a VIP in it (1, when all weigh 1): then
// no move of that weight would help. Nodes that take no VIPs for now (closed) aren't counted as empty, but may be the fullest.
//
// # Which moves
//
// Plan looks for the smallest set of moves that makes an uneven area even. It never moves a VIP that is held or moves one twice, and
// goes only where a VIP is allowed. Among smallest sets it prefers moves to a node that has the VIP's standby, which are a swap of
// roles, then VIPs with little traffic (by powers of ten), then the order of names.
//
// Where all VIPs of an area weigh the same, this is a flow of least cost, and exact: each VIP is a unit that stays for nothing
// or moves at its price, and each node takes units at levels that rise with its load. Where even can't be reached for what VIPs are
// allowed, the flow comes as near as possible: no other assignment has a smaller largest load, or a smaller second one, and so on.
// Where weights differ the question is a form of bin packing. A greedy plan moves what lessens the largest difference most, at first
// only to levels that a node of an even area can have, then, if it has to, a VIP twice (which becomes one move) or to higher levels; a
// lower bound often shows that nothing shorter exists; otherwise, in areas of up to some 20,000 pairs of a VIP and a node, a search
// looks for a shorter plan, and gives up after a fixed amount of work rather than a time, so that the answer doesn't depend on the
// machine. In a larger area where VIPs of different weights are allowed on few nodes each, a plan may end short of even, and the
// next one may come nearer.
//
// # That it ends
//
// Every plan leaves each area that it moves VIPs in with a better outcome than before: compared as above, first by the largest load
// in proportion to capacity, then by what follows it. So planning and carrying plans out never comes back to where it was, and ends
// with a plan without moves. There are even outcomes that aren't better, if seldom: where the fullest node's VIPs are held, the
// emptiest node may be lifted at the price of another one's becoming nearly as full. Those aren't planned; the area stays uneven.
//
// # In which order
//
// The moves of a plan come in an order in which none of them raises the highest level in its area, so whoever carries them out may
// stop after any of them. After a swap the old active node has the standby. Where the other standbys should be is not planned
// here: package standby re-spreads them once the actives are in their places.
package rebalance
