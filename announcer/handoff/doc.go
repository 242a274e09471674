// Package handoff keeps established TCP connections to a VIP alive when it moves, beside kube-proxy.
//
// Such a connection has its conntrack entry, by which kube-proxy's translation goes on, on the node that had the VIP when it was
// opened. After a move the new owner copies ("dup") to that node what its own conntrack doesn't know and what opens no connection,
// and drops it here. The old node no longer has the address, but its entry translates the packet as before, and the answer goes to
// the client directly. New connections stay with the new owner.
//
// One nftables table for each family holds a constant number of rules, sets and maps. Between conntrack's lookup and DNAT
// (prerouting, -140), TCP without a pure SYN that conntrack doesn't know, and ICMP errors that belong to no known flow:
//
//	for no VIP of ours (guards)       nothing is done
//	with a TTL that marks a copy      end here: nothing that is a copy is copied again, whatever the maps say
//	from another node's MAC (peers)   end here
//	for a VIP with earlier owners     copied to each of up to four, which a chain of moves leaves, and dropped
//
// A copy circulates for ever where two nodes point at each other and nothing stops it: nothing takes more than the one TTL that the
// copying does. Hence the two guards against loops, of which each alone is enough: copies leave with a TTL that no packet from a
// client comes with, and what comes from a peer's MAC is never handed on. Where a single earlier owner gets copies it may answer
// one that it doesn't know by a reset, as a node that still had the VIP would; one of several drops it.
//
// All elements carry a timeout and are renewed like the addresses: nothing outlives an announcer that has gone but empty tables.
//
// Limits: UDP, SCTP and QUIC aren't handed on. A client more than 46 hops away, or whose packets start with a TTL of 32 and come from
// more than 13 hops away, looks like a copy. What a process on another node of the segment sends to a VIP without that node's own
// kube-proxy isn't handed on. Other data planes than kube-proxy in its nftables and iptables modes have no entry that would serve.
package handoff
