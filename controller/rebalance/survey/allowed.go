package survey

import (
	"net/netip"
	"strconv"
	"strings"

	corev1 "k8s.io/api/core/v1"

	"evenkeel.io/evenkeel/api/placeholder"
	"evenkeel.io/evenkeel/controller/fleet"
	"evenkeel.io/evenkeel/controller/rebalance"
)

// reach is where VIPs that ask the same of nodes may go: now, and once nodes have settled.
type reach struct{ now, later []string }

// allow fills in where each VIP may go, also those that are held: which nodes are compared hangs on it.
func (s *surveyor) allow(now, later rebalance.Snapshot) {
	subnets := s.subnets()
	known := map[string]reach{} // thousands of VIPs ask the same of a thousand nodes
	for name, vip := range now.VIPs {
		object := s.vips[name]
		if object == nil || s.pools[object.Spec.Pool] == nil {
			continue
		}
		demand, ok := s.Demand(object)
		if !ok {
			continue
		}
		key := object.Spec.Pool + " " + within(demand, subnets)
		where, ok := known[key]
		if !ok || demand.Particular {
			where = s.reachOf(demand, s.pools[object.Spec.Pool])
			if !demand.Particular {
				known[key] = where
			}
		}
		if len(demand.Local) == 0 && s.places[name].active.Annotations[placeholder.AnnotationPolicy] == string(corev1.ServiceExternalTrafficPolicyLocal) {
			where = where.only(vip.Standbys)
		}
		vip.Allowed = where.now
		now.VIPs[name] = vip
		after := later.VIPs[name]
		after.Allowed = where.later
		later.VIPs[name] = after
	}
}

func (s *surveyor) reachOf(demand fleet.Demand, p *pool) reach {
	var r reach
	for node, n := range s.Nodes.For(demand) {
		if !open(n) || s.full(node, p) {
			continue
		}
		r.later = append(r.later, node)
		if held := p.policy.HoldsNode(s.Able(node), s.Now); held != nil {
			s.settle(node, *held)
			continue
		}
		r.now = append(r.now, node)
	}
	return r
}

// full says whether a node has as many active VIPs as it takes, of all or of a pool.
func (s *surveyor) full(node string, p *pool) bool {
	on, most := s.active[node], s.Nodes.Limit(node)
	return on != nil && (most > 0 && on.all >= most || p.most > 0 && on.pools[p.name] >= p.most)
}

// only is the part of a reach on some nodes: where a caller doesn't know which nodes have endpoints of a Service with
// externalTrafficPolicy Local, those where a standby was placed had one then.
func (r reach) only(nodes []string) reach {
	var part reach
	for _, node := range nodes {
		for _, n := range r.now {
			if n == node {
				part.now = append(part.now, node)
			}
		}
		for _, n := range r.later {
			if n == node {
				part.later = append(part.later, node)
			}
		}
	}
	return part
}

// subnets are those of all nodes' NICs.
func (s *surveyor) subnets() []netip.Prefix {
	seen := map[netip.Prefix]bool{}
	var all []netip.Prefix
	for name := range s.nodes {
		_, vipNode := s.Nodes.Objects(name)
		if vipNode == nil {
			continue
		}
		for _, nic := range vipNode.Status.Interfaces {
			for _, text := range nic.Addresses {
				if prefix, err := netip.ParsePrefix(text); err == nil && !seen[prefix.Masked()] {
					seen[prefix.Masked()] = true
					all = append(all, prefix.Masked())
				}
			}
		}
	}
	return all
}

// within says in which subnets the addresses of a demand are, by their numbers. VIPs of a pool for which that is the same may be on the
// same nodes.
func within(demand fleet.Demand, subnets []netip.Prefix) string {
	if len(demand.Interfaces) > 0 { // then subnets don't matter
		return ""
	}
	var key strings.Builder
	for _, addr := range demand.Addresses {
		key.WriteByte('/')
		for i, subnet := range subnets {
			if subnet.Contains(addr) {
				key.WriteString(strconv.Itoa(i))
				key.WriteByte(' ')
			}
		}
	}
	return key.String()
}
