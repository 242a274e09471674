package main

import (
	"context"
	"fmt"

	"evenkeel.io/evenkeel/announcer/liveness"
	"evenkeel.io/evenkeel/test/scenario"
)

// longLived is how many connections are open throughout while a VIP follows its endpoints.
const longLived = 50

// local has VIPs with traffic policy Local follow their endpoints on three nodes, with and without a standby, and withdraws one.
func (s *settings) local(ctx context.Context, p printer) error {
	z := size{nodes: 3, vips: 1}
	return guarded(ctx, s.cluster(z, liveness.ProfileBalanced), 1, func(e *scenario.Env) error {
		for _, standbys := range []int{1, 0} {
			all, err := e.FollowAll(ctx, fmt.Sprintf("local-%d", standbys), standbys, s.repetitions, longLived)
			p(fmt.Sprintf("endpoints move, %d standbys", standbys), all)
			if err != nil {
				return err
			}
			followedRows(fmt.Sprintf("Local, %d standbys", standbys), all).print(p, liveness.ProfileBalanced, z.String())
		}
		return s.withdrawals(ctx, p, e, z)
	})
}

// followedRows are the rows of VIPs that followed their endpoints.
func followedRows(event string, all scenario.FollowedAll) tallies {
	var rows tallies
	arp := rows.new(atMost(event+": EndpointSlice written to ARP answer by the new node", "ms", "< 300", 300))
	connects := rows.new(none(event+": connects of a client at 100/s that failed", "connects"))
	answers := rows.new(none(event+": its requests without an answer", "requests"))
	slowest := rows.new(atMost(event+": its slowest connect", "ms", "< 900", 900)) // a lost SYN takes a second
	resets := rows.new(none(event+": long-lived connections reset or timed out", "connections"))
	owners := rows.new(atMost(event+": two owners", "ms", "< 50", 50))
	for _, m := range all.Moves {
		arp.add(m.ARPMs)
		connects.add(float64(m.Unconnected))
		answers.add(float64(m.Unanswered))
		slowest.add(m.Connect.Max)
		owners.add(m.TwoOwnersMs)
	}
	resets.add(float64(all.Streams.Cut()))
	return rows
}

// withdrawals takes a VIP's last endpoint away and gives it one on another node.
func (s *settings) withdrawals(ctx context.Context, p printer, e *scenario.Env, z size) error {
	const service = "local-none"
	vip, err := e.CreateLocal(ctx, service, 0, e.Nodes[0])
	if err != nil {
		return err
	}
	var rows tallies
	gone := rows.new(atMost("Local, no endpoint left: EndpointSlice written to last ARP answer", "ms", "< 300", 300))
	back := rows.new(atMost("Local, an endpoint again: EndpointSlice written to ARP answer", "ms", "< 300", 300))
	for i := range s.few() {
		withdrawn, err := e.Withdraw(ctx, service, vip, e.Nodes[(i+1)%len(e.Nodes)])
		p("no endpoint for a while", withdrawn)
		if err != nil {
			return err
		}
		gone.add(withdrawn.GoneMs)
		back.add(withdrawn.BackMs)
	}
	rows.print(p, liveness.ProfileBalanced, z.String())
	return e.DeleteAll(ctx, []string{service})
}
