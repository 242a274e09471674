package main

import (
	"cmp"
	"fmt"
	"slices"
	"strings"
	"time"

	corev1 "k8s.io/api/core/v1"

	"evenkeel.io/evenkeel/api/eligible"
	"evenkeel.io/evenkeel/api/load"
	"evenkeel.io/evenkeel/api/placeholder"
	"evenkeel.io/evenkeel/api/v1alpha1"
	"evenkeel.io/evenkeel/controller/rebalance/policy"
)

// nodeRow is what a node has.
type nodeRow struct {
	name string
	// weight of the VIPs that are active there, standbys how many it guards.
	weight   int64
	vips     []string
	standbys int
	bytes    int64
	state    string
}

// nodeRows are the nodes that have an announcer, a VIP or the label that they are evacuated, by name.
func nodeRows(s snapshot) []nodeRow {
	nodes, vipNodes := map[string]*corev1.Node{}, map[string]*v1alpha1.VIPNode{}
	rows := map[string]*nodeRow{}
	row := func(name string) *nodeRow {
		if rows[name] == nil {
			rows[name] = &nodeRow{name: name}
		}
		return rows[name]
	}
	for i := range s.nodes {
		nodes[s.nodes[i].Name] = &s.nodes[i]
		if _, evacuated := s.nodes[i].Labels[placeholder.LabelEvacuate]; evacuated {
			row(s.nodes[i].Name)
		}
	}
	for i := range s.vipNodes {
		vipNodes[s.vipNodes[i].Name] = &s.vipNodes[i]
		row(s.vipNodes[i].Name)
	}
	counts := map[string]load.Node{}
	for i := range s.pods {
		if node := s.pods[i].Spec.NodeName; node != "" {
			count := counts[node]
			count.Count(&s.pods[i])
			counts[node] = count
		}
	}
	for name, count := range counts {
		r := row(name)
		r.weight = count.Load
		for vip, held := range count.VIPs {
			if held.Standby {
				r.standbys++
			} else {
				r.vips = append(r.vips, vip)
			}
		}
		slices.Sort(r.vips)
	}
	for i := range s.traffic {
		if r := rows[s.traffic[i].Name]; r != nil && load.Fresh(&s.traffic[i], s.now) {
			r.bytes = s.traffic[i].Status.BytesPerSecond
		}
	}
	var list []nodeRow
	for name, r := range rows {
		r.state = nodeState(nodes[name], vipNodes[name], s.now)
		list = append(list, *r)
	}
	slices.SortFunc(list, func(a, b nodeRow) int { return cmp.Compare(a.name, b.name) })
	return list
}

// nodeState says what keeps VIPs off a node.
func nodeState(node *corev1.Node, vipNode *v1alpha1.VIPNode, now time.Time) string {
	if node == nil {
		return "no such Node any more"
	}
	var states []string
	say := func(ok bool, format string, args ...any) {
		if !ok {
			states = append(states, fmt.Sprintf(format, args...))
		}
	}
	_, evacuated := node.Labels[placeholder.LabelEvacuate]
	say(!evacuated, "evacuated")
	_, excluded := node.Labels[corev1.LabelNodeExcludeBalancers]
	say(!excluded, "excluded by its label")
	say(!node.Spec.Unschedulable, "cordoned")
	say(vipNode != nil, "no announcer")
	if vipNode != nil {
		if suspect := vipNode.Spec.Suspect; suspect != nil {
			say(false, "suspect: %s", suspect.Reason)
		}
		say(!eligible.FactsOf(vipNode).Sick, "its data plane isn't healthy")
	}
	for _, c := range node.Status.Conditions {
		say(c.Type != corev1.NodeReady || c.Status == corev1.ConditionTrue, "not ready")
	}
	if len(states) == 0 {
		if hold := policy.Default().HoldsNode(policy.AbleSince(node, vipNode, time.Time{}), now); hold != nil {
			say(false, "ready, settling%s", until(hold.Until, now))
		} else {
			say(false, "ready")
		}
	}
	return strings.Join(states, ", ")
}
