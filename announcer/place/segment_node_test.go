package place

import (
	"time"

	"evenkeel.io/evenkeel/announcer/arp/wire"
)

func (n *simNode) tick() {
	now := n.sim.now
	if n.bound && n.working() && n.m.Bound() {
		n.renewed = now // more often than in earnest, to the same effect
	}
	if n.bound && !n.hung && now.Sub(n.renewed) > simLifetime {
		n.bound = false
		n.sim.logf("%v node %d: the kernel removes the address", now.Sub(epoch), n.id)
	}
	if !n.working() {
		return
	}
	n.listen()
	n.look()
	if n.probe != nil && !now.Before(n.probeDue) {
		probe, saw := n.probe, n.probeSaw
		n.probe = nil
		var ignored MAC
		for _, o := range n.sim.nodes {
			if n.sim.linked(n, o) && o.bound && probe.Ignore[o.mac] {
				ignored = o.mac
			}
		}
		n.do(n.m.Verdict(probe.Probe, saw, ignored, now))
	}
	if deadline := n.m.Deadline(); !deadline.IsZero() && !now.Before(deadline) {
		n.do(n.m.Tick(now))
	}
	if n.m.Unsure() && !now.Before(n.unsureDue) {
		n.unsureDue = now.Add(time.Second)
		n.question()
	}
	n.announce()
	n.save()
}

// announce sends what is due, as package announce does.
func (n *simNode) announce() {
	now := n.sim.now
	if !n.announcing || now.Before(n.announceDue) || now.Before(n.held) || !n.bound {
		return
	}
	n.say(-1, Said{From: n.mac, Kind: wire.Claim, Title: n.m.Title(), Titled: true})
	n.lastAnnounced = now
	if n.first.IsZero() {
		n.first = now
	}
	n.announceDue = now.Add(80 * time.Second)
	for _, offset := range []time.Duration{5 * time.Second, 2200 * time.Millisecond, 1100 * time.Millisecond} {
		if due := n.first.Add(offset); due.After(now) {
			n.announceDue = due
		}
	}
}

// listen notices when nobody was heard for a second, as package liveness does.
func (n *simNode) listen() {
	if !n.hearsAnybody() {
		return
	}
	if deaf := n.sim.now.Sub(n.lastHeard); deaf >= time.Second {
		n.sim.logf("%v node %d hears again after %v", n.sim.now.Sub(epoch), n.id, deaf)
		n.ask()
	}
	if n.sim.now.Sub(n.lastHeard) > 300*time.Millisecond {
		n.lastAnswer = n.sim.now // a fresh start for everybody
	}
	n.lastHeard = n.sim.now
}

// look asks whom the machine wants to be watched, as package liveness does.
func (n *simNode) look() {
	now := n.sim.now
	watched, ok := n.m.Watching()
	if watched.MAC != n.watch.MAC || watched.Chase != n.watch.Chase {
		n.watchHeard, n.silentSaid, n.lastAnswer, n.chaseDue = false, false, now, now
	}
	n.watch = watched
	if !ok {
		return
	}
	other := n.sim.nodes[watched.MAC[5]]
	answers := n.sim.linked(n, other) && other.bound
	switch {
	case watched.Chase:
		if !now.Before(n.chaseDue) {
			n.chaseDue = now.Add(100 * time.Millisecond)
			if answers {
				n.do(n.m.Returned(watched.MAC, now))
			}
		}
	case answers:
		n.lastAnswer = now
		if !n.watchHeard {
			n.watchHeard = true
			n.m.Answered(watched.MAC)
		}
	case n.watchHeard && !n.silentSaid && n.lastHeard == now && now.Sub(n.lastAnswer) > simSilence+time.Duration(watched.Rank)*simRank:
		n.silentSaid = true
		n.sim.logf("%v node %d takes over from %d", now.Sub(epoch), n.id, other.id)
		n.do(n.m.Silent(watched.MAC, false, now))
	}
}
