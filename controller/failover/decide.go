package failover

import (
	"fmt"
	"time"
)

// Decision is what to do now. At most one placeholder changes its role or is made active at a time; what follows from that is
// decided when the API shows it.
type Decision struct {
	// Promote names the placeholder that becomes active, in a new term.
	Promote string
	// CreateActive: a new active placeholder is due; CreateStandbys is how many standbys are.
	CreateActive   bool
	CreateStandbys int
	// On is the node for the new active placeholder; empty: the scheduler chooses.
	On string
	// Ended: the wish has come to its end.
	Ended *WishEnd
	// Why of a promotion or a new active: a word for the VIP's last move.
	Why string
	// Paced: the move is not urgent, so that it waits for its turn among others.
	Paced bool
	// NewTerm begins a new term with the roles as they are: what another node has claimed in the present one without the API's
	// knowledge counts no more.
	NewTerm bool
	// Withdraw: the VIP is to be announced by nobody. What Delete names lets go at once, also the active one.
	Withdraw bool
	// Delete names placeholders that are of no use any more; true: at once, without waiting for their kubelet.
	Delete map[string]bool
	// Suspect names nodes to keep off, with the reason.
	Suspect map[string]string
	// Again is after how long to decide again though nothing has changed; 0: no need.
	Again time.Duration
}

// Words for moves.
const (
	WhyNodeSilent   = "NodeSilent"
	WhyDeleted      = "PlaceholderDeleted"
	WhyNodeUnfit    = "NodeNotEligible"
	WhyNodeSick     = "NodeNotHealthy"
	WhyEndpoints    = "EndpointsMoved"
	WhyEvacuated    = "Evacuated" // also what is amiss with the node
	WhyUnconfirmed  = "NotReported"
	WhyUnplaced     = "Unschedulable"
	WhyRolledBack   = "RolledBack"
	waitForTakeover = 3 * time.Second // a standby that guards needs no help for so long
	waitForNode     = 2 * time.Second // the scheduler has tried by then
	waitForClaimant = 3 * time.Second // who has claimed the VIP has reported by then, if the API knows of it
)

// Decide says what to do about a VIP.
func Decide(v View) Decision {
	d := Decision{Delete: map[string]bool{}, Suspect: map[string]string{}}
	v.overdue(&d)
	switch {
	case v.takenOver(&d):
	case v.Unserved:
		v.withdraw(&d)
	case v.Live == nil:
		v.replace(&d, WhyDeleted)
	case v.Live.Node == "":
		v.unplaced(&d)
	default:
		v.placed(&d)
	}
	v.expire(&d)
	return d
}

// overdue suspects the nodes of placeholders that were never reported on.
func (v View) overdue(d *Decision) {
	pods := append(append([]Pod{}, v.Standbys...), v.Surplus...)
	if v.Live != nil {
		pods = append(pods, *v.Live)
	}
	for _, pod := range pods {
		if pod.Overdue && v.node(pod.Node).Suspicion == "" {
			d.Suspect[pod.Node] = NoReport
		}
	}
}

// takenOver makes the standby active that has taken the VIP over. Of two the one further down the succession is it: it can
// only have claimed the VIP because those before it were silent.
func (v View) takenOver(d *Decision) bool {
	for i := len(v.Standbys) - 1; i >= 0; i-- {
		pod := v.Standbys[i]
		if !pod.TookOver || !pod.Announced {
			continue
		}
		d.Promote, d.Why = pod.Name, WhyNodeSilent
		if v.Live != nil && v.Live.Node != "" && !v.node(v.Live.Node).silent() && !v.node(v.Live.Node).unplugged() {
			d.Suspect[v.Live.Node] = FellSilent
		}
		return true
	}
	return false
}

// replace finds a VIP without a living active one: a standby that can take its place at once, else a new placeholder, else a
// standby where nothing new would be placed.
func (v View) replace(d *Decision, why string) {
	d.Why = why
	best := v.heir(func(n Node) bool { return n.open() })
	if best == nil && v.free() == 0 {
		if best = v.heir(Node.fit); best == nil {
			best = v.heir(func(n Node) bool { return n.Able && n.Suspicion == "" })
		}
	}
	if best != nil {
		d.Promote = best.Name
		return
	}
	d.CreateActive = true
}

// heir is the standby that takes over in a planned move: one that is on guard, else any that has a node; those that are about
// to leave come last.
func (v View) heir(fits func(Node) bool) *Pod {
	var best *Pod
	rank := 0
	for i := range v.Standbys {
		pod := &v.Standbys[i]
		if pod.Node == "" || !fits(v.node(pod.Node)) {
			continue
		}
		r := 1
		if pod.Ready {
			r += 2
		}
		if !pod.Leaving {
			r++
		}
		if r > rank {
			best, rank = pod, r
		}
	}
	return best
}

// unplaced waits for the scheduler, and then makes do with a standby where nothing new would be placed.
func (v View) unplaced(d *Decision) {
	holder, why := v.heir(func(n Node) bool { return n.Able && n.Suspicion == "" }), WhyUnplaced
	if back := v.holder(); back != nil && v.node(back.Node).fit() { // what the move was made for is over
		holder, why = back, WhyRolledBack
	}
	switch {
	case holder == nil && v.Live.Target == "":
	case v.Live.Age < waitForNode:
		d.Again = waitForNode - v.Live.Age
	case holder == nil: // who held it is gone: any node will do
		d.CreateActive, d.Why, d.Ended = true, WhyUnplaced, v.failed(unplaceable+v.Live.Target)
	default:
		d.Promote, d.Why, d.Ended = holder.Name, why, v.failed(unplaceable+v.Live.Target)
	}
	for _, pod := range v.Surplus { // one that holds the VIP stays until it is held elsewhere
		if !pod.Announced {
			d.Delete[pod.Name] = v.node(pod.Node).silent()
		}
	}
}

// placed looks after a VIP whose active placeholder has a node.
func (v View) placed(d *Decision) {
	node := v.node(v.Live.Node)
	confirmed := v.Live.Announced && !v.Live.TookOver
	if confirmed && !node.silent() {
		v.standbys(d)
		for _, pod := range v.Surplus {
			d.Delete[pod.Name] = v.node(pod.Node).silent()
		}
	}
	holder := v.holder()
	switch {
	case !confirmed && holder != nil && node.Suspicion != "":
		d.Promote, d.Why = holder.Name, WhyRolledBack
	case !confirmed && holder != nil && v.Live.Target != "" && v.Live.Age >= waitForWish:
		d.Promote, d.Why, d.Ended = holder.Name, WhyRolledBack, v.failed("node "+v.Live.Node+" does not announce it")
	case !confirmed && holder != nil: // a move is under way
		if v.Live.Target != "" {
			d.Again = waitForWish - v.Live.Age
		}
	case v.Live.Superseded > 0 && node.fit(): // by one that has no placeholder, or will report that it took the VIP over
		if d.NewTerm = v.Live.Superseded >= waitForClaimant; !d.NewTerm {
			d.Again = waitForClaimant - v.Live.Superseded
		}
	case node.silent():
		v.leaveSilent(d)
	case node.Suspicion != "" && !v.Live.Reported:
		v.replace(d, WhyUnconfirmed)
	case node.Suspicion != "": // only a silent wire or a takeover moves what was there
	case node.Why == WhyEvacuated:
		v.leave(d, WhyEvacuated)
		d.Paced = true
	case node.unserved() && v.Live.justPlaced(): // its report brings us back
	case node.unserved():
		v.leave(d, WhyEndpoints)
	case !node.Able:
		v.leave(d, WhyNodeUnfit)
	case node.Sick:
		v.leave(d, WhyNodeSick)
		d.Paced = true
	case confirmed && v.Wish != nil:
		v.wished(d)
	}
}

// holder is an active of an earlier term that still holds the VIP on a node that isn't suspect.
func (v View) holder() *Pod {
	for i := range v.Surplus {
		if pod := &v.Surplus[i]; pod.Announced && v.node(pod.Node).Suspicion == "" {
			return pod
		}
	}
	return nil
}

// leaveSilent leaves a node that fell silent. A standby on guard takes over by itself, and sooner than we could tell it.
func (v View) leaveSilent(d *Decision) {
	guard := v.heir(func(n Node) bool { return n.Suspicion == "" })
	if guard != nil && guard.Ready && v.node(v.Live.Node).Suspected < waitForTakeover {
		d.Again = waitForTakeover - v.node(v.Live.Node).Suspected
		return
	}
	if guard != nil {
		d.Promote, d.Why = guard.Name, WhyNodeSilent
		return
	}
	d.CreateActive, d.Why = true, WhyNodeSilent
}

// leave moves a VIP away from a node that lives but may not keep it, where there is a better one.
func (v View) leave(d *Decision, why string) {
	if len(v.Surplus) > 0 {
		return // one move at a time
	}
	best := v.heir(func(n Node) bool { return n.open() })
	switch {
	case best != nil && best.Ready:
	case v.free() > 0:
		d.CreateActive, d.Why = true, why
		return
	default:
		if best = v.heir(Node.fit); best == nil || !best.Ready {
			return // nowhere to go: better there than nowhere
		}
	}
	d.Promote, d.Why = best.Name, why
}

// standbys sees to it that as many nodes stand by as are wanted and can. A new one is on guard before an old one goes, but
// where the old one's node is gone.
func (v View) standbys(d *Decision) {
	var good, replaced []Pod // those that count, and those that stay only until others are on guard
	ready := 0
	for _, pod := range v.Standbys {
		node := v.node(pod.Node)
		switch {
		case pod.Node != "" && node.silent():
			// Should the segment be split, it has taken the VIP over on its side, by a title above that of our active.
			d.Delete[pod.Name], d.NewTerm = true, true
		case pod.Leaving || pod.Node != "" && !node.fit():
			replaced = append(replaced, pod)
		default:
			good = append(good, pod)
			if pod.Ready {
				ready++
			}
		}
	}
	free := v.free()
	for _, pod := range good { // those that wait take the free nodes first
		if pod.Node == "" {
			free--
		}
	}
	if missing := v.Wanted - len(good); missing > 0 && free > 0 && !v.Hold {
		d.CreateStandbys = min(missing, free)
	}
	for len(good) > 0 && (len(good) > v.Wanted || free < 0) {
		worst := v.leastUseful(good, free < 0)
		if worst < 0 {
			break
		}
		if good[worst].Node == "" {
			free++
		}
		if good[worst].Ready {
			ready--
		}
		d.Delete[good[worst].Name] = false
		good = append(good[:worst:worst], good[worst+1:]...)
	}
	for i, pod := range replaced {
		switch {
		case ready >= v.Wanted: // others are on guard
			d.Delete[pod.Name] = false
		case len(good)+d.CreateStandbys+len(replaced)-i > v.Wanted && !pod.Ready:
			d.Delete[pod.Name] = false // of no use, and not the last one that might be
		case d.CreateStandbys == 0 && ready == len(good) && v.node(pod.Node).unserved():
			d.Delete[pod.Name] = false // nobody is about to replace it, and nobody would serve what it took over
		}
	}
}

// leastUseful picks the standby to give up: one without a node, one that doesn't guard, else the youngest. onlyWaiting: only
// one without a node.
func (v View) leastUseful(pods []Pod, onlyWaiting bool) int {
	worst, rank := -1, 0
	for i, pod := range pods {
		r := 1
		switch {
		case pod.Node == "":
			r = 3
		case onlyWaiting:
			continue
		case !pod.Ready:
			r = 2
		}
		if r >= rank { // the later ones are younger
			worst, rank = i, r
		}
	}
	return worst
}

// Guarded says whether every standby that the VIP is to have is on guard, and if not what is missing.
func Guarded(v View) (ok bool, reason, message string) {
	ready, there := 0, 0
	for _, pod := range v.Standbys {
		if node := v.node(pod.Node); pod.Node != "" && pod.Ready && node.Suspicion == "" && !node.unserved() {
			ready++
		}
		there++
	}
	switch {
	case v.Wanted == 0:
		return false, "NotWanted", "unprotected: no standby is wanted"
	case v.Unserved:
		return false, NoEndpoints, "unprotected: no node has an endpoint that it could announce it for"
	case ready >= v.Wanted:
		return true, "Guarding", fmt.Sprintf("%d of %d standbys guard it", ready, v.Wanted)
	case ready == 0 && v.free() == 0 && v.onlyEndpointsMissing() > 0:
		return false, NoOtherEndpoint, fmt.Sprintf("unprotected: no other node that can have it has a ready endpoint (externalTrafficPolicy is Local). "+
			"Run the Service's pods on another node too: %d could have it then", v.onlyEndpointsMissing())
	case there == 0 && v.free() == 0:
		return false, "SingleNode", "unprotected: no other node can have it"
	case ready > 0 && ready == there && v.free() == 0:
		return true, "Guarding", fmt.Sprintf("%d of %d standbys guard it; no further node can", ready, v.Wanted)
	}
	return false, "StandbyMissing", fmt.Sprintf("%d of %d standbys guard it", ready, v.Wanted)
}
