package scenario

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"evenkeel.io/evenkeel/test/lab"
)

// Compared are two numbers of VIPs that a node hands on, at which the rate of packets through another one of its VIPs is measured.
// WithoutTable is no number: the node hands nothing on at all then, and hasn't got the rules.
type Compared struct {
	HandedOn int `json:"handedOn"`
	Base     int `json:"base"`
}

// WithoutTable stands for a node on which handoff is off.
const WithoutTable = -1

// Pair is one pair of measurements, right after each other.
type Pair struct {
	Compared
	BaseFirst bool    `json:"baseFirst"`
	PerSecond float64 `json:"packetsPerSecond"`
	BaseRate  float64 `json:"basePacketsPerSecond"`
	Ratio     float64 `json:"ratio"`
}

// RateOptions say how rates are measured.
type RateOptions struct {
	Compared []Compared
	// Pairs of each.
	Pairs int
	// Half is how long each half of a pair is measured.
	Half time.Duration
}

const (
	// floodConnections are what the measured packets belong to.
	floodConnections = 64
	// floodSettle is for the caches of the path, and what the kernel does late about a change of tables.
	floodSettle = 100 * time.Millisecond
)

// Rates measures the rate of packets of established connections through a VIP of the first node while that hands on other VIPs. The
// cluster runs without our components: translation, conntrack and the path are those of kube-proxy and the kernel, but the table is this
// process', as an announcer's is nobody else's to fill. Pairs of the comparisons take turns, and the halves of a pair change their order
// from pair to pair, so that whatever drifts meets all alike. observe gets each pair.
func Rates(ctx context.Context, c *lab.Cluster, o RateOptions, observe func(Pair)) (err error) {
	r, err := startRate(ctx, c)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, r.close(ctx)) }()
	if err := r.proveKnown(ctx); err != nil {
		return err
	}
	for i := range o.Pairs {
		for _, compared := range o.Compared {
			pair := Pair{Compared: compared, BaseFirst: i%2 == 0}
			if err := r.measure(ctx, &pair, o.Half); err != nil {
				return err
			}
			observe(pair)
		}
	}
	err, r.flood = r.flood.Stop(), nil
	return errors.Join(err, r.proveAlive())
}

// rate is a VIP under a flood of packets.
type rate struct {
	node  *lab.Node
	vip   netip.Addr
	table *handoffTable
	conns []net.Conn
	flood *lab.Flood
}

// startRate serves a VIP from the first node and begins the flood.
func startRate(ctx context.Context, c *lab.Cluster) (*rate, error) {
	r := &rate{node: c.Nodes[0], vip: netip.MustParseAddr("192.0.2.10")}
	if err := r.serve(ctx, c); err != nil {
		return nil, err
	}
	var err error
	if r.table, err = newHandoffTable(r.node, c.Nodes[1], r.vip); err != nil {
		return nil, err
	}
	if err := r.connect(ctx, c.Client); err != nil {
		return nil, errors.Join(err, r.close(ctx))
	}
	return r, nil
}

func (r *rate) connect(ctx context.Context, client *lab.Host) error {
	for range floodConnections {
		conn, err := client.DialContext(ctx, "tcp", netip.AddrPortFrom(r.vip, 80).String())
		if err != nil {
			return fmt.Errorf("opening connections to %s: %w", r.vip, err)
		}
		r.conns = append(r.conns, conn)
	}
	// A server closes connections on which nothing was ever asked.
	if err := r.proveAlive(); err != nil {
		return err
	}
	var err error
	r.flood, err = client.StartFlood(r.node.MAC, r.conns)
	return err
}

// serve gives the node a VIP as our controller and announcer would, with a backend behind it.
func (r *rate) serve(ctx context.Context, c *lab.Cluster) error {
	if err := c.CreateBackends(ctx, App, r.node); err != nil {
		return err
	}
	service, err := c.CreateService(ctx, "rate", Options(lab.ServiceOptions{}))
	if err != nil {
		return err
	}
	service.Status.LoadBalancer.Ingress = []corev1.LoadBalancerIngress{{IP: r.vip.String()}}
	if _, err := c.Kube.CoreV1().Services(service.Namespace).UpdateStatus(ctx, service, metav1.UpdateOptions{}); err != nil {
		return fmt.Errorf("giving Service %s an address: %w", service.Name, err)
	}
	if err := r.node.AddVIP(r.vip); err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(ctx, time.Minute)
	defer cancel()
	return lab.Eventually(ctx, func(ctx context.Context) error {
		_, err := c.Client.Get(ctx, lab.URL(r.vip, 80))
		return err
	})
}

// proveKnown makes sure that conntrack knows all packets of the flood: it would hand others on, if the VIP itself were handed on.
func (r *rate) proveKnown(ctx context.Context) error {
	if err := r.table.handOn(ctx, 0, r.vip); err != nil {
		return err
	}
	rate, err := r.perSecond(ctx, 5*floodSettle)
	if err != nil {
		return err
	}
	use, err := r.table.use(ctx, r.vip)
	if err != nil {
		return err
	}
	if rate == 0 || use.Packets > 0 {
		return fmt.Errorf("the flood isn't one of established connections: %.0f packets a second reach the pod, and %d were handed on", rate, use.Packets)
	}
	return nil
}

// proveAlive asks on each connection.
func (r *rate) proveAlive() error {
	for i, conn := range r.conns {
		if err := exchange(conn, bufio.NewReader(conn)); err != nil {
			return fmt.Errorf("asking on connection %d to %s: %w", i, r.vip, err)
		}
	}
	return nil
}

func (r *rate) measure(ctx context.Context, p *Pair, half time.Duration) error {
	halves := []struct {
		handedOn int
		rate     *float64
	}{{p.HandedOn, &p.PerSecond}, {p.Base, &p.BaseRate}}
	if p.BaseFirst {
		halves[0], halves[1] = halves[1], halves[0]
	}
	for _, h := range halves {
		if err := r.table.handOn(ctx, h.handedOn); err != nil {
			return err
		}
		var err error
		if *h.rate, err = r.perSecond(ctx, half); err != nil {
			return err
		}
	}
	if p.BaseRate == 0 || p.PerSecond == 0 {
		return errors.New("no packet reaches the pod")
	}
	p.Ratio = p.PerSecond / p.BaseRate
	return nil
}

// perSecond counts what reaches the pods of the flood.
func (r *rate) perSecond(ctx context.Context, length time.Duration) (float64, error) {
	if err := pass(ctx, floodSettle); err != nil {
		return 0, err
	}
	before, err := r.node.PodPackets()
	if err != nil {
		return 0, err
	}
	begin := time.Now()
	if err := pass(ctx, length); err != nil {
		return 0, err
	}
	after, err := r.node.PodPackets()
	if err != nil {
		return 0, err
	}
	return float64(after.Sub(before).Sent) / time.Since(begin).Seconds(), nil
}

// pass lets time pass in which something is counted.
func pass(ctx context.Context, length time.Duration) error {
	timer := time.NewTimer(length)
	defer timer.Stop()
	select {
	case <-ctx.Done():
		return ctx.Err()
	case <-timer.C:
		return nil
	}
}

func (r *rate) close(ctx context.Context) error {
	var errs []error
	if r.flood != nil {
		errs = append(errs, r.flood.Stop())
	}
	for _, conn := range r.conns {
		errs = append(errs, conn.Close())
	}
	return errors.Join(append(errs, r.table.close(ctx))...)
}
