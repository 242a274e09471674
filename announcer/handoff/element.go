package handoff

import (
	"encoding/binary"
	"net/netip"
	"strconv"
	"strings"
	"time"

	"github.com/google/nftables"
)

// maxName bounds the node names that an element remembers: its user data has room for 256 bytes
// (include/uapi/linux/netfilter/nf_tables.h, NFT_USERDATA_MAXLEN).
const maxName = 200

// heldComment marks the guard of a VIP that this node held.
const heldComment = "held"

// guardKey is VIP . interface as the kernel keeps it: the address in network byte order, the index in the machine's.
func guardKey(vip netip.Addr, ifindex int) []byte {
	return binary.NativeEndian.AppendUint32(vip.AsSlice(), uint32(ifindex))
}

// parseGuardKey is the inverse of guardKey; ok is false for what isn't of this family.
func parseGuardKey(b []byte, v6 bool) (vip netip.Addr, ifindex int, ok bool) {
	n := addrLen(v6)
	if len(b) != n+4 {
		return netip.Addr{}, 0, false
	}
	vip, ok = netip.AddrFromSlice(b[:n])
	return vip, int(binary.NativeEndian.Uint32(b[n:])), ok
}

func addrLen(v6 bool) int {
	if v6 {
		return 16
	}
	return 4
}

// comment remembers when an entry began and was last used, in seconds of the clock since boot ("0" for never), and for whom.
func (e Entry) comment(boot time.Duration, now time.Time) string {
	name := e.Node
	if len(name) > maxName {
		name = ""
	}
	seconds := func(at time.Time) string {
		if at.IsZero() {
			return "0"
		}
		return strconv.FormatInt(int64((boot-now.Sub(at))/time.Second), 10)
	}
	return seconds(e.Started) + " " + seconds(e.Used) + " " + name
}

// remember is the inverse of comment. What can't be read begins now.
func (e *Entry) remember(comment string, boot time.Duration, now time.Time) {
	e.Started = now
	started, rest, _ := strings.Cut(comment, " ")
	used, name, ok := strings.Cut(rest, " ")
	if !ok {
		name, used = rest, "0" // written by a version that didn't remember the use
	}
	e.Node = name
	if at, err := strconv.ParseInt(started, 10, 64); err == nil {
		e.Started = now.Add(time.Duration(at)*time.Second - boot)
	}
	if at, err := strconv.ParseInt(used, 10, 64); err == nil && at != 0 {
		e.Used = now.Add(time.Duration(at)*time.Second - boot)
	}
}

// elements converts a state to what one set holds.
func (t *Table) elements(k kind, f family, s State) []nftables.SetElement {
	var list []nftables.SetElement
	switch {
	case k == guards:
		for _, g := range s.Guards {
			if g.VIP.Is6() == f.v6 {
				el := nftables.SetElement{Key: guardKey(g.VIP, g.Interface), Timeout: t.opts.Timeout}
				if g.Held {
					el.Comment = heldComment
				}
				list = append(list, el)
			}
		}
	case k == peers:
		for _, mac := range s.Peers {
			list = append(list, nftables.SetElement{Key: mac[:], Timeout: t.opts.Timeout})
		}
	case k.slot() >= 0:
		boot, now := t.boot(), time.Now()
		for _, e := range s.Entries {
			if e.VIP.Is6() == f.v6 && e.Slot == k.slot() {
				list = append(list, nftables.SetElement{
					Key: guardKey(e.VIP, e.Interface), Val: guardKey(e.To, e.Interface),
					Timeout: t.opts.Timeout, Comment: e.comment(boot, now),
				})
			}
		}
	}
	return list
}

// parse adds what one set holds to a state.
func (t *Table) parse(k kind, f family, list []nftables.SetElement, s *State) {
	boot, now := t.boot(), time.Now()
	for _, el := range list {
		switch {
		case k == guards:
			if vip, ifindex, ok := parseGuardKey(el.Key, f.v6); ok {
				s.Guards = append(s.Guards, Guard{VIP: vip, Interface: ifindex, Held: el.Comment == heldComment})
			}
		case k == peers:
			if len(el.Key) == len(MAC{}) {
				s.Peers = append(s.Peers, MAC(el.Key))
			}
		case k.slot() >= 0:
			vip, ifindex, ok := parseGuardKey(el.Key, f.v6)
			to, _, toOK := parseGuardKey(el.Val, f.v6)
			if ok && toOK {
				e := Entry{VIP: vip, Interface: ifindex, Slot: k.slot(), To: to}
				e.remember(el.Comment, boot, now)
				s.Entries = append(s.Entries, e)
			}
		}
	}
}
