// Package ipam decides which addresses a Service is given. It is pure: pools and claims go in, addresses or a refusal that
// says why come out. It knows no API, no clock and no lock; package ledger holds these.
package ipam

import (
	"errors"
	"fmt"
	"net/netip"
	"strings"

	"go4.org/netipx"
)

// errReversed marks a range whose end lies before its start.
var errReversed = errors.New("the range's end lies before its start")

// ParseEntry reads one entry of a pool: a prefix ("192.0.2.0/28"), a range ("192.0.2.10-192.0.2.50") or an address. All
// addresses of a prefix count, the first and the last too: the prefix of a pool is rarely the subnet of the segment (the
// subnet's own network and broadcast addresses are kept out by claims, see KindSubnet). The result never has zones or
// IPv4-mapped addresses, and both of its ends are of one family.
func ParseEntry(entry string) (netipx.IPRange, error) {
	if strings.Contains(entry, "/") {
		prefix, err := netip.ParsePrefix(entry)
		if err != nil {
			return netipx.IPRange{}, fmt.Errorf("%q is no prefix", entry)
		}
		if prefix != prefix.Masked() {
			return netipx.IPRange{}, fmt.Errorf("%q has host bits set: write %s", entry, prefix.Masked())
		}
		if prefix.Addr().Is4In6() {
			return netipx.IPRange{}, fmt.Errorf("%q is IPv4-mapped: write it as IPv4", entry)
		}
		return netipx.RangeOfPrefix(prefix), nil
	}
	first, last, isRange := strings.Cut(entry, "-")
	from, err := parseAddr(first)
	if err != nil {
		return netipx.IPRange{}, err
	}
	if !isRange {
		return netipx.IPRangeFrom(from, from), nil
	}
	to, err := parseAddr(last)
	switch {
	case err != nil:
		return netipx.IPRange{}, err
	case from.Is4() != to.Is4():
		return netipx.IPRange{}, fmt.Errorf("%q mixes families", entry)
	case to.Less(from):
		return netipx.IPRange{}, fmt.Errorf("%q: %w", entry, errReversed)
	}
	return netipx.IPRangeFrom(from, to), nil
}

func parseAddr(text string) (netip.Addr, error) {
	addr, err := netip.ParseAddr(text)
	if err != nil {
		return netip.Addr{}, fmt.Errorf("%q is no address", text)
	}
	if addr.Zone() != "" || addr.Is4In6() {
		return netip.Addr{}, fmt.Errorf("%q is not in canonical form", text)
	}
	return addr, nil
}

// neverVIPs are the blocks of which placeholder.Announceable refuses every address. They are taken out of entries that
// reach over them, so that an allocation can never be one the announcers refuse.
var neverVIPs = func() *netipx.IPSet {
	var b netipx.IPSetBuilder
	for _, block := range []string{
		"0.0.0.0/8", "127.0.0.0/8", "169.254.0.0/16", "224.0.0.0/3", // RFC 6890
		"::/128", "::1/128", "::ffff:0:0/96", "fe80::/10", "ff00::/8", // RFC 4291
	} {
		b.AddPrefix(netip.MustParsePrefix(block))
	}
	set, err := b.IPSet()
	if err != nil { // constants only
		panic(err)
	}
	return set
}()

// buggy says whether old clients may refuse the address: IPv4, ending in .0 or .255.
func buggy(addr netip.Addr) bool {
	if !addr.Is4() {
		return false
	}
	last := addr.As4()[3]
	return last == 0 || last == 255
}
