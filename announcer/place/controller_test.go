package place

import (
	"slices"
	"time"
)

// simController does what the controller's contract says, with one VIP.
type simController struct {
	sim      *segment
	up       bool
	term     int64
	version  int
	pods     []simPod // in order of succession
	previous []int    // nodes that had the address, the latest first
	deleted  map[int]bool
	reports  map[int]simReport
	seen     map[int]time.Time // when a node's announcer was in touch last
	due      time.Time
	// moving: the pod of this node is to go once the active is announced.
	moving    int
	hasMoving bool
}

type simPod struct {
	node    int
	standby bool
}

type simReport struct {
	Report
	version int
}

const (
	simStandbys = 2
	simLost     = 4 * time.Second
)

func (c *simController) tick() {
	now := c.sim.now
	if !c.up || now.Before(c.due) {
		return
	}
	c.due = now.Add(50 * time.Millisecond)
	for _, n := range c.sim.nodes {
		if !n.working() || !n.reachesClient() {
			continue
		}
		c.seen[n.id] = now
		if n.knows != c.version {
			n.knows = c.version
			n.tell(c.wishFor(n.id))
		}
		c.reports[n.id] = simReport{n.report(), n.knows}
	}
	c.decide()
}

func (c *simController) inTouch(node int) bool {
	seen, ok := c.seen[node]
	return ok && c.sim.now.Sub(seen) < simLost
}

func (c *simController) current(node int) bool {
	return c.reports[node].version == c.version && c.sim.now.Sub(c.seen[node]) < 200*time.Millisecond
}

func (c *simController) decide() {
	for i, pod := range c.pods {
		if pod.standby && c.current(pod.node) && c.reports[pod.node].Reason == ReasonTookOver {
			c.promote(i, false)
			return
		}
	}
	active := slices.IndexFunc(c.pods, func(p simPod) bool { return !p.standby })
	switch {
	case c.hasMoving:
		if active >= 0 && c.current(c.pods[active].node) && c.reports[c.pods[active].node].Announced {
			c.remove(c.moving)
			c.hasMoving = false
			c.changed()
		}
		return
	case !slices.ContainsFunc(c.pods, func(p simPod) bool { return c.inTouch(p.node) }):
		// A VIP with no living placeholder is placed at once.
		if node, ok := c.spare(); ok {
			for _, p := range c.pods {
				if !p.standby {
					c.had(p.node)
				}
			}
			c.pods = []simPod{{node: node}}
			c.term++
			c.changed()
		}
		return
	}
	for _, p := range c.pods { // standbys of nodes that are gone are replaced
		if p.standby && !c.inTouch(p.node) {
			if node, ok := c.spare(); ok {
				c.remove(p.node)
				c.pods = append(c.pods, simPod{node: node, standby: true})
				c.term++
				c.changed()
			}
			return
		}
	}
	if len(c.pods) < 1+simStandbys {
		if node, ok := c.spare(); ok {
			c.pods = append(c.pods, simPod{node: node, standby: len(c.pods) > 0})
			c.term++
			c.changed()
		}
	}
}

// promote makes a standby active; the old active's pod is removed at once, or, when it is to live until the new one is announced,
// told that it is the last standby.
func (c *simController) promote(i int, planned bool) {
	node := c.pods[i].node
	c.pods = slices.Delete(c.pods, i, i+1)
	for _, p := range slices.Clone(c.pods) {
		if p.standby {
			continue
		}
		c.remove(p.node)
		c.had(p.node)
		if planned {
			c.moving, c.hasMoving = p.node, true
		}
	}
	c.pods = slices.Insert(c.pods, 0, simPod{node: node})
	c.previous = slices.DeleteFunc(c.previous, func(had int) bool { return had == node })
	c.term++
	c.changed()
}

// move is a planned move to a standby that guards.
func (c *simController) move() bool {
	if !c.up || c.hasMoving {
		return false
	}
	for i, p := range c.pods {
		if p.standby && c.current(p.node) && c.reports[p.node].Reason == ReasonGuarding {
			c.promote(i, true)
			return true
		}
	}
	return false
}

func (c *simController) had(node int) {
	c.previous = slices.Insert(slices.DeleteFunc(c.previous, func(had int) bool { return had == node }), 0, node)
	c.previous = c.previous[:min(len(c.previous), 3)]
}

func (c *simController) remove(node int) {
	c.pods = slices.DeleteFunc(c.pods, func(p simPod) bool { return p.node == node })
}

func (c *simController) spare() (int, bool) {
	for _, n := range c.sim.nodes {
		if c.sim.now.Sub(c.seen[n.id]) < 200*time.Millisecond && !slices.ContainsFunc(c.pods, func(p simPod) bool { return p.node == n.id }) && !(c.hasMoving && c.moving == n.id) {
			return n.id, true
		}
	}
	return 0, false
}

func (c *simController) changed() {
	c.version++
	c.sim.logf("%v controller: term %d, pods %v, previous %v", c.sim.now.Sub(epoch), c.term, c.pods, c.previous)
}

// wishFor is what agent.wishOf makes of a node's placeholder.
func (c *simController) wishFor(node int) *Wish {
	i := slices.IndexFunc(c.pods, func(p simPod) bool { return p.node == node })
	if i < 0 {
		if c.hasMoving && c.moving == node { // its pod is as it was: in a move it is told last
			return c.sim.nodes[node].wish
		}
		return nil
	}
	wish := &Wish{Pod: "p", Term: c.term, Place: uint8(1 + i), Standby: c.pods[i].standby, Peers: map[MAC]uint8{}}
	for place, p := range c.pods {
		if p.node == node {
			continue
		}
		wish.Peers[simMAC(p.node)] = uint8(1 + place)
		if place == 0 && wish.Standby {
			wish.Active = simMAC(p.node)
		}
	}
	for i, had := range c.previous {
		if _, known := wish.Peers[simMAC(had)]; known || had == node {
			continue
		}
		wish.Peers[simMAC(had)] = 0
		if i == 0 {
			wish.Previous = simMAC(had)
		}
	}
	return wish
}
