package scenario

import (
	"context"
	"errors"
	"net/netip"
	"slices"
	"time"

	"evenkeel.io/evenkeel/test/lab"
)

// Takeover is how VIPs came to answer elsewhere after something befell their nodes.
type Takeover struct {
	VIPs int `json:"vips"`
	// Per VIP, from the fault: the first ARP answer of another machine to the client, and the first good HTTP requests of an
	// on-link client with a warm neighbour entry and of one behind the router. In order of time.
	ARPMs  []float64 `json:"arpMs"`
	HTTPMs []float64 `json:"httpMs,omitempty"`
	FarMs  []float64 `json:"farMs,omitempty"`
	ARP    Stats     `json:"arp"`
	HTTP   Stats     `json:"http"`
	Far    Stats     `json:"far"`
	// HTTPAfterARP and FarAfterARP are how much later than the first ARP answer the last of all VIPs was good again.
	HTTPAfterARPMs float64 `json:"httpAfterArpMaxMs"`
	FarAfterARPMs  float64 `json:"farAfterArpMaxMs"`
	// Silent VIPs never answered while they were watched.
	Silent int `json:"silent"`
	// Spread over the nodes that were left, by their kernels, when the last VIP answered.
	Spread Spread `json:"spreadOfSurvivors"`
	// TwoOwnersMs is the longest time that two nodes had one VIP; what machines have that nobody hears is left out.
	TwoOwnersMs float64 `json:"twoOwnersMs"`
}

// watched says what is watched during a takeover.
type watched struct {
	vips []netip.Addr
	// lost are the nodes whose answers don't count.
	lost []*lab.Node
	// heard: the lost nodes' kernels are still heard, so that what they have bound counts.
	heard bool
	// requests also has clients ask by HTTP.
	requests bool
	// patience bounds the wait for the last VIP.
	patience time.Duration
}

const (
	// askTakeover is the pace of ARP questions per VIP, requestTakeover that of HTTP requests: finer than any mark, and
	// coarse enough for ten VIPs at a time on two cores.
	askTakeover     = 10 * time.Millisecond
	requestTakeover = 20 * time.Millisecond
	// requestPatience is below the second after which a lost SYN is sent again: each request stands for its own time.
	requestPatience = 900 * time.Millisecond
)

// watchTakeover has the fault happen and watches until all VIPs answer elsewhere. silence must return as soon as the lost nodes
// are silent.
func (e *Env) watchTakeover(ctx context.Context, w watched, silence func() error) (result Takeover, err error) {
	result.VIPs = len(w.vips)
	if len(w.vips) == 0 {
		return result, errors.New("watching a takeover: the node holds no VIP")
	}
	for _, vip := range w.vips {
		if err := e.served(ctx, vip, e.Client.Netns, e.Far.Netns); err != nil {
			return result, err
		}
	}
	recorder, err := e.RecordAddresses()
	if err != nil {
		return result, err
	}
	asker, err := e.Client.StartAsking(w.vips, askTakeover)
	if err != nil {
		return result, err
	}
	defer func() { err = errors.Join(err, asker.Stop()) }()
	var clients []*lab.Requester
	if w.requests {
		for _, from := range []*lab.Netns{e.Client.Netns, e.Far.Netns} {
			client, err := from.StartRequests(w.vips, lab.RequestOptions{Every: requestTakeover, Patience: requestPatience})
			if err != nil {
				return result, err
			}
			defer func() {
				_, stopErr := client.Stop()
				err = errors.Join(err, stopErr)
			}()
			clients = append(clients, client)
		}
	}
	begin := time.Now()
	if err := silence(); err != nil {
		return result, err
	}
	silent := time.Now()
	seen := e.awaitAnswers(w, asker, clients, begin, silent)
	owners, err := e.Owners()
	if err != nil {
		return result, err
	}
	events, err := recorder.Stop()
	if err != nil {
		return result, err
	}
	result.sumUp(seen)
	result.Spread = spreadOver(owners, e.others(w.lost...))
	end := time.Now()
	for _, vip := range w.vips {
		holdings := lab.Holdings(events, vip, end)
		if !w.heard {
			for _, n := range w.lost {
				holdings = without(holdings, n.Name(), begin, end)
			}
		}
		result.TwoOwnersMs = max(result.TwoOwnersMs, millis(lab.DoubleHeld(holdings)))
	}
	return result, nil
}

// answered are the times from the fault to a VIP's answers; zero: none.
type answered struct {
	arp  time.Duration
	http [2]time.Duration // on-link and behind the router
}

// awaitAnswers returns what was seen of each VIP once all have answered elsewhere, or patience has ended. Each VIP is left alone
// as soon as it has answered, so that the asking itself takes no more of the machine than it must.
func (e *Env) awaitAnswers(w watched, asker *lab.Asker, clients []*lab.Requester, begin, silent time.Time) map[netip.Addr]answered {
	seen := map[netip.Addr]answered{}
	for end := begin.Add(w.patience); time.Now().Before(end); time.Sleep(5 * time.Millisecond) {
		missing := false
		for _, vip := range w.vips {
			a := seen[vip]
			if a.arp == 0 {
				if at := firstElsewhere(asker.Sightings(vip), w.lost, begin); !at.IsZero() {
					a.arp = at.Sub(begin)
					asker.Leave(vip)
				}
				missing = missing || a.arp == 0
			}
			for i, client := range clients {
				if a.http[i] == 0 {
					if at := client.FirstAnswer(vip, silent); !at.IsZero() {
						a.http[i] = at.Sub(begin)
						client.Leave(vip)
					}
					missing = missing || a.http[i] == 0
				}
			}
			seen[vip] = a
		}
		if !missing {
			break
		}
	}
	return seen
}

// firstElsewhere is when a machine other than the lost ones first answered.
func firstElsewhere(sightings []lab.Sighting, lost []*lab.Node, begin time.Time) time.Time {
	for _, s := range sightings {
		if s.First.Before(begin) || slices.ContainsFunc(lost, func(n *lab.Node) bool { return n.MAC.String() == s.MAC.String() }) {
			continue
		}
		return s.First
	}
	return time.Time{}
}

// sumUp fills in the times.
func (t *Takeover) sumUp(seen map[netip.Addr]answered) {
	var arp, http, far []time.Duration
	for _, a := range seen {
		if a.arp == 0 {
			t.Silent++
			continue
		}
		arp = append(arp, a.arp)
		for i, list := range []*[]time.Duration{&http, &far} {
			if a.http[i] > 0 {
				*list = append(*list, a.http[i])
			}
		}
		t.HTTPAfterARPMs = max(t.HTTPAfterARPMs, millis(a.http[0]-a.arp))
		t.FarAfterARPMs = max(t.FarAfterARPMs, millis(a.http[1]-a.arp))
	}
	t.ARP, t.HTTP, t.Far = StatsOf(arp), StatsOf(http), StatsOf(far)
	t.ARPMs, t.HTTPMs, t.FarMs = allMillis(arp), allMillis(http), allMillis(far)
}

func millis(d time.Duration) float64 { return float64(d.Microseconds()) / 1000 }

func allMillis(all []time.Duration) []float64 {
	var out []float64
	for _, d := range all {
		out = append(out, millis(d))
	}
	return out
}

// without cuts a time out of a node's holdings: what a machine has bound that nobody can hear makes nobody a second owner.
func without(holdings []lab.Holding, node string, from, to time.Time) []lab.Holding {
	var out []lab.Holding
	for _, h := range holdings {
		if h.Node != node || !h.From.Before(to) || !h.To.After(from) {
			out = append(out, h)
			continue
		}
		if h.From.Before(from) {
			out = append(out, lab.Holding{Node: h.Node, From: h.From, To: from})
		}
		if h.To.After(to) {
			out = append(out, lab.Holding{Node: h.Node, From: to, To: h.To})
		}
	}
	return out
}

// twoOwners is the longest time after since that two nodes had one of the VIPs, and when the last of them had one owner again.
func twoOwners(events []lab.AddrEvent, vips []netip.Addr, since, end time.Time) (longest, until time.Duration) {
	for _, o := range overlaps(events, vips, since, end) {
		longest, until = max(longest, o.To.Sub(o.From)), max(until, o.To.Sub(since))
	}
	return longest, until
}

// overlap is a time for which two nodes had one VIP.
type overlap struct {
	VIP netip.Addr
	lab.Overlap
}

// overlaps returns each time after since that two nodes had one of the VIPs.
func overlaps(events []lab.AddrEvent, vips []netip.Addr, since, end time.Time) []overlap {
	var found []overlap
	for _, vip := range vips {
		for _, o := range lab.Overlaps(lab.Holdings(events, vip, end)) {
			if o.From.Before(since) {
				o.From = since
			}
			if o.To.After(o.From) {
				found = append(found, overlap{vip, o})
			}
		}
	}
	return found
}
