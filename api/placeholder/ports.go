package placeholder

import (
	"cmp"
	"fmt"
	"slices"
	"strconv"
	"strings"
)

// Port is one port that may be reached through a VIP.
type Port struct {
	Protocol string // "tcp", "udp" or "sctp"
	Port     uint16
}

func (p Port) String() string { return p.Protocol + "/" + strconv.Itoa(int(p.Port)) }

// maxPorts bounds what is read from one annotation; Services rarely have more than a handful.
const maxPorts = 1024

// ParsePorts reads "tcp/80,udp/53"; an empty text means none. The result is sorted and has no duplicates.
func ParsePorts(text string) ([]Port, error) {
	fields := splitList(text)
	if len(fields) > maxPorts {
		return nil, fmt.Errorf("%d ports, at most %d are read", len(fields), maxPorts)
	}
	var ports []Port
	for _, field := range fields {
		protocol, number, _ := strings.Cut(field, "/")
		port, err := strconv.ParseUint(number, 10, 16)
		if err != nil || port == 0 {
			return nil, fmt.Errorf("%q is not protocol/port, such as tcp/80", field)
		}
		protocol = strings.ToLower(protocol)
		if protocol != "tcp" && protocol != "udp" && protocol != "sctp" {
			return nil, fmt.Errorf("%q: the protocol must be tcp, udp or sctp", field)
		}
		ports = append(ports, Port{Protocol: protocol, Port: uint16(port)})
	}
	return sortPorts(ports), nil
}

// FormatPorts is the reverse of ParsePorts: sorted, so that equal sets have equal texts.
func FormatPorts(ports []Port) string {
	texts := make([]string, 0, len(ports))
	for _, port := range sortPorts(slices.Clone(ports)) {
		texts = append(texts, port.String())
	}
	return strings.Join(texts, ",")
}

func sortPorts(ports []Port) []Port {
	slices.SortFunc(ports, func(a, b Port) int {
		return cmp.Or(strings.Compare(a.Protocol, b.Protocol), cmp.Compare(a.Port, b.Port))
	})
	return slices.Compact(ports)
}
