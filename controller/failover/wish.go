package failover

import (
	"fmt"
	"time"
)

// Wish is a planned move that the rebalancer or a person asks for.
type Wish struct {
	// To is the node that is to announce the VIP.
	To string
	// Why is the word for the VIP's last move.
	Why string
	// Age since it was asked for.
	Age time.Duration
}

// WishEnd is how a wish ended.
type WishEnd struct {
	// Done: the VIP is announced where it was wished to be.
	Done bool
	// Note says for people why it isn't.
	Note string
}

const (
	// waitForWish is how long a wished move may take: a placement, a conflict probe and an announcement take well below a second.
	waitForWish = 10 * time.Second
	// expireWish is when a wish ends whatever has come in between: after what is begun for it has been taken back.
	expireWish = waitForWish + 5*time.Second
)

// expire ends a wish that nothing comes of because the VIP has other troubles: whoever waits for its end isn't to wait for these.
func (v View) expire(d *Decision) {
	if v.Wish == nil || d.Ended != nil {
		return
	}
	if left := expireWish - v.Wish.Age; left <= 0 {
		d.Ended = &WishEnd{Note: overdue}
	} else if d.Again == 0 && d.Promote == "" && !d.CreateActive {
		d.Again = left
	}
}

var overdue = fmt.Sprintf("it has not come about for %d seconds", int(waitForWish.Seconds()))

// wished moves a VIP whose active is confirmed, to the node that was asked for: by a change of roles with a standby that guards there,
// else by a new active placeholder.
func (v View) wished(d *Decision) {
	switch to := v.node(v.Wish.To); {
	case v.Live.Node == v.Wish.To:
		d.Ended = &WishEnd{Done: true}
	case v.Wish.Age >= waitForWish:
		d.Ended = &WishEnd{Note: overdue}
	case !to.open():
		d.Ended = &WishEnd{Note: "node " + v.Wish.To + " can't take it now (" + to.refusal() + ")"}
	case len(v.Surplus) > 0: // one move at a time
		d.Again = waitForWish - v.Wish.Age
	default:
		if pod := v.standbyOn(v.Wish.To); pod == nil && !v.ending(v.Wish.To) {
			d.CreateActive, d.On, d.Why = true, v.Wish.To, v.Wish.Why
		} else if pod != nil && pod.Ready {
			d.Promote, d.Why = pod.Name, v.Wish.Why
		} else { // it is about to guard, or to go
			d.Again = waitForWish - v.Wish.Age
		}
	}
}

// unplaceable begins a note that ends in a node's name.
const unplaceable = "the scheduler places nothing on node "

// failed is the end of the wish that the active placeholder was made for; nil: there is none any more.
func (v View) failed(note string) *WishEnd {
	if v.Wish == nil || v.Wish.To != v.Live.Target {
		return nil
	}
	return &WishEnd{Note: note}
}

func (v View) standbyOn(node string) *Pod {
	for i := range v.Standbys {
		if v.Standbys[i].Node == node {
			return &v.Standbys[i]
		}
	}
	return nil
}

// ending says whether a placeholder of the VIP is about to go from a node.
func (v View) ending(node string) bool {
	for _, name := range v.Ending {
		if name == node {
			return true
		}
	}
	return false
}

// refusal says in a word why nothing new is placed on a node.
func (n Node) refusal() string {
	switch {
	case !n.Able:
		return n.Why
	case n.Suspicion != "":
		return n.Suspicion
	case n.Sick:
		return "NotHealthy"
	default:
		return "Cordoned or tainted"
	}
}
