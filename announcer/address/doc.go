// Package address binds virtual IPs to network interfaces in a way that a dead, hung or late announcer can't hold them.
//
// A VIP is bound as /32 or /128 with a short valid lifetime that is renewed all the time: when the renewals end, the
// kernel removes the address. It is deprecated (preferred lifetime 0), so that IPv6 doesn't choose it as a source, has
// no prefix route, skips duplicate address detection (our own probe is that) and carries an owner mark (IFA_PROTO).
//
// The danger is the renewal itself: the kernel re-creates an address that it has already removed, whatever flags the
// request carries. A late renewal would steal the VIP back from whoever has it by then. So each VIP has a [Lease],
// which says until when the kernel provably still has the address; nothing is sent after that, the clock is read again
// after the kernel's answer, and an answer that is late has the address deleted at once. See [Binder].
//
// # Order
//
// kubelet (without --node-ip), CNI plugins and IPv4's source selection take the first global address of an interface,
// deprecated or not. IPv4 puts a new /32 behind what is there, so a VIP is never put back before the interface's own
// address is there, and put behind it again when that one came later. IPv6 inserts new addresses in front of older ones
// (net/ipv6/addrconf.c, ipv6_link_dev_addr): a VIP stands before the interface's own address there whatever is done,
// short of removing and adding the node's own address. Source selection avoids it (RFC 6724 rule 3); what takes the
// first IPv6 address of a list needs to be told which one to use.
package address
