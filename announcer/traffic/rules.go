package traffic

import (
	"github.com/google/nftables"
	"github.com/google/nftables/binaryutil"
	"github.com/google/nftables/expr"
	"golang.org/x/sys/unix"
)

const (
	// prePriority lies behind the table that protects VIPs (-150) and before the one that hands on connections (-140).
	prePriority = nftables.ChainPriority(-145)
	// postPriority lies behind conntrack's translation of addresses at the end of a packet's way (NF_IP_PRI_NAT_SRC, 100).
	postPriority = nftables.ChainPriority(150)
)

// reg is the register in which all comparisons are made (include/uapi/linux/netfilter/nf_tables.h).
const reg = unix.NFT_REG_1

const (
	// ctConfirmed is set in `ct status` from a connection's second packet on
	// (include/uapi/linux/netfilter/nf_conntrack_common.h, IPS_CONFIRMED).
	ctConfirmed = 1 << 3
	// TCP flags (RFC 9293 section 3.1) in byte 13 of the header.
	tcpFIN, tcpSYN, tcpRST, tcpACK = 0x01, 0x02, 0x04, 0x10
	tcpFlagsOffset                 = 13
)

// family is what differs between IPv4 and IPv6.
type family struct {
	v6      bool
	suffix  string
	nfproto byte
	icmp    byte
	// offsets in the network header, and the length of an address.
	saddr, daddr, len uint32
	addr              nftables.SetDatatype
}

var families = [2]family{
	{false, "4", unix.NFPROTO_IPV4, unix.IPPROTO_ICMP, 12, 16, 4, nftables.TypeIPAddr},
	{true, "6", unix.NFPROTO_IPV6, unix.IPPROTO_ICMPV6, 8, 24, 16, nftables.TypeIP6Addr},
}

// kind is what a set counts.
type kind uint8

const (
	in kind = iota
	out
	fresh
	kinds
)

var kindNames = [kinds]string{"in", "out", "new"}

// set describes one set. IDs only have to differ within a transaction.
func (t *Table) set(k kind, f family) *nftables.Set {
	s := &nftables.Set{
		Table: t.table, ID: 1 + uint32(k)*2, Name: kindNames[k] + f.suffix,
		KeyType: f.addr, KeyByteOrder: binaryutil.BigEndian, HasTimeout: true, Counter: true,
	}
	if f.v6 {
		s.ID++
	}
	return s
}

// build adds the table, its sets, chains and rules to a transaction. What is there already stays, and so do the sets' elements; rules are
// replaced.
func (t *Table) build(c *nftables.Conn) error {
	c.AddTable(t.table)
	for _, f := range families {
		for k := range kinds {
			if err := c.AddSet(t.set(k, f), nil); err != nil {
				return err
			}
		}
	}
	accept := nftables.ChainPolicyAccept
	pre := c.AddChain(&nftables.Chain{
		Name: "prerouting", Table: t.table, Type: nftables.ChainTypeFilter, Policy: &accept,
		Hooknum: nftables.ChainHookPrerouting, Priority: nftables.ChainPriorityRef(prePriority),
	})
	post := c.AddChain(&nftables.Chain{
		Name: "postrouting", Table: t.table, Type: nftables.ChainTypeFilter, Policy: &accept,
		Hooknum: nftables.ChainHookPostrouting, Priority: nftables.ChainPriorityRef(postPriority),
	})
	c.FlushChain(pre)
	c.FlushChain(post)
	rule := func(chain *nftables.Chain, verdict expr.Verdict, parts ...[]expr.Any) {
		var exprs []expr.Any
		for _, p := range parts {
			exprs = append(exprs, p...)
		}
		c.AddRule(&nftables.Rule{Table: t.table, Chain: chain, Exprs: append(exprs, &verdict)})
	}
	counted := expr.Verdict{Kind: expr.VerdictAccept} // it has no more to do here
	for _, f := range families {
		first := c.AddChain(&nftables.Chain{Name: "new" + f.suffix, Table: t.table})
		c.FlushChain(first)
		rule(pre, expr.Verdict{Kind: expr.VerdictGoto, Chain: first.Name}, f.isFamily(), f.noICMP(), t.count(in, f, f.daddr))
		rule(first, counted, known())
		// In mid-stream nothing begins, though conntrack doesn't know it: it is handed on, or its owner is gone.
		rule(first, counted, l4proto(expr.CmpOpEq, unix.IPPROTO_TCP), noPureSYN())
		rule(first, counted, f.isFamily(), t.count(fresh, f, f.daddr)) // the family is for who lists the rules
		rule(post, counted, f.isFamily(), f.noICMP(), t.count(out, f, f.saddr))
	}
	return nil
}

// count looks an address up. What is found is counted, by its own counter (net/netfilter/nft_lookup.c, since Linux 5.7); where nothing is
// found the rule ends.
func (t *Table) count(k kind, f family, offset uint32) []expr.Any {
	s := t.set(k, f)
	return []expr.Any{
		&expr.Payload{DestRegister: reg, Base: expr.PayloadBaseNetworkHeader, Offset: offset, Len: f.len},
		&expr.Lookup{SourceRegister: reg, SetName: s.Name, SetID: s.ID},
	}
}

func (f family) isFamily() []expr.Any {
	return []expr.Any{
		&expr.Meta{Key: expr.MetaKeyNFPROTO, Register: reg},
		&expr.Cmp{Op: expr.CmpOpEq, Register: reg, Data: []byte{f.nfproto}},
	}
}

func (f family) noICMP() []expr.Any { return l4proto(expr.CmpOpNeq, f.icmp) }

func l4proto(op expr.CmpOp, proto byte) []expr.Any {
	return []expr.Any{
		&expr.Meta{Key: expr.MetaKeyL4PROTO, Register: reg},
		&expr.Cmp{Op: op, Register: reg, Data: []byte{proto}},
	}
}

// known is `ct status confirmed`: not the first packet of a connection. `ct state new` would be every packet of a connection that nobody
// answers, such as one of syslog.
func known() []expr.Any {
	return []expr.Any{
		&expr.Ct{Key: expr.CtKeySTATUS, Register: reg},
		&expr.Bitwise{
			SourceRegister: reg, DestRegister: reg, Len: 4,
			Mask: binaryutil.NativeEndian.PutUint32(ctConfirmed), Xor: make([]byte, 4),
		},
		&expr.Cmp{Op: expr.CmpOpNeq, Register: reg, Data: make([]byte, 4)},
	}
}

// noPureSYN is tcp flags & (fin|syn|rst|ack) != syn: not the first packet of a TCP connection.
func noPureSYN() []expr.Any {
	return []expr.Any{
		&expr.Payload{DestRegister: reg, Base: expr.PayloadBaseTransportHeader, Offset: tcpFlagsOffset, Len: 1},
		&expr.Bitwise{
			SourceRegister: reg, DestRegister: reg, Len: 1,
			Mask: []byte{tcpFIN | tcpSYN | tcpRST | tcpACK}, Xor: []byte{0},
		},
		&expr.Cmp{Op: expr.CmpOpNeq, Register: reg, Data: []byte{tcpSYN}},
	}
}
