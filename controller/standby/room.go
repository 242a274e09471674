package standby

import (
	"evenkeel.io/evenkeel/api/load"
	"evenkeel.io/evenkeel/api/placeholder"
)

// room says whether limits let a standby be placed on a node, as the scheduler would: by what the node would hold after the loss of the
// active's.
type room struct {
	view    View
	ofNode  func(node string) int64
	actives map[string]string                // the node of each VIP's active
	after   map[string]map[string]load.After // by the node that is lost; filled when it is asked for
}

func newRoom(view View, ofNode func(node string) int64) room {
	r := room{view: view, ofNode: ofNode, actives: map[string]string{}, after: map[string]map[string]load.After{}}
	for name, node := range view.nodes {
		for vip, held := range node.VIPs {
			if !held.Standby {
				r.actives[vip] = name
			}
		}
	}
	return r
}

func (r room) left(vip, node string) bool {
	limits := load.Limits{OfNode: r.ofNode(node)}
	if p := r.view.vips[vip]; p != nil && len(p.standbys) > 0 {
		limits.OfPool, _ = placeholder.PoolLimit(p.standbys[0]) // its announcer reports the mistake
		limits.Pool = p.standbys[0].Annotations[placeholder.AnnotationPool]
	}
	if limits.OfPool == 0 && limits.OfNode == 0 {
		return true
	}
	lost := r.actives[vip]
	if r.after[lost] == nil {
		r.after[lost] = load.AfterLoss(lost, r.view.nodes)
	}
	pool, all := r.view.nodes[node].Full(limits, r.view.nodes[lost], r.after[lost][node].Inherits)
	return !pool && !all
}
