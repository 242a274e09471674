package address

import (
	"net/netip"
	"time"

	"golang.org/x/sys/unix"

	"evenkeel.io/evenkeel/announcer/address/rtnl"
)

// Mark is the value of IFA_PROTO that our addresses carry ("E"). The kernel itself uses 1 to 3
// (include/uapi/linux/if_addr.h), and like for RTPROT_* the low numbers are those that daemons register.
const Mark = 0x45

// flags of a VIP. The kernel drops NODAD for IPv4.
const vipFlags = unix.IFA_F_NOPREFIXROUTE | unix.IFA_F_NODAD

// vip is the address as it is bound.
func vip(addr netip.Addr, index int, lifetime time.Duration) rtnl.Address {
	return rtnl.Address{
		Index:  index,
		Prefix: netip.PrefixFrom(addr, addr.BitLen()),
		Flags:  vipFlags,
		Proto:  Mark,
		Valid:  uint32(lifetime / time.Second),
	}
}

// Marked says that the address carries our owner mark.
func Marked(a rtnl.Address) bool { return a.Proto == Mark }

// Shaped says that the address looks like a VIP of ours: on kernels before 5.18, which drop the mark, that is all
// there is to tell. It is also true of marked ones.
func Shaped(a rtnl.Address) bool {
	return a.Full() && a.Flags&unix.IFA_F_NOPREFIXROUTE != 0 &&
		a.Preferred == 0 && a.Valid != rtnl.Forever && (a.Proto == 0 || a.Proto == Mark)
}

// Ours says that the address is bound by an announcer: marked, or of the shape where there is no mark.
func Ours(a rtnl.Address) bool { return Marked(a) || Shaped(a) }

// Own says that the address is one of the node's own global ones and usable: not ours, and past duplicate address
// detection.
func Own(a rtnl.Address) bool {
	const unusable = unix.IFA_F_TENTATIVE | unix.IFA_F_DADFAILED
	return a.Scope == unix.RT_SCOPE_UNIVERSE && !Ours(a) && !a.Addr().IsLoopback() &&
		(a.Flags&unusable == 0 || a.Flags&unix.IFA_F_OPTIMISTIC != 0)
}
