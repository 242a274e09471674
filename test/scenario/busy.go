package scenario

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/netip"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	limiter "golang.org/x/time/rate"

	"evenkeel.io/evenkeel/api/placeholder"
	"evenkeel.io/evenkeel/api/v1alpha1"
	"evenkeel.io/evenkeel/test/lab"
)

// Busy is where VIPs went that were created while one node carried all the traffic with the fewest VIPs.
type Busy struct {
	Criteria []string `json:"criteria"`
	// Before and After are VIPs on each node, of which the first one has the busy ones.
	Before []int `json:"vipsBefore"`
	After  []int `json:"vipsAfter"`
	// ToBusy of the new ones went to the busy node.
	New    int `json:"new"`
	ToBusy int `json:"newOnTheBusyNode"`
	// Bytes that each node carried in a while after all, when the new VIPs were as busy; BusiestShare is that of the busiest node, and
	// IdealShare what it would be if all nodes carried the same.
	Bytes        []int64 `json:"bytes"`
	BusiestShare float64 `json:"busiestShare"`
	IdealShare   float64 `json:"idealShare"`
}

const (
	// busyRate is what a busy VIP carries, in bytes per second: 40 Mbit/s, which several at once leave the machine time for.
	busyRate = 5 << 20
	// busyPiece is what is asked for at a time.
	busyPiece = 1 << 20
	// measuredWithin bounds how long figures may take: announcers write them every 30 s at most.
	measuredWithin = 2 * time.Minute
	// busyWhile is how long bytes are counted.
	busyWhile = 10 * time.Second
)

// PlaceBesideBusy has busy VIPs on the first node and idle ones on each of the others, waits until the figures show it, creates as many
// again, and counts.
func (e *Env) PlaceBesideBusy(ctx context.Context, criteria []string, busy, idle, more int) (result Busy, err error) {
	result = Busy{Criteria: criteria, New: more, IdealShare: 1 / float64(len(e.Nodes))}
	busyNames, idleNames, newNames := Names("busy", busy), Names("idle", idle*(len(e.Nodes)-1)), Names("new", more)
	first := e.Nodes[0].Name()
	if err := e.createOn(ctx, busyNames, []string{first}); err != nil {
		return result, err
	}
	if err := e.createOn(ctx, idleNames, e.others(e.Nodes[0])); err != nil {
		return result, err
	}
	s, err := e.SpreadOf(ctx)
	if err != nil {
		return result, err
	}
	result.Before = s.PerNode
	vips, err := e.Announced(ctx, busyNames...)
	if err != nil {
		return result, err
	}
	d := e.startDownloads(ctx, Flatten(vips))
	defer func() { err = errors.Join(err, d.stop()) }()
	if err := e.measured(ctx, first, Flatten(vips)); err != nil {
		return result, err
	}
	for _, name := range newNames { // one after the other, each is placed when the next one comes
		if err := e.CreateAll(ctx, []string{name}, lab.ServiceOptions{}); err != nil {
			return result, err
		}
	}
	if s, err = e.SpreadOf(ctx); err != nil {
		return result, err
	}
	result.After = s.PerNode
	result.ToBusy = s.PerNode[0] - result.Before[0]
	fresh, err := e.Announced(ctx, newNames...)
	if err != nil {
		return result, err
	}
	d.add(Flatten(fresh))
	return result, e.countBytes(ctx, d, &result)
}

// createOn creates Services while only the given nodes take new VIPs.
func (e *Env) createOn(ctx context.Context, names, nodes []string) error {
	cordon := func(closed func(node string) bool) error {
		for _, node := range e.names() {
			if err := e.patchNode(ctx, node, fmt.Sprintf(`{"spec":{"unschedulable":%t}}`, closed(node))); err != nil {
				return err
			}
		}
		time.Sleep(time.Second) // the scheduler's view of the nodes follows
		return nil
	}
	if err := cordon(func(node string) bool { return !slices.Contains(nodes, node) }); err != nil {
		return err
	}
	return errors.Join(e.CreateAll(ctx, names, lab.ServiceOptions{}), cordon(func(string) bool { return false }))
}

// measured waits until the node's figures show each of the VIPs with at least half of what it carries.
func (e *Env) measured(ctx context.Context, node string, vips []netip.Addr) error {
	ctx, cancel := context.WithTimeout(ctx, measuredWithin)
	defer cancel()
	err := lab.Eventually(ctx, func(ctx context.Context) error {
		var traffic v1alpha1.VIPNodeTraffic
		if err := e.VIPs.Get().Resource("vipnodetraffics").Name(node).Do(ctx).Into(&traffic); err != nil {
			return err
		}
		for _, vip := range vips {
			seen := slices.ContainsFunc(traffic.Status.VIPs, func(t v1alpha1.VIPTraffic) bool {
				return t.Name == placeholder.VIPName(vip) && t.BytesPerSecond >= busyRate/2
			})
			if !seen {
				time.Sleep(time.Second) // the pace
				return fmt.Errorf("%s isn't busy by the figures of %s: %+v", vip, node, traffic.Status.VIPs)
			}
		}
		return nil
	})
	if err != nil {
		return fmt.Errorf("waiting for figures: %w", err)
	}
	return nil
}

// countBytes counts what goes through each node for a while.
func (e *Env) countBytes(ctx context.Context, d *downloads, result *Busy) error {
	placements, err := e.Placements(ctx)
	if err != nil {
		return err
	}
	before := d.bytes()
	select {
	case <-ctx.Done():
		return ctx.Err()
	case <-time.After(busyWhile):
	}
	perNode, total := map[string]int64{}, int64(0)
	for vip, bytes := range d.bytes() {
		perNode[placements[placeholder.VIPName(vip)]] += bytes - before[vip]
		total += bytes - before[vip]
	}
	if total == 0 {
		return errors.New("nothing was downloaded through any VIP")
	}
	for _, name := range e.names() {
		result.Bytes = append(result.Bytes, perNode[name])
	}
	result.BusiestShare = float64(slices.Max(result.Bytes)) / float64(total)
	return nil
}

// downloads keep VIPs busy, each at busyRate, until stop.
type downloads struct {
	client  *http.Client
	ctx     context.Context // ends with stop
	cancel  context.CancelFunc
	running sync.WaitGroup

	mu       sync.Mutex
	received map[netip.Addr]*atomic.Int64
	failure  error
}

func (e *Env) startDownloads(ctx context.Context, vips []netip.Addr) *downloads {
	d := &downloads{
		client:   &http.Client{Transport: &http.Transport{DialContext: e.Client.DialContext, DisableKeepAlives: true}},
		received: map[netip.Addr]*atomic.Int64{},
	}
	d.ctx, d.cancel = context.WithCancel(ctx)
	d.add(vips)
	return d
}

// add has more VIPs be busy.
func (d *downloads) add(vips []netip.Addr) {
	ctx := d.ctx
	for _, vip := range vips {
		count := &atomic.Int64{}
		d.mu.Lock()
		d.received[vip] = count
		d.mu.Unlock()
		d.running.Go(func() {
			pace := limiter.NewLimiter(busyRate, busyPiece)
			for pace.WaitN(ctx, busyPiece) == nil {
				if err := d.download(ctx, vip, count); err != nil && ctx.Err() == nil {
					d.mu.Lock()
					d.failure = errors.Join(d.failure, fmt.Errorf("downloading through %s: %w", vip, err))
					d.mu.Unlock()
					return
				}
			}
		})
	}
}

func (d *downloads) download(ctx context.Context, vip netip.Addr, count *atomic.Int64) error {
	url := fmt.Sprintf("http://%s%s?%s=%d", netip.AddrPortFrom(vip, 80), lab.BulkPath, lab.BulkBytes, busyPiece)
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, url, nil)
	if err != nil {
		return err
	}
	response, err := d.client.Do(request)
	if err != nil {
		return err
	}
	defer func() { _ = response.Body.Close() }()
	n, err := io.Copy(io.Discard, response.Body)
	count.Add(n)
	if err == nil && n != busyPiece {
		err = fmt.Errorf("%d bytes came, status %s", n, response.Status)
	}
	return err
}

// bytes are what has come through each VIP.
func (d *downloads) bytes() map[netip.Addr]int64 {
	d.mu.Lock()
	defer d.mu.Unlock()
	bytes := map[netip.Addr]int64{}
	for vip, count := range d.received {
		bytes[vip] = count.Load()
	}
	return bytes
}

// stop ends all downloads and returns what failed.
func (d *downloads) stop() error {
	d.cancel()
	d.running.Wait()
	d.client.CloseIdleConnections()
	return d.failure
}
