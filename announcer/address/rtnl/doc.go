// Package rtnl speaks the part of rtnetlink the announcer needs: IPv4 and IPv6 addresses with an owner mark, and the
// state of links. It exists beside github.com/vishvananda/netlink for two reasons: that library neither sends nor
// parses IFA_PROTO, the attribute that marks an address as ours, and it sends one request per system call, while
// renewals of hundreds of addresses go out in a few batches here.
//
// Nothing in this package knows about virtual IPs or leases.
package rtnl
