// Package traffic measures what a node carries for its VIPs: bytes, packets and new connections of each, counted by the kernel.
//
// One nftables table holds a constant number of rules and three sets for each family, whose elements, one per VIP that this node has
// bound, carry a counter each:
//
//	prerouting (-145: before DNAT)      to a VIP            counted in "in"; its first packet of a connection, also in "new"
//	postrouting (150: after NAT)        from a VIP          counted in "out"
//
// Before kube-proxy's DNAT the destination is still the VIP. A reply leaves the backend with the backend's address, and conntrack puts
// the VIP in its place while it passes postrouting (net/netfilter/nf_nat_core.c, at priority 100): from then on it can be told whose it
// is, whether the backend is a process, a pod of this node or, by masquerading, one of another node.
//
// The first chain stands behind the protection (package protect, -150), as what that drops is no traffic of the Service, and before the
// handoff (package handoff, -140): what is handed on to an earlier owner came in here and is counted once, here. The earlier owner
// hasn't bound the VIP, so it has no element for it, and neither copies nor the answers that it sends count.
//
// ICMP isn't counted: every standby pings its VIPs. Packets are those that the kernel handles: what a NIC has merged (GRO) is one, and so
// is what it has yet to cut (TSO).
//
// All elements carry a timeout: nothing outlives an announcer that has gone but an empty table. Renewing an element makes it anew, and its
// counter with it, so they are read right before; what comes in between isn't counted.
package traffic
