package handoff

import (
	"fmt"

	"github.com/google/nftables"
	"github.com/google/nftables/binaryutil"
	"github.com/google/nftables/expr"
	"golang.org/x/sys/unix"
)

// priority lies between conntrack (-200) and DNAT (-100), and behind the table that protects VIPs (-150): what that one
// drops isn't handed on.
const priority = nftables.ChainPriority(-140)

// A copy wears its nature in its TTL (hop limit): nothing on a segment changes that, and no packet that has come to us
// from a client is so old. 16 hops are left to reach a pod.
const (
	// manyTTL is set where several earlier owners get a copy: who doesn't know the flow drops it.
	manyTTL = 16
	// soleTTL is set where only one does: it may refuse what it doesn't know.
	soleTTL = 18
	// The kernel takes 1 off while it copies (net/ipv4/netfilter/nf_dup_ipv4.c); 17 is sole on kernels that don't, too.
	soleTTLArrived = soleTTL - 1
)

// Registers of 4 bytes (include/uapi/linux/netfilter/nf_tables.h): the key begins at the first, what a map says at the ninth.
const (
	regKey   = unix.NFT_REG32_00
	regValue = unix.NFT_REG32_08
)

// TCP flags (RFC 9293 section 3.1) in byte 13 of the header.
const (
	tcpFIN, tcpSYN, tcpRST, tcpACK = 0x01, 0x02, 0x04, 0x10
	tcpFlagsOffset                 = 13
)

// Bits of `ct state` (include/uapi/linux/netfilter/nf_conntrack_tuple_common.h, nf_tables's NFT_CT_STATE).
const ctUnknown = expr.CtStateBitINVALID | expr.CtStateBitNEW

// arphrdEther is the type of Ethernet NICs (include/uapi/linux/if_arp.h).
const arphrdEther = 1

// family is what differs between IPv4 and IPv6.
type family struct {
	v6    bool
	table nftables.TableFamily
	icmp  byte
	// errors are the ICMP types that say a packet didn't get through: destination unreachable, which carries IPv4's
	// "fragmentation needed" (RFC 792), and IPv6's packet too big (RFC 4443).
	errors []byte
	// offsets in the network header.
	saddr, daddr, ttl uint32
	addr              nftables.SetDatatype
	module            string
}

var families = [2]family{
	{false, nftables.TableFamilyIPv4, unix.IPPROTO_ICMP, []byte{3}, 12, 16, 8, nftables.TypeIPAddr, "nft_dup_ipv4"},
	{true, nftables.TableFamilyIPv6, unix.IPPROTO_ICMPV6, []byte{1, 2}, 8, 24, 7, nftables.TypeIP6Addr, "nft_dup_ipv6"},
}

func (f family) len() uint32 { return uint32(addrLen(f.v6)) }

// kind is a role of a set or map; there is one for each family.
type kind uint8

const (
	guards  kind = iota // VIP . interface: copies end here
	peers               // MACs that nothing is handed on from
	slot0               // VIP . interface: earlier owner's address . interface
	slot1               // …
	slot2               // …
	slot3               // …
	used                // VIP: when and how much was handed on, written by the rules
	refused             // VIP: frames that the loop guard dropped, likewise
	flows               // client's address . port . VIP, likewise
	kinds
)

// There is a map for each slot.
var _ = [1]struct{}{}[slot3-slot0+1-Slots]

var kindNames = [kinds]string{"guards", "peers", "slot0", "slot1", "slot2", "slot3", "used", "refused", "flows"}

// slot is the number of a slot's map, or -1.
func (k kind) slot() int {
	if k < slot0 || k > slot3 {
		return -1
	}
	return int(k - slot0)
}

// ours says whether userspace fills the set, and not the rules.
func (k kind) ours() bool { return k < used }

// set describes one set. IDs only have to differ within a transaction.
func (t *Table) set(k kind, f family) *nftables.Set {
	s := &nftables.Set{
		Table: t.table(f), ID: 1 + uint32(k)*2, Name: kindNames[k],
		HasTimeout: true, KeyByteOrder: binaryutil.BigEndian,
	}
	if f.v6 {
		s.ID++
	}
	target := nftables.MustConcatSetType(f.addr, nftables.TypeIFIndex)
	switch k {
	case guards:
		s.KeyType, s.Concatenation = target, true
	case peers:
		s.KeyType = nftables.TypeEtherAddr
	case slot0, slot1, slot2, slot3:
		s.KeyType, s.Concatenation = target, true
		s.IsMap, s.DataType = true, target
	case used, refused:
		s.KeyType, s.Dynamic, s.Size = f.addr, true, maxVIPs
	case flows:
		s.KeyType = nftables.MustConcatSetType(f.addr, nftables.TypeInetService, f.addr)
		s.Concatenation, s.Dynamic, s.Size = true, true, maxFlows
	}
	return s
}

// chain collects the rules of one chain.
type chain struct {
	c *nftables.Conn
	*nftables.Chain
}

func (ch chain) rule(parts ...[]expr.Any) {
	var exprs []expr.Any
	for _, p := range parts {
		exprs = append(exprs, p...)
	}
	ch.c.AddRule(&nftables.Rule{Table: ch.Table, Chain: ch.Chain, Exprs: exprs})
}

// build adds one family's table, sets, chains and rules to a transaction. What is there already stays, and so do the
// sets' elements; rules are replaced. Without counting nothing is remembered of what is handed on.
func (t *Table) build(c *nftables.Conn, f family, counting bool) error {
	table := t.table(f)
	c.AddTable(table)
	for k := range kinds {
		if err := c.AddSet(t.set(k, f), nil); err != nil {
			return fmt.Errorf("describing set %s: %w", kindNames[k], err)
		}
	}
	accept := nftables.ChainPolicyAccept
	pre := chain{c, c.AddChain(&nftables.Chain{
		Name: "prerouting", Table: table, Type: nftables.ChainTypeFilter, Policy: &accept,
		Hooknum: nftables.ChainHookPrerouting, Priority: nftables.ChainPriorityRef(priority),
	})}
	stray := chain{c, c.AddChain(&nftables.Chain{Name: "stray", Table: table})}
	hand := chain{c, c.AddChain(&nftables.Chain{Name: "hand", Table: table})}
	many := chain{c, c.AddChain(&nftables.Chain{Name: "many", Table: table})}
	for _, ch := range []chain{pre, stray, hand, many} {
		c.FlushChain(ch.Chain)
	}

	// What conntrack doesn't know, of a VIP. A packet that is dropped here leaves no trace in conntrack either: an entry
	// is confirmed only behind the last hook (net/netfilter/nf_conntrack_core.c, __nf_conntrack_confirm).
	pre.rule(t.l4proto(unix.IPPROTO_TCP), unknownTo(ctUnknown), noPureSYN(), t.lookup(guards, f), verdict(expr.VerdictGoto, "stray"))
	for _, typ := range f.errors {
		pre.rule(t.l4proto(f.icmp), unknownTo(expr.CtStateBitINVALID), transportByte(0, expr.CmpOpEq, typ), t.lookup(guards, f),
			verdict(expr.VerdictGoto, "stray"))
	}

	// The loop guard: nothing that is a copy is copied again, whatever the maps say.
	stray.rule(t.l4proto(unix.IPPROTO_TCP), unknownTo(expr.CtStateBitNEW), f.ttlIs(expr.CmpOpGte, soleTTLArrived), f.ttlIs(expr.CmpOpLte, soleTTL),
		verdict(expr.VerdictAccept, ""))
	// Counting and dropping are rules of their own, as a count that can't be kept ends its rule.
	if counting {
		stray.rule(f.ttlIs(expr.CmpOpLte, soleTTL), t.tally(refused, f))
	}
	stray.rule(f.ttlIs(expr.CmpOpLte, soleTTL), verdict(expr.VerdictDrop, ""))
	stray.rule(t.mapped(slot0, f), verdict(expr.VerdictGoto, "hand"))

	if counting {
		hand.rule(t.fromPeer(f), t.tally(refused, f))
	}
	hand.rule(t.fromPeer(f), verdict(expr.VerdictDrop, ""))
	if counting {
		hand.rule(t.tally(used, f))
		hand.rule(t.l4proto(unix.IPPROTO_TCP), t.tallyFlow(f))
	}
	// What conntrack takes for invalid may belong to a connection of this very node and be out of its window, as moves reorder packets:
	// a sole earlier owner that refused it would reset what lives. One that nobody knows is new, unless conntrack is told to be strict
	// (nf_conntrack_tcp_loose=0); then it isn't reset but times out.
	hand.rule(unknownTo(expr.CtStateBitINVALID), verdict(expr.VerdictGoto, "many"))
	hand.rule(t.mapped(slot1, f), verdict(expr.VerdictGoto, "many"))
	hand.rule(f.setTTL(soleTTL))
	hand.rule(t.mapped(slot0, f), f.dup())
	hand.rule(verdict(expr.VerdictDrop, ""))

	many.rule(f.setTTL(manyTTL))
	for _, k := range []kind{slot0, slot1, slot2, slot3} {
		many.rule(t.mapped(k, f), f.dup())
	}
	many.rule(verdict(expr.VerdictDrop, ""))
	return nil
}

func verdict(kind expr.VerdictKind, chain string) []expr.Any {
	return []expr.Any{&expr.Verdict{Kind: kind, Chain: chain}}
}

func (t *Table) l4proto(proto byte) []expr.Any {
	return []expr.Any{
		&expr.Meta{Key: expr.MetaKeyL4PROTO, Register: regKey},
		&expr.Cmp{Op: expr.CmpOpEq, Register: regKey, Data: []byte{proto}},
	}
}

// unknownTo is `ct state` with any of the bits. Naming conntrack also has it reassemble fragments before we look.
func unknownTo(bits uint32) []expr.Any {
	return []expr.Any{
		&expr.Ct{Key: expr.CtKeySTATE, Register: regKey},
		&expr.Bitwise{
			SourceRegister: regKey, DestRegister: regKey, Len: 4,
			Mask: binaryutil.NativeEndian.PutUint32(bits), Xor: make([]byte, 4),
		},
		&expr.Cmp{Op: expr.CmpOpNeq, Register: regKey, Data: make([]byte, 4)},
	}
}

// noPureSYN is tcp flags & (fin|syn|rst|ack) != syn: not the first packet of a connection.
func noPureSYN() []expr.Any {
	return []expr.Any{
		&expr.Payload{DestRegister: regKey, Base: expr.PayloadBaseTransportHeader, Offset: tcpFlagsOffset, Len: 1},
		&expr.Bitwise{
			SourceRegister: regKey, DestRegister: regKey, Len: 1,
			Mask: []byte{tcpFIN | tcpSYN | tcpRST | tcpACK}, Xor: []byte{0},
		},
		&expr.Cmp{Op: expr.CmpOpNeq, Register: regKey, Data: []byte{tcpSYN}},
	}
}

func transportByte(offset uint32, op expr.CmpOp, b byte) []expr.Any {
	return []expr.Any{
		&expr.Payload{DestRegister: regKey, Base: expr.PayloadBaseTransportHeader, Offset: offset, Len: 1},
		&expr.Cmp{Op: op, Register: regKey, Data: []byte{b}},
	}
}

func (f family) ttlIs(op expr.CmpOp, ttl byte) []expr.Any {
	return []expr.Any{
		&expr.Payload{DestRegister: regKey, Base: expr.PayloadBaseNetworkHeader, Offset: f.ttl, Len: 1},
		&expr.Cmp{Op: op, Register: regKey, Data: []byte{ttl}},
	}
}

func (f family) setTTL(ttl byte) []expr.Any {
	write := &expr.Payload{
		OperationType: expr.PayloadWrite, SourceRegister: regKey, Base: expr.PayloadBaseNetworkHeader, Offset: f.ttl, Len: 1,
	}
	if !f.v6 {
		write.CsumType, write.CsumOffset = expr.CsumTypeInet, 10
	}
	return []expr.Any{&expr.Immediate{Register: regKey, Data: []byte{ttl}}, write}
}

// key loads daddr . iif.
func (f family) key() []expr.Any {
	return []expr.Any{
		&expr.Payload{DestRegister: regKey, Base: expr.PayloadBaseNetworkHeader, Offset: f.daddr, Len: f.len()},
		&expr.Meta{Key: expr.MetaKeyIIF, Register: regKey + f.len()/4},
	}
}

func (t *Table) lookup(k kind, f family) []expr.Any {
	s := t.set(k, f)
	return append(f.key(), &expr.Lookup{SourceRegister: regKey, SetName: s.Name, SetID: s.ID})
}

// mapped loads what a slot says, and ends the rule where it says nothing.
func (t *Table) mapped(k kind, f family) []expr.Any {
	s := t.set(k, f)
	return append(f.key(), &expr.Lookup{SourceRegister: regKey, DestRegister: regValue, IsDestRegSet: true, SetName: s.Name, SetID: s.ID})
}

// dup sends a copy to what mapped has loaded. The copy is routed to that address out of that interface, and the neighbour
// table says to which MAC.
func (f family) dup() []expr.Any {
	return []expr.Any{&expr.Dup{RegAddr: regValue, RegDev: regValue + f.len()/4, IsRegDevSet: true}}
}

// fromPeer is ether saddr @peers.
func (t *Table) fromPeer(f family) []expr.Any {
	s := t.set(peers, f)
	return []expr.Any{
		&expr.Meta{Key: expr.MetaKeyIIFTYPE, Register: regKey},
		&expr.Cmp{Op: expr.CmpOpEq, Register: regKey, Data: binaryutil.NativeEndian.PutUint16(arphrdEther)},
		&expr.Payload{DestRegister: regKey, Base: expr.PayloadBaseLLHeader, Offset: 6, Len: 6},
		&expr.Lookup{SourceRegister: regKey, SetName: s.Name, SetID: s.ID},
	}
}

// tally counts the packet for its VIP and remembers when it was. A full set only loses the count, but ends the rule.
func (t *Table) tally(k kind, f family) []expr.Any {
	s := t.set(k, f)
	return []expr.Any{
		&expr.Payload{DestRegister: regKey, Base: expr.PayloadBaseNetworkHeader, Offset: f.daddr, Len: f.len()},
		&expr.Dynset{
			SrcRegKey: regKey, SetName: s.Name, SetID: s.ID, Operation: unix.NFT_DYNSET_OP_UPDATE,
			Timeout: t.memory(), Exprs: []expr.Any{&expr.Counter{}},
		},
	}
}

// tallyFlow remembers the packet's flow. The set has a size, so that strays can't fill the memory.
func (t *Table) tallyFlow(f family) []expr.Any {
	s := t.set(flows, f)
	port := regKey + f.len()/4
	return []expr.Any{
		&expr.Payload{DestRegister: regKey, Base: expr.PayloadBaseNetworkHeader, Offset: f.saddr, Len: f.len()},
		&expr.Payload{DestRegister: port, Base: expr.PayloadBaseTransportHeader, Offset: 0, Len: 2},
		&expr.Payload{DestRegister: port + 1, Base: expr.PayloadBaseNetworkHeader, Offset: f.daddr, Len: f.len()},
		&expr.Dynset{SrcRegKey: regKey, SetName: s.Name, SetID: s.ID, Operation: unix.NFT_DYNSET_OP_UPDATE, Timeout: t.memory()},
	}
}
