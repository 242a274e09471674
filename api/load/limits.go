package load

// Limits are how many active VIPs a node may hold; 0: any number.
type Limits struct {
	// OfPool is the pool's limit, on its own VIPs.
	Pool   string
	OfPool int64
	// OfNode is the node's limit, on all VIPs.
	OfNode int64
}

// Full says which limits leave no room for one more active VIP on a node. For a standby that is after the loss of another node: inherits
// are those of its VIPs that the node would take over.
func (n Node) Full(l Limits, lost Node, inherits []string) (pool, node bool) {
	if l.OfPool > 0 {
		var held int64
		for _, vip := range n.VIPs {
			if !vip.Standby && vip.Pool == l.Pool {
				held++
			}
		}
		for _, name := range inherits {
			if lost.VIPs[name].Pool == l.Pool {
				held++
			}
		}
		pool = held >= l.OfPool
	}
	return pool, l.OfNode > 0 && n.Actives+int64(len(inherits)) >= l.OfNode
}
