package scenario

import (
	"context"
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"evenkeel.io/evenkeel/api/placeholder"
	"evenkeel.io/evenkeel/test/lab"
)

// Flushed is how VIPs came back after something deleted addresses of a node.
type Flushed struct {
	Case     string `json:"case"`
	VIPs     int    `json:"vips"`
	Restored Stats  `json:"restored"` // from the deletion, or from the return of the node's own address, to the VIP's
	// OwnFirst: the node's own IPv4 address stands before all VIPs at the end.
	OwnFirst bool `json:"ownFirst"`
	Moves    int  `json:"moves"`
}

// FlushVIPs deletes every VIP of a node, as a network manager does that knows only its own addresses.
func (e *Env) FlushVIPs(ctx context.Context, n *lab.Node) (Flushed, error) {
	return e.flush(ctx, n, "VIPs flushed", func() error {
		_, err := n.FlushVIPs()
		return err
	})
}

// FlushOwn deletes the node's own addresses and puts them back while the VIPs stand.
func (e *Env) FlushOwn(ctx context.Context, n *lab.Node) (Flushed, error) {
	return e.flush(ctx, n, "own addresses flushed and restored", func() error {
		if _, err := n.FlushOwn(); err != nil {
			return err
		}
		return e.RestoreOwn(n)
	})
}

// FlushAll deletes all addresses; the node's own come back after a while.
func (e *Env) FlushAll(ctx context.Context, n *lab.Node, away time.Duration) (Flushed, error) {
	return e.flush(ctx, n, "all addresses flushed, own ones restored later", func() error {
		if _, err := n.FlushOwn(); err != nil {
			return err
		}
		if _, err := n.FlushVIPs(); err != nil {
			return err
		}
		time.Sleep(away) // how long a network manager is busy
		return e.RestoreOwn(n)
	})
}

func (e *Env) flush(ctx context.Context, n *lab.Node, what string, f func() error) (Flushed, error) {
	result := Flushed{Case: what}
	held, err := Held(n)
	if err != nil {
		return result, err
	}
	before, err := e.Placements(ctx)
	if err != nil {
		return result, err
	}
	recorder, err := e.RecordAddresses()
	if err != nil {
		return result, err
	}
	if err := f(); err != nil {
		return result, err
	}
	waitCtx, cancel := context.WithTimeout(ctx, 20*time.Second)
	defer cancel()
	waitErr := lab.Eventually(waitCtx, func(context.Context) error {
		addresses, err := n.Addresses()
		if err != nil {
			return err
		}
		back := 0
		for _, vip := range held {
			if slices.ContainsFunc(addresses, func(p netip.Prefix) bool { return p.Addr() == vip }) {
				back++
			}
		}
		result.OwnFirst = ownFirst(addresses)
		if back < len(held) || !result.OwnFirst {
			return fmt.Errorf("%d of %d VIPs are back, the node's own address is first: %v", back, len(held), result.OwnFirst)
		}
		return nil
	})
	events, err := recorder.Stop()
	if waitErr != nil {
		return result, waitErr
	}
	if err != nil {
		return result, err
	}
	result.VIPs = len(held)
	result.Restored = StatsOf(restoreTimes(events, n, held))
	after, err := e.Placements(ctx)
	for vip, node := range before {
		if after[vip] != node {
			result.Moves++
		}
	}
	return result, err
}

// ownFirst says whether no VIP stands before the first IPv4 address of the node's own. (IPv6 puts newer addresses first, whoever
// adds them; there the VIPs' preferred lifetime of 0 keeps them from being chosen as a source.)
func ownFirst(addresses []netip.Prefix) bool {
	for _, p := range addresses {
		if p.Addr().Is4() {
			return !p.IsSingleIP()
		}
	}
	return false
}

// restoreTimes returns for each VIP that went the time from when it could have been back (it was deleted, or the node's own
// address of its family came back, whichever is later) to when it was.
func restoreTimes(events []lab.AddrEvent, n *lab.Node, vips []netip.Addr) []time.Duration {
	var all []time.Duration
	gone := map[netip.Addr]time.Time{}
	var ownBack [2]time.Time
	family := func(a netip.Addr) int {
		if a.Is4() {
			return 0
		}
		return 1
	}
	for _, event := range events {
		addr := event.Addr.Addr()
		if event.Node != n.Name() {
			continue
		}
		switch {
		case !slices.Contains(vips, addr):
			if event.Added && !event.Renewed && !event.Addr.IsSingleIP() {
				ownBack[family(addr)] = event.At
			}
		case !event.Added:
			gone[addr] = event.At
		case !event.Renewed:
			if at, ok := gone[addr]; ok {
				if ownBack[family(addr)].After(at) {
					at = ownBack[family(addr)]
				}
				all = append(all, event.At.Sub(at))
				delete(gone, addr)
			}
		}
	}
	return all
}

// Foreign is what became of a VIP that a machine outside the cluster answers for.
type Foreign struct {
	DelayMs  int64   `json:"answerDelayMs"`
	Found    bool    `json:"found"`     // an event on the Service names the machine's MAC
	FoundMs  float64 `json:"foundMs"`   // from the Service's creation
	Bound    bool    `json:"stillHeld"` // some node still had the address when it was found
	Resolved bool    `json:"resolved"`  // announced by itself once the machine was silent
}

// ForeignAnswers creates a Service whose address a foreign machine answers for after a delay, waits for the event, silences
// the machine and waits for the announcement.
func (e *Env) ForeignAnswers(ctx context.Context, name string, vip netip.Addr, delay time.Duration, resolve bool) (Foreign, error) {
	result := Foreign{DelayMs: delay.Milliseconds()}
	machine, err := e.foreignMachine()
	if err != nil {
		return result, err
	}
	if err := machine.Answer(vip, delay); err != nil {
		return result, err
	}
	begin := time.Now()
	o := Options(lab.ServiceOptions{Annotations: map[string]string{placeholder.AnnotationRequested: vip.String()}})
	if _, err := e.CreateService(ctx, name, o); err != nil {
		return result, err
	}
	waitCtx, cancel := context.WithTimeout(ctx, 20*time.Second)
	defer cancel()
	result.Found = nil == lab.Eventually(waitCtx, func(ctx context.Context) error {
		events, err := e.Kube.EventsV1().Events("default").List(ctx, metav1.ListOptions{FieldSelector: "regarding.name=" + name})
		if err != nil {
			return err
		}
		for _, event := range events.Items {
			if strings.Contains(event.Note, machine.MAC.String()) {
				return nil
			}
		}
		return fmt.Errorf("no event of Service %s names %s", name, machine.MAC)
	})
	result.FoundMs = float64(time.Since(begin).Milliseconds())
	for _, n := range e.Nodes {
		held, err := Held(n)
		if err != nil {
			return result, err
		}
		result.Bound = result.Bound || slices.Contains(held, vip)
	}
	if err := machine.Silence(); err != nil {
		return result, err
	}
	if resolve {
		_, err := e.Announced(ctx, name)
		result.Resolved = err == nil
	}
	return result, nil
}

// foreignMachine returns the one foreign machine of these scenarios.
func (e *Env) foreignMachine() (*lab.Foreign, error) {
	if e.foreign == nil {
		machine, err := e.AddForeign()
		if err != nil {
			return nil, err
		}
		e.foreign = machine
	}
	return e.foreign, nil
}
