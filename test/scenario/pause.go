package scenario

import (
	"context"
	"errors"
	"time"

	"evenkeel.io/evenkeel/test/lab"
)

// PausedMachine is what a pause of a whole machine did.
type PausedMachine struct {
	Node    string  `json:"node"`
	PauseMs float64 `json:"pauseMs"`
	VIPs    int     `json:"vips"`
	// Taken are VIPs that others had bound when the machine went on.
	Taken int `json:"takenOver"`
	// TwoOwnersMs is the longest time that two nodes had one VIP after the return, OneOwnerMs when the last had one owner again.
	TwoOwnersMs float64 `json:"twoOwnersAfterReturnMs"`
	OneOwnerMs  float64 `json:"oneOwnerMs"`
	// LateAnswers are VIPs for which the machine still answered ARP later than 200 ms after its return, though others had them.
	LateAnswers int `json:"lateAnswers"`
	// StolenBack are VIPs taken over that the machine had again in the end or bound meanwhile.
	StolenBack int `json:"stolenBack"`
}

// oneOwnerWithin is the mark after a machine's return.
const oneOwnerWithin = 200 * time.Millisecond

// PauseMachine pauses a node for a while and watches its return.
func (e *Env) PauseMachine(ctx context.Context, n *lab.Node, pause time.Duration) (result PausedMachine, err error) {
	result = PausedMachine{Node: n.Name(), PauseMs: millis(pause)}
	if _, err := e.Settled(ctx); err != nil {
		return result, err
	}
	vips, err := Held(n)
	if err != nil {
		return result, err
	}
	result.VIPs = len(vips)
	recorder, err := e.RecordAddresses()
	if err != nil {
		return result, err
	}
	if err := e.Pause(n); err != nil {
		return result, err
	}
	time.Sleep(pause) // the pause itself
	taken, err := e.ownersOf(e.others(n))
	if err != nil {
		return result, err
	}
	asker, err := e.Client.StartAsking(vips, 20*time.Millisecond)
	if err != nil {
		return result, err
	}
	begin := time.Now()
	resumed := e.Resume(n)
	time.Sleep(2 * time.Second) // what is watched by ARP
	if err := errors.Join(resumed, asker.Stop(), e.Whole(ctx)); err != nil {
		return result, err
	}
	events, err := recorder.Stop()
	if err != nil {
		return result, err
	}
	longest, until := twoOwners(events, vips, begin, time.Now())
	result.TwoOwnersMs, result.OneOwnerMs = millis(longest), millis(until)
	back, err := e.Owners()
	if err != nil {
		return result, err
	}
	for _, vip := range vips {
		if len(taken[vip]) == 0 {
			continue
		}
		result.Taken++
		stolen := len(back[vip]) > 0 && back[vip][0] == n.Name()
		for _, event := range events {
			stolen = stolen || event.Node == n.Name() && event.Addr.Addr() == vip && event.Added && !event.Renewed && event.At.After(begin)
		}
		if stolen {
			result.StolenBack++
		}
		for _, s := range asker.Sightings(vip) {
			if s.MAC.String() == n.MAC.String() && s.Last.Sub(begin) > oneOwnerWithin {
				result.LateAnswers++
				break
			}
		}
	}
	return result, nil
}
