package rtnl

import (
	"encoding/binary"
	"fmt"
	"net"

	"github.com/mdlayher/netlink"
	"golang.org/x/sys/unix"
)

// ifInfomsgLen is the size of struct ifinfomsg.
const ifInfomsgLen = 16

// Operational states of RFC 2863 as IFLA_OPERSTATE reports them (include/uapi/linux/if.h).
const (
	operUnknown = 0
	operUp      = 6
)

// Link is one network interface as the kernel reports it.
type Link struct {
	Index int
	Name  string
	MAC   net.HardwareAddr
	// Up is the administrative state (IFF_UP).
	Up bool
	// Carrier says that frames can be sent and received: operational state up, or unknown with a carrier, which is
	// how drivers without operational states report a working link.
	Carrier bool
	// Loopback is IFF_LOOPBACK.
	Loopback bool
	// Port: it belongs to another interface, to which its frames go: to a bridge, a bond, a team. Members of a VRF are none, as
	// they keep their own addresses.
	Port bool
	// Master is the index of the interface that it belongs to, 0 for none.
	Master int
}

// kindVRF is what IFLA_INFO_SLAVE_KIND says of a member of a VRF (drivers/net/vrf.c).
const kindVRF = "vrf"

// parseLink decodes the payload of RTM_NEWLINK and RTM_DELLINK. ok is false for messages of another family: a bridge
// port that leaves its bridge is reported as a deleted link of family AF_BRIDGE and is not gone.
func parseLink(data []byte) (l Link, ok bool, err error) {
	if len(data) < ifInfomsgLen {
		return Link{}, false, fmt.Errorf("parsing link: %w", errShort)
	}
	if data[0] != unix.AF_UNSPEC {
		return Link{}, false, nil
	}
	flags := binary.NativeEndian.Uint32(data[8:12])
	l.Index = int(int32(binary.NativeEndian.Uint32(data[4:8])))
	l.Up = flags&unix.IFF_UP != 0
	l.Loopback = flags&unix.IFF_LOOPBACK != 0
	oper, carrier := uint8(operUnknown), flags&unix.IFF_LOWER_UP != 0
	master, member := uint32(0), ""
	ad, err := netlink.NewAttributeDecoder(data[ifInfomsgLen:])
	if err != nil {
		return Link{}, false, fmt.Errorf("parsing link attributes: %w", err)
	}
	for ad.Next() {
		switch ad.Type() {
		case unix.IFLA_IFNAME:
			l.Name = ad.String()
		case unix.IFLA_ADDRESS:
			l.MAC = net.HardwareAddr(append([]byte(nil), ad.Bytes()...))
		case unix.IFLA_OPERSTATE:
			oper = ad.Uint8()
		case unix.IFLA_MASTER:
			master = ad.Uint32()
		case unix.IFLA_LINKINFO:
			ad.Nested(func(info *netlink.AttributeDecoder) error {
				for info.Next() {
					if info.Type() == unix.IFLA_INFO_SLAVE_KIND {
						member = info.String()
					}
				}
				return nil
			})
		}
	}
	if err := ad.Err(); err != nil {
		return Link{}, false, fmt.Errorf("parsing link attributes: %w", err)
	}
	l.Carrier = l.Up && carrier && (oper == operUp || oper == operUnknown)
	l.Master = int(master)
	l.Port = master != 0 && member != kindVRF
	return l, true, nil
}
