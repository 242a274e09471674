package main

import (
	"context"
	"sync"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/klog/v2"
	"k8s.io/utils/clock"

	"evenkeel.io/evenkeel/announcer/nic"
	"evenkeel.io/evenkeel/announcer/report"
	"evenkeel.io/evenkeel/announcer/traffic"
	"evenkeel.io/evenkeel/api/v1alpha1"
)

// renewalsPerTimeout leaves two more tries after a renewal of what counts traffic that failed.
const renewalsPerTimeout = 3

// measuring is what counts the VIPs' traffic and publishes it, and what the VIPNode says about that.
type measuring struct {
	table   *traffic.Table
	traffic *traffic.Traffic
	writer  *report.Traffic
	say     condition

	mu      sync.Mutex
	failing bool
}

// openTraffic begins to measure. It returns nil where that is turned off or the kernel can't do it: VIPs are announced all the same, and
// nothing places them by what they carry.
func openTraffic(ctx context.Context, opts *options, api *api, nics func() []nic.NIC, say condition) (*measuring, error) {
	if !opts.traffic {
		say(v1alpha1.NodeTrafficMeasured, metav1.ConditionFalse, "TurnedOff", "--traffic=false: nobody knows what this node carries for its VIPs")
		return nil, nil
	}
	timeout := opts.handoverLifetime + protectLonger // as long as the other tables' elements
	table, err := traffic.NewTable(traffic.TableOptions{Timeout: timeout})
	if err != nil {
		return nil, err
	}
	if err := table.Open(ctx); err != nil {
		klog.FromContext(ctx).Error(err, "What this node carries for its VIPs isn't measured")
		say(v1alpha1.NodeTrafficMeasured, metav1.ConditionFalse, "Unsupported", err.Error())
		return nil, nil
	}
	m := &measuring{table: table, say: say}
	m.traffic = traffic.New(traffic.Options{
		Counter: table, RenewEvery: timeout / renewalsPerTimeout, Notify: m.tried, Clock: clock.RealClock{},
		NICs: nics, Links: traffic.ReadLinks, CPU: func() (traffic.CPU, error) { return traffic.ReadCPU("/") },
	})
	m.writer = report.NewTraffic(report.TrafficOptions{
		Name: opts.nodeName, Client: api.own, Nodes: api.client.CoreV1(), Measured: m.traffic.Status, Clock: clock.RealClock{},
	})
	m.report(nil)
	return m, nil
}

// meter is what the agent tells what is bound; nil where nothing is measured.
func (m *measuring) meter() *traffic.Traffic {
	if m == nil {
		return nil
	}
	return m.traffic
}

// publish writes what is measured until ctx ends.
func (m *measuring) publish(ctx context.Context) error {
	if m == nil {
		<-ctx.Done()
		return nil
	}
	return m.writer.Run(ctx)
}

// tried is told what came of each reading and change of the counters.
func (m *measuring) tried(err error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if failing := err != nil; failing != m.failing {
		m.failing = failing
		m.report(err)
	}
}

func (m *measuring) report(err error) {
	if err != nil {
		m.say(v1alpha1.NodeTrafficMeasured, metav1.ConditionFalse, "Failed", err.Error())
		return
	}
	m.say(v1alpha1.NodeTrafficMeasured, metav1.ConditionTrue, "Measured", "the node's VIPNodeTraffic says what its VIPs carry")
}
