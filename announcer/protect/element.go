package protect

import (
	"encoding/binary"
	"maps"
	"net/netip"
	"slices"
	"time"

	"github.com/google/nftables"
)

// kind is a role of a set; there is one for each family.
type kind uint8

const (
	vips  kind = iota // addresses that are VIPs
	ports             // address, protocol and port of a Service
	local             // the same, served by the host itself
	kinds
)

var kindNames = [kinds]string{"vips", "ports", "local"}

// element is a member of one of the sets. Proto and port are zero in vips.
type element struct {
	kind  kind
	addr  netip.Addr
	proto Proto
	port  uint16
}

// elements lists what an entry needs.
func (e Entry) elements() []element {
	list := []element{{kind: vips, addr: e.Addr}}
	for _, p := range e.Ports {
		list = append(list, element{ports, e.Addr, p.Proto, p.Port})
		if e.Local {
			list = append(list, element{local, e.Addr, p.Proto, p.Port})
		}
	}
	return list
}

// key is the element as the kernel stores it: each part padded to a register of 4 bytes.
func (e element) key() []byte {
	b := e.addr.AsSlice()
	if e.kind == vips {
		return b
	}
	b = append(b, byte(e.proto), 0, 0, 0)
	b = binary.BigEndian.AppendUint16(b, e.port)
	return append(b, 0, 0)
}

// parseKey is the inverse of key; ok is false for keys of another layout.
func parseKey(k kind, v6 bool, b []byte) (e element, ok bool) {
	n := 4
	if v6 {
		n = 16
	}
	if k != vips {
		n += 8
	}
	if len(b) != n {
		return element{}, false
	}
	e.kind = k
	if k != vips {
		tail := b[n-8:]
		e.proto, e.port = Proto(tail[0]), binary.BigEndian.Uint16(tail[4:6])
		b = b[:n-8]
	}
	e.addr, ok = netip.AddrFromSlice(b)
	return e, ok
}

// setElements converts to the library's form.
func setElements(list []element, timeout time.Duration) []nftables.SetElement {
	out := make([]nftables.SetElement, len(list))
	for i, e := range list {
		out[i] = nftables.SetElement{Key: e.key(), Timeout: timeout}
	}
	return out
}

// unit is all that changes for one address. It is applied as a whole or not at all.
type unit struct {
	addr     netip.Addr
	add, del []element
}

func (u unit) size() int { return len(u.add) + len(u.del) }

// diff compares what should be with what is, by address.
func diff(want, have map[element]struct{}) []unit {
	units := map[netip.Addr]*unit{}
	of := func(e element) *unit {
		if units[e.addr] == nil {
			units[e.addr] = &unit{addr: e.addr}
		}
		return units[e.addr]
	}
	for e := range want {
		if _, ok := have[e]; !ok {
			u := of(e)
			u.add = append(u.add, e)
		}
	}
	for e := range have {
		if _, ok := want[e]; !ok {
			u := of(e)
			u.del = append(u.del, e)
		}
	}
	var out []unit
	for _, addr := range slices.SortedFunc(maps.Keys(units), netip.Addr.Compare) {
		out = append(out, *units[addr])
	}
	return out
}
