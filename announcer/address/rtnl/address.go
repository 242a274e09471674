package rtnl

import (
	"encoding/binary"
	"errors"
	"fmt"
	"net/netip"

	"github.com/mdlayher/netlink"
	"golang.org/x/sys/unix"
)

// Forever is the lifetime of an address that doesn't expire (include/net/addrconf.h, INFINITY_LIFE_TIME).
const Forever = ^uint32(0)

// ifaProto is IFA_PROTO of include/uapi/linux/if_addr.h, kernel 5.18. Older kernels ignore the attribute when it is
// sent and never return it.
const ifaProto = 11

// ifAddrmsgLen is the size of struct ifaddrmsg.
const ifAddrmsgLen = 8

// errShort says that a message ends before its fixed header does.
var errShort = errors.New("message is shorter than its header")

// Address is one address of one interface as the kernel reports it.
type Address struct {
	// Index is the interface's index.
	Index int
	// Prefix is the address itself (not masked) with its prefix length.
	Prefix netip.Prefix
	// Scope is RT_SCOPE_UNIVERSE (0) for global addresses.
	Scope uint8
	// Flags are the IFA_F_* bits.
	Flags uint32
	// Proto is IFA_PROTO, 0 where the kernel or whoever added the address doesn't set it.
	Proto uint8
	// Valid and Preferred are the remaining lifetimes in seconds, rounded up by the kernel; Forever has no end.
	Valid, Preferred uint32
}

// Addr is the address without its length.
func (a Address) Addr() netip.Addr { return a.Prefix.Addr() }

// Full says that the prefix length is that of a single address: /32 or /128.
func (a Address) Full() bool { return a.Prefix.IsSingleIP() }

// ParseAddress decodes the payload of RTM_NEWADDR and RTM_DELADDR. It refuses messages without an address and with
// impossible lengths, and ignores attributes it doesn't know.
func ParseAddress(data []byte) (Address, error) {
	if len(data) < ifAddrmsgLen {
		return Address{}, fmt.Errorf("parsing address: %w", errShort)
	}
	family, bits := data[0], int(data[1])
	a := Address{
		Flags:     uint32(data[2]),
		Scope:     data[3],
		Index:     int(int32(binary.NativeEndian.Uint32(data[4:8]))),
		Valid:     Forever,
		Preferred: Forever,
	}
	ad, err := netlink.NewAttributeDecoder(data[ifAddrmsgLen:])
	if err != nil {
		return Address{}, fmt.Errorf("parsing address attributes: %w", err)
	}
	var local, address []byte
	for ad.Next() {
		switch ad.Type() {
		case unix.IFA_LOCAL:
			local = ad.Bytes()
		case unix.IFA_ADDRESS:
			address = ad.Bytes()
		case unix.IFA_FLAGS:
			a.Flags = ad.Uint32()
		case ifaProto:
			a.Proto = ad.Uint8()
		case unix.IFA_CACHEINFO:
			// struct ifa_cacheinfo: preferred, valid, created, updated.
			if b := ad.Bytes(); len(b) >= 8 {
				a.Preferred = binary.NativeEndian.Uint32(b[0:4])
				a.Valid = binary.NativeEndian.Uint32(b[4:8])
			}
		}
	}
	if err := ad.Err(); err != nil {
		return Address{}, fmt.Errorf("parsing address attributes: %w", err)
	}
	// IPv4 sends both, equal unless the interface is point to point; IPv6 sends IFA_LOCAL only for a peer address.
	raw := local
	if raw == nil {
		raw = address
	}
	ip, ok := netip.AddrFromSlice(raw)
	if !ok || (family == unix.AF_INET) != ip.Is4() || (family != unix.AF_INET && family != unix.AF_INET6) {
		return Address{}, fmt.Errorf("parsing address: %d bytes of address in family %d", len(raw), family)
	}
	a.Prefix = netip.PrefixFrom(ip, bits)
	if !a.Prefix.IsValid() {
		return Address{}, fmt.Errorf("parsing address: prefix length %d for %s", bits, ip)
	}
	return a, nil
}

// marshal encodes the address as a request's payload. Deletions carry neither lifetimes nor the owner mark: the
// kernel finds the address by index, length and value.
func (a Address) marshal(withState bool) ([]byte, error) {
	ip := a.Addr()
	family := uint8(unix.AF_INET)
	if ip.Is6() {
		family = unix.AF_INET6
	}
	msg := make([]byte, ifAddrmsgLen)
	msg[0], msg[1], msg[2], msg[3] = family, uint8(a.Prefix.Bits()), uint8(a.Flags), a.Scope
	binary.NativeEndian.PutUint32(msg[4:8], uint32(a.Index))

	ae := netlink.NewAttributeEncoder()
	raw := ip.AsSlice()
	ae.Bytes(unix.IFA_LOCAL, raw)
	ae.Bytes(unix.IFA_ADDRESS, raw)
	if withState {
		ae.Uint32(unix.IFA_FLAGS, a.Flags)
		info := make([]byte, 16)
		binary.NativeEndian.PutUint32(info[0:4], a.Preferred)
		binary.NativeEndian.PutUint32(info[4:8], a.Valid)
		ae.Bytes(unix.IFA_CACHEINFO, info)
		if a.Proto != 0 {
			ae.Uint8(ifaProto, a.Proto)
		}
	}
	attrs, err := ae.Encode()
	if err != nil {
		return nil, fmt.Errorf("encoding address %s: %w", a.Prefix, err)
	}
	return append(msg, attrs...), nil
}
