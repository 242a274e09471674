// Package protect keeps a bound VIP from exposing what else listens on the node: only the Service's own ports and ICMP
// reach it.
//
// One nftables table holds a constant number of rules and six sets:
//
//	prerouting (-150: after conntrack's lookup, before DNAT)   to a VIP: ICMP, replies and the ports of the
//	                                                           VIP's Services pass, the rest is dropped
//	input (filter)                                             to a VIP still, so not translated: ICMP, replies
//	                                                           and the ports that the host itself serves
//
// The first chain closes the node's own listeners and its NodePorts, which kube-proxy would translate on any local
// address. The second closes what comes over the loopback interface, which no prerouting DNAT sees, and ports that
// nobody translates (a Service without endpoints). Replies must pass both: a process on the node that connects to a
// VIP which the node holds has that VIP as its source address.
//
// All elements carry a timeout and are renewed like the addresses: nothing outlives an announcer that has gone but
// an empty table.
package protect
