package quiet

import (
	"encoding/binary"
	"net/netip"
	"time"

	"github.com/google/nftables"
	"github.com/google/nftables/binaryutil"
	"github.com/google/nftables/expr"
	"golang.org/x/sys/unix"
)

// An ARP packet of IPv4 over Ethernet (RFC 826): the operation, and the address that is asked for.
const (
	operationOffset, operationLen = 6, 2
	targetOffset, targetLen       = 24, 4
	operationRequest              = 1
)

// hookIn is NF_ARP_IN of include/uapi/linux/netfilter_arp.h.
const hookIn = 0

// Registers: the index of the interface fills the first 32-bit register, the address the next, which makes the key of homes
// (include/uapi/linux/netfilter/nf_tables.h).
const (
	reg0 = unix.NFT_REG_1
	reg1 = unix.NFT_REG32_01
)

// vips holds every VIP, homes each with the NIC that it is announced on. IDs only have to differ within a transaction.
func (t *Table) vips() *nftables.Set {
	return &nftables.Set{
		Table: t.table, ID: 1, Name: "vips", HasTimeout: true, KeyType: nftables.TypeIPAddr, KeyByteOrder: binaryutil.BigEndian,
	}
}

func (t *Table) homes() *nftables.Set {
	return &nftables.Set{
		Table: t.table, ID: 2, Name: "homes", HasTimeout: true, Concatenation: true, KeyByteOrder: binaryutil.BigEndian,
		KeyType: nftables.MustConcatSetType(nftables.TypeIFIndex, nftables.TypeIPAddr),
	}
}

// build adds the table, its sets, chain and rule to a transaction. Sets that are there keep their elements; the rule is replaced.
//
//	arp operation request arp daddr ip @vips iif . arp daddr ip != @homes drop
//
// Only requests: replies answer what the node itself asked, on whatever NIC its route led out.
func (t *Table) build(c *nftables.Conn) error {
	c.AddTable(t.table)
	vips, homes := t.vips(), t.homes()
	for _, set := range []*nftables.Set{vips, homes} {
		if err := c.AddSet(set, nil); err != nil {
			return err
		}
	}
	accept := nftables.ChainPolicyAccept
	in := c.AddChain(&nftables.Chain{
		Name: "input", Table: t.table, Type: nftables.ChainTypeFilter, Policy: &accept,
		Hooknum: nftables.ChainHookRef(hookIn), Priority: nftables.ChainPriorityFilter,
	})
	c.FlushChain(in)
	target := func(register uint32) expr.Any {
		return &expr.Payload{DestRegister: register, Base: expr.PayloadBaseNetworkHeader, Offset: targetOffset, Len: targetLen}
	}
	c.AddRule(&nftables.Rule{Table: t.table, Chain: in, Exprs: []expr.Any{
		&expr.Payload{DestRegister: reg0, Base: expr.PayloadBaseNetworkHeader, Offset: operationOffset, Len: operationLen},
		&expr.Cmp{Op: expr.CmpOpEq, Register: reg0, Data: binary.BigEndian.AppendUint16(nil, operationRequest)},
		target(reg0),
		&expr.Lookup{SourceRegister: reg0, SetName: vips.Name, SetID: vips.ID},
		&expr.Meta{Key: expr.MetaKeyIIF, Register: reg0},
		target(reg1),
		&expr.Lookup{SourceRegister: reg0, SetName: homes.Name, SetID: homes.ID, Invert: true},
		&expr.Verdict{Kind: expr.VerdictDrop},
	}})
	return nil
}

// homeKey is a key of homes: an interface's index is in the machine's byte order.
func homeKey(addr netip.Addr, index int) []byte {
	return append(binary.NativeEndian.AppendUint32(nil, uint32(index)), addr.AsSlice()...)
}

// parseHome is the inverse of homeKey; ok is false for keys of another layout.
func parseHome(key []byte) (addr netip.Addr, index int, ok bool) {
	if len(key) != 8 {
		return netip.Addr{}, 0, false
	}
	addr, ok = netip.AddrFromSlice(key[4:])
	return addr, int(binary.NativeEndian.Uint32(key)), ok
}

func elements(keys [][]byte, timeout time.Duration) []nftables.SetElement {
	list := make([]nftables.SetElement, len(keys))
	for i, key := range keys {
		list[i] = nftables.SetElement{Key: key, Timeout: timeout}
	}
	return list
}
