package traffic

import (
	"cmp"
	"math"
	"net/netip"
	"slices"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/utils/ptr"

	"evenkeel.io/evenkeel/api/v1alpha1"
)

const (
	// constant of the moving averages.
	constant = 60 * time.Second
	// maxVIPs and maxInterfaces are what a VIPNodeTraffic has room for (api/v1alpha1).
	maxVIPs, maxInterfaces = 512, 128
)

// VIP is an address that this node has bound, and the name of the VIP that it belongs to.
type VIP struct {
	Addr netip.Addr
	Name string
}

// Meter turns counters into moving averages. It knows no clock and no kernel, and is not safe for concurrent use.
type Meter struct {
	vips   map[netip.Addr]*vipMeter
	links  map[string]*linkMeter
	cpu    average
	ticks  CPU
	asOf   time.Time // of ticks; zero: not read yet
	totals Counts
}

type vipMeter struct {
	name string
	// last is what the counters said as of a time.
	last                        Counts
	asOf                        time.Time
	bytes, packets, connections average
}

type linkMeter struct {
	last           Link
	asOf           time.Time
	received, sent average
}

// NewMeter returns a meter of nothing.
func NewMeter() *Meter {
	return &Meter{vips: map[netip.Addr]*vipMeter{}, links: map[string]*linkMeter{}}
}

// SetVIPs tells which addresses are counted from now on: the complete list. Those that are counted already keep their averages.
func (m *Meter) SetVIPs(vips []VIP, now time.Time) {
	before := m.vips
	m.vips = make(map[netip.Addr]*vipMeter, len(vips))
	for _, vip := range vips {
		v, ok := before[vip.Addr]
		if !ok {
			v = &vipMeter{asOf: now}
		}
		v.name = vip.Name
		m.vips[vip.Addr] = v
	}
}

// Restarted tells that all counters began anew, right after they were counted.
func (m *Meter) Restarted() {
	for _, v := range m.vips {
		v.last = Counts{}
	}
}

// Count takes in what the counters say. A counter that has become smaller has begun anew; one that is missing is waited for.
func (m *Meter) Count(counts map[netip.Addr]Counts, now time.Time) {
	for addr, v := range m.vips {
		read, ok := counts[addr]
		length := now.Sub(v.asOf)
		if !ok || length <= 0 {
			continue
		}
		grown := read.since(v.last)
		v.last, v.asOf = read, now
		v.bytes.add(perSecond(grown.Bytes, length), length, constant)
		v.packets.add(perSecond(grown.Packets, length), length, constant)
		v.connections.add(perSecond(grown.Connections, length), length, constant)
		m.totals = m.totals.plus(grown)
	}
}

func (c Counts) plus(d Counts) Counts {
	return Counts{c.Bytes + d.Bytes, c.Packets + d.Packets, c.Connections + d.Connections}
}

// since is what was counted after an earlier reading.
func (c Counts) since(earlier Counts) Counts {
	if c.Bytes < earlier.Bytes || c.Packets < earlier.Packets || c.Connections < earlier.Connections {
		return c
	}
	return Counts{c.Bytes - earlier.Bytes, c.Packets - earlier.Packets, c.Connections - earlier.Connections}
}

func perSecond(n uint64, length time.Duration) float64 { return float64(n) / length.Seconds() }

// Links takes in what NICs have carried: the complete list.
func (m *Meter) Links(links []Link, now time.Time) {
	before := m.links
	m.links = make(map[string]*linkMeter, len(links))
	for _, link := range links {
		l, ok := before[link.Name]
		if !ok {
			l = &linkMeter{last: link, asOf: now}
		}
		length := now.Sub(l.asOf)
		l.received.add(perSecond(grown(l.last.Received, link.Received), length), length, constant)
		l.sent.add(perSecond(grown(l.last.Sent, link.Sent), length), length, constant)
		l.last, l.asOf = link, now
		m.links[link.Name] = l
	}
}

// grown is how much a counter has grown. One that has become smaller is that of another NIC of the name.
func grown(before, now uint64) uint64 {
	if now < before {
		return now
	}
	return now - before
}

// CPU takes in how busy the processors were.
func (m *Meter) CPU(ticks CPU, now time.Time) {
	before, length := m.ticks, now.Sub(m.asOf)
	known := !m.asOf.IsZero()
	m.ticks, m.asOf = ticks, now
	// The kernel's idle times may go back a little (proc_stat(5), iowait).
	if !known || ticks.Total <= before.Total || ticks.Busy < before.Busy {
		return
	}
	share := float64(ticks.Busy-before.Busy) / float64(ticks.Total-before.Total)
	m.cpu.add(1000*min(share, 1), length, constant)
}

// Totals are all that was counted, of whatever VIP. They only grow.
func (m *Meter) Totals() Counts { return m.totals }

// Status is what is published as of now.
func (m *Meter) Status(now time.Time) v1alpha1.VIPNodeTrafficStatus {
	status := v1alpha1.VIPNodeTrafficStatus{MeasuredAt: metav1.NewTime(now), CPUPermille: int32(min(whole(m.cpu.rate()), 1000))}
	var all rates
	named := map[string]rates{} // the addresses of a VIP count together
	for _, v := range m.vips {
		r := rates{v.bytes.rate(), v.packets.rate(), v.connections.rate()}
		all, named[v.name] = all.plus(r), named[v.name].plus(r)
	}
	status.BytesPerSecond, status.PacketsPerSecond, status.NewConnectionsPerSecond = whole(all.bytes), whole(all.packets), whole(all.connections)
	for name, r := range named {
		if packets := whole(r.packets); packets > 0 {
			status.VIPs = append(status.VIPs, v1alpha1.VIPTraffic{
				Name: name, BytesPerSecond: whole(r.bytes), PacketsPerSecond: packets, NewConnectionsPerSecond: whole(r.connections),
			})
		}
	}
	slices.SortFunc(status.VIPs, func(a, b v1alpha1.VIPTraffic) int {
		return cmp.Or(cmp.Compare(b.BytesPerSecond, a.BytesPerSecond), cmp.Compare(a.Name, b.Name))
	})
	status.VIPs = status.VIPs[:min(len(status.VIPs), maxVIPs)]
	for name, l := range m.links {
		status.Interfaces = append(status.Interfaces, l.status(name))
	}
	slices.SortFunc(status.Interfaces, func(a, b v1alpha1.InterfaceTraffic) int { return cmp.Compare(a.Name, b.Name) })
	status.Interfaces = status.Interfaces[:min(len(status.Interfaces), maxInterfaces)]
	return status
}

// rates are averages, a second.
type rates struct {
	bytes, packets, connections float64
}

func (r rates) plus(s rates) rates {
	return rates{r.bytes + s.bytes, r.packets + s.packets, r.connections + s.connections}
}

// whole is a rate as it is published.
func whole(rate float64) int64 { return int64(math.Round(max(rate, 0))) }

func (l *linkMeter) status(name string) v1alpha1.InterfaceTraffic {
	s := v1alpha1.InterfaceTraffic{Name: name, BytesPerSecond: whole(max(l.received.rate(), l.sent.rate()))}
	if l.last.SpeedMbps > 0 {
		permille := s.BytesPerSecond * 8 / 1000 / l.last.SpeedMbps // of 1e6 bits a second for each Mbit/s, in thousandths
		s.UtilizationPermille = ptr.To(int32(min(permille, 1000)))
	}
	return s
}
