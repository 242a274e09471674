package protect

import (
	"github.com/google/nftables"
	"github.com/google/nftables/binaryutil"
	"github.com/google/nftables/expr"
	"golang.org/x/sys/unix"
)

// prePriority lies between conntrack (-200) and DNAT (-100).
const prePriority = nftables.ChainPriority(-150)

// Registers: an IPv4 address fills the first 32-bit register, an IPv6 address the first four. Protocol and port
// follow in the next ones, which makes the key of a concatenated set (include/uapi/linux/netfilter/nf_tables.h).
const (
	reg0      = unix.NFT_REG_1
	reg32base = unix.NFT_REG32_00
)

// family is what differs between IPv4 and IPv6.
type family struct {
	v6      bool
	suffix  string
	nfproto byte
	icmp    byte
	// daddrOffset and daddrLen locate the destination in the network header.
	daddrOffset, daddrLen uint32
	addrType              nftables.SetDatatype
}

var families = []family{
	{false, "4", unix.NFPROTO_IPV4, unix.IPPROTO_ICMP, 16, 4, nftables.TypeIPAddr},
	{true, "6", unix.NFPROTO_IPV6, unix.IPPROTO_ICMPV6, 24, 16, nftables.TypeIP6Addr},
}

// set describes one set. Set IDs only have to differ within a transaction.
func (t *Table) set(k kind, f family) *nftables.Set {
	s := &nftables.Set{
		Table:        t.table,
		ID:           1 + uint32(k)*2,
		Name:         kindNames[k] + f.suffix,
		HasTimeout:   true,
		KeyType:      f.addrType,
		KeyByteOrder: binaryutil.BigEndian,
	}
	if f.v6 {
		s.ID++
	}
	if k != vips {
		s.KeyType = nftables.MustConcatSetType(f.addrType, nftables.TypeInetProto, nftables.TypeInetService)
		s.Concatenation = true
	}
	return s
}

// build adds the table, its sets, chains and rules to a transaction. What is there already stays, and so do the sets'
// elements; rules are replaced.
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
	in := c.AddChain(&nftables.Chain{
		Name: "input", Table: t.table, Type: nftables.ChainTypeFilter, Policy: &accept,
		Hooknum: nftables.ChainHookInput, Priority: nftables.ChainPriorityFilter,
	})
	c.FlushChain(pre)
	c.FlushChain(in)
	for _, f := range families {
		t.guard(c, pre, f, ports)
		t.guard(c, in, f, local)
	}
	return nil
}

// guard fills the chain that decides about packets to VIPs of one family, and sends them there from base.
func (t *Table) guard(c *nftables.Conn, base *nftables.Chain, f family, allowed kind) {
	chain := c.AddChain(&nftables.Chain{Name: base.Name + f.suffix, Table: t.table})
	c.FlushChain(chain)
	rule := func(exprs ...expr.Any) {
		c.AddRule(&nftables.Rule{Table: t.table, Chain: chain, Exprs: exprs})
	}
	accept := &expr.Verdict{Kind: expr.VerdictAccept}
	// meta l4proto icmp accept: ping, path MTU discovery, unicast neighbour solicitations.
	rule(&expr.Meta{Key: expr.MetaKeyL4PROTO, Register: reg0}, equal(f.icmp), accept)
	// ct direction reply accept: the node opened that connection. Using conntrack also has fragments reassembled
	// before the ports are looked at.
	rule(&expr.Ct{Key: expr.CtKeyDIRECTION, Register: reg0}, equal(1), accept)
	// ip daddr . meta l4proto . th dport @ports4 accept
	next := reg32base + f.daddrLen/4
	set := t.set(allowed, f)
	rule(
		f.loadDaddr(),
		&expr.Meta{Key: expr.MetaKeyL4PROTO, Register: next},
		&expr.Payload{DestRegister: next + 1, Base: expr.PayloadBaseTransportHeader, Offset: 2, Len: 2},
		&expr.Lookup{SourceRegister: reg0, SetName: set.Name, SetID: set.ID},
		accept,
	)
	rule(&expr.Verdict{Kind: expr.VerdictDrop})

	// meta nfproto ipv4 ip daddr @vips4 goto …
	all := t.set(vips, f)
	c.AddRule(&nftables.Rule{Table: t.table, Chain: base, Exprs: []expr.Any{
		&expr.Meta{Key: expr.MetaKeyNFPROTO, Register: reg0}, equal(f.nfproto),
		f.loadDaddr(),
		&expr.Lookup{SourceRegister: reg0, SetName: all.Name, SetID: all.ID},
		&expr.Verdict{Kind: expr.VerdictGoto, Chain: chain.Name},
	}})
}

func (f family) loadDaddr() expr.Any {
	return &expr.Payload{DestRegister: reg0, Base: expr.PayloadBaseNetworkHeader, Offset: f.daddrOffset, Len: f.daddrLen}
}

func equal(b byte) expr.Any {
	return &expr.Cmp{Op: expr.CmpOpEq, Register: reg0, Data: []byte{b}}
}
