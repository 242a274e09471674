package scenario

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"net/netip"
	"slices"
	"strings"
	"time"

	"evenkeel.io/evenkeel/test/lab"
)

// Healed is what a split of the segment did, and its end.
type Healed struct {
	Nodes int `json:"nodes"`
	// ClientSide are the nodes on the client's side; the API server is there too, or on the other one.
	ClientSide   []string `json:"clientSide"`
	APIWithThem  bool     `json:"apiWithThem"`
	AnsweredHere int      `json:"activeOnClientSide"` // VIPs that needn't move
	// Guarded VIPs had a standby on the client's side and their active away; Bare ones neither.
	Guarded     Stats `json:"guardedTakenOver"`
	GuardedLost int   `json:"guardedSilent"`
	Bare        Stats `json:"bareTakenOver"`
	BareLost    int   `json:"bareSilent"`
	// OwnersPerSide is the most owners that a VIP had on one side at the end of the split.
	OwnersPerSide int `json:"mostOwnersPerSide"`
	// OneOwnerMs is from the healing until every VIP that the split had given two owners had one, by kind: those guarded on the
	// client's side, the bare ones, and those whose active was on the client's side; LastToHeal names the last one. MovedTwoOwnersMs
	// is the longest time that planned moves afterwards gave a VIP two owners. WholeMs is until nothing was amiss.
	OneOwnerMs        float64 `json:"oneOwnerAfterHealingMs"`
	OneOwnerGuardedMs float64 `json:"guardedOneOwnerMs"`
	OneOwnerBareMs    float64 `json:"bareOneOwnerMs"`
	OneOwnerHereMs    float64 `json:"activeOnClientSideOneOwnerMs"`
	LastToHeal        string  `json:"lastToHeal,omitempty"`
	MovedTwoOwnersMs  float64 `json:"movedAfterwardsTwoOwnersMs"`
	WholeMs           float64 `json:"wholeAfterHealingMs"`
}

// Split parts the segment: the first nodes stay with client and router, the others go to the other side, with the API
// server or without it. After a while it heals.
func (e *Env) Split(ctx context.Context, stay int, apiHere bool, length time.Duration) (Healed, error) {
	result := Healed{Nodes: len(e.Nodes), APIWithThem: apiHere}
	if _, err := e.Settled(ctx); err != nil {
		return result, err
	}
	found, err := e.whole(ctx, e.names())
	if err != nil {
		return result, err
	}
	away := map[string]bool{}
	var awayNodes []*lab.Node
	var awaySpaces []*lab.Netns
	for i, n := range e.Nodes {
		if i < stay {
			result.ClientSide = append(result.ClientSide, n.Name())
			continue
		}
		away[n.Name()] = true
		awayNodes, awaySpaces = append(awayNodes, n), append(awaySpaces, n.Netns)
	}
	if !apiHere {
		awaySpaces = append(awaySpaces, e.ControlPlane)
	}
	guarded, bare := sides(found, away)
	moving := slices.Concat(guarded, bare)
	owners, err := e.Owners()
	if err != nil {
		return result, err
	}
	result.AnsweredHere = len(owners) - len(moving)
	recorder, err := e.RecordAddresses()
	if err != nil {
		return result, err
	}
	asker, err := e.Client.StartAsking(moving, 20*time.Millisecond)
	if err != nil {
		return result, err
	}
	begin := time.Now()
	if err := e.SplitSegment(ctx, awaySpaces...); err != nil {
		return result, errors.Join(err, asker.Stop())
	}
	time.Sleep(length) // the split itself
	result.Guarded, result.GuardedLost = answeredHere(asker, guarded, awayNodes, begin)
	result.Bare, result.BareLost = answeredHere(asker, bare, awayNodes, begin)
	if err := asker.Stop(); err != nil {
		return result, err
	}
	for _, side := range [][]string{result.ClientSide, slices.Collect(maps.Keys(away))} {
		on, err := e.ownersOf(side)
		if err != nil {
			return result, err
		}
		for _, list := range on {
			result.OwnersPerSide = max(result.OwnersPerSide, len(list))
		}
	}
	begin = time.Now()
	if err := errors.Join(e.HealSegment(ctx), e.Whole(ctx)); err != nil {
		return result, err
	}
	result.WholeMs = millis(time.Since(begin))
	events, err := recorder.Stop()
	if err != nil {
		return result, err
	}
	var here []netip.Addr
	for vip := range owners {
		if !slices.Contains(moving, vip) {
			here = append(here, vip)
		}
	}
	for _, kind := range []struct {
		vips  []netip.Addr
		after *float64
	}{{guarded, &result.OneOwnerGuardedMs}, {bare, &result.OneOwnerBareMs}, {here, &result.OneOwnerHereMs}} {
		for _, o := range overlaps(events, kind.vips, begin, time.Now()) {
			if !o.From.Equal(begin) { // by a claim that came to nothing, or a move
				result.MovedTwoOwnersMs = max(result.MovedTwoOwnersMs, millis(o.To.Sub(o.From)))
				continue
			}
			*kind.after = max(*kind.after, millis(o.To.Sub(begin)))
			if *kind.after > result.OneOwnerMs {
				result.OneOwnerMs, result.LastToHeal = *kind.after, fmt.Sprintf("%s on %s and %s", o.VIP, o.Nodes[0], o.Nodes[1])
			}
		}
	}
	return result, nil
}

// sides returns the VIPs whose active placeholder is away: those with a standby on this side, and the others.
func sides(found map[string]places, away map[string]bool) (guarded, bare []netip.Addr) {
	for name, p := range found {
		// The scenarios' VIPs are IPv4 addresses.
		vip, err := netip.ParseAddr(strings.ReplaceAll(name, "-", "."))
		if err != nil || !away[p.active] {
			continue
		}
		if slices.ContainsFunc(p.standbys, func(node string) bool { return !away[node] }) {
			guarded = append(guarded, vip)
		} else {
			bare = append(bare, vip)
		}
	}
	return guarded, bare
}

// answeredHere sums up when VIPs were first answered for by a machine on this side, and counts those that never were.
func answeredHere(asker *lab.Asker, vips []netip.Addr, away []*lab.Node, begin time.Time) (Stats, int) {
	var times []time.Duration
	for _, vip := range vips {
		if at := firstElsewhere(asker.Sightings(vip), away, begin); !at.IsZero() {
			times = append(times, at.Sub(begin))
		}
	}
	return StatsOf(times), len(vips) - len(times)
}
