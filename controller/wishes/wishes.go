// Package wishes reads where a Service would like its VIP to be. It is pure; package place makes placeholders that say so in
// Kubernetes' own terms.
package wishes

import (
	"fmt"
	"strconv"
	"strings"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/apimachinery/pkg/selection"
	"k8s.io/apimachinery/pkg/util/validation"

	"evenkeel.io/evenkeel/api/placeholder"
)

// Wishes are what a Service asks for. The zero value asks for nothing.
type Wishes struct {
	// Nodes must meet all of these, as a term of a node affinity has them. Empty: any node will do.
	Nodes []corev1.NodeSelectorRequirement
	// Spread keeps away from others.
	Spread Spread
}

// Spread keeps the VIPs of a group in different places. The zero value keeps away from nobody.
type Spread struct {
	// Group is the value of the label evenkeel.io/spread-group. Empty: none.
	Group string
	// Topology is the label of nodes that tells places apart.
	Topology string
	// Hard: rather wait than share a place.
	Hard bool
}

// maxSelector bounds a selector, which each placeholder of the VIP carries.
const maxSelector = 4096

// Of reads a Service's annotations; nil asks for nothing. What can't be read isn't followed and becomes a mistake, a sentence
// for the Service's owner; the rest is followed all the same.
func Of(service *corev1.Service) (w Wishes, mistakes []string) {
	if service == nil {
		return Wishes{}, nil
	}
	mistaken := func(key, format string, args ...any) {
		mistakes = append(mistakes, "annotation "+key+": "+fmt.Sprintf(format, args...))
	}
	if text := service.Annotations[placeholder.AnnotationNodeSelector]; text != "" {
		nodes, err := ParseNodes(text)
		if err != nil {
			mistaken(placeholder.AnnotationNodeSelector, "%v. Any node is taken", err)
		}
		w.Nodes = nodes
	}
	name, topology, how := service.Annotations[placeholder.LabelSpreadGroup], service.Annotations[placeholder.AnnotationSpreadTopology], service.Annotations[placeholder.AnnotationSpread]
	if name == "" {
		for key, text := range map[string]string{placeholder.AnnotationSpread: how, placeholder.AnnotationSpreadTopology: topology} {
			if text != "" {
				mistaken(key, "it has no effect without annotation %s", placeholder.LabelSpreadGroup)
			}
		}
		return w, sorted(mistakes)
	}
	if wrong := validation.IsValidLabelValue(name); len(wrong) > 0 {
		mistaken(placeholder.LabelSpreadGroup, "%s can't name a group: %s. The VIP is not spread", quote(name), wrong[0])
		return w, sorted(mistakes)
	}
	w.Spread = Spread{Group: Group(service.Namespace, name), Topology: corev1.LabelHostname}
	if topology != "" {
		if wrong := validation.IsQualifiedName(topology); len(wrong) > 0 {
			mistaken(placeholder.AnnotationSpreadTopology, "%s is no label of nodes: %s. The group is spread over nodes", quote(topology), wrong[0])
		} else {
			w.Spread.Topology = topology
		}
	}
	switch how {
	case placeholder.SpreadHard:
		w.Spread.Hard = true
	case placeholder.SpreadSoft, "":
	default:
		mistaken(placeholder.AnnotationSpread, "%s is neither %q nor %q. It is taken for %[2]q", quote(how), placeholder.SpreadSoft, placeholder.SpreadHard)
	}
	return w, sorted(mistakes)
}

// operators of label selectors, in the words of node affinities. They mean the same: a node without the label meets NotIn.
var operators = map[selection.Operator]corev1.NodeSelectorOperator{
	selection.Equals: corev1.NodeSelectorOpIn, selection.DoubleEquals: corev1.NodeSelectorOpIn, selection.In: corev1.NodeSelectorOpIn,
	selection.NotEquals: corev1.NodeSelectorOpNotIn, selection.NotIn: corev1.NodeSelectorOpNotIn,
	selection.Exists: corev1.NodeSelectorOpExists, selection.DoesNotExist: corev1.NodeSelectorOpDoesNotExist,
	selection.GreaterThan: corev1.NodeSelectorOpGt, selection.LessThan: corev1.NodeSelectorOpLt,
}

// ParseNodes reads a label selector in kubectl's syntax, as "zone in (a,b),disk=ssd,!spot,cores>7".
func ParseNodes(text string) ([]corev1.NodeSelectorRequirement, error) {
	if len(text) > maxSelector {
		return nil, fmt.Errorf("it is longer than %d bytes", maxSelector)
	}
	selector, err := labels.Parse(text)
	if err != nil {
		return nil, fmt.Errorf("%s can't be read as a label selector: %w", quote(text), err)
	}
	requirements, _ := selector.Requirements() // every selector that Parse returns has them
	var nodes []corev1.NodeSelectorRequirement
	for _, r := range requirements {
		node := corev1.NodeSelectorRequirement{Key: r.Key(), Operator: operators[r.Operator()]}
		switch r.Operator() {
		case selection.Exists, selection.DoesNotExist: // the API server refuses values here
		default:
			node.Values = r.ValuesUnsorted()
			sorted(node.Values)
		}
		nodes = append(nodes, node)
	}
	return nodes, nil
}

// quote shows what somebody has written, shortened.
func quote(text string) string {
	const most = 100
	if len(text) > most {
		text = strings.ToValidUTF8(text[:most], "") + "..."
	}
	return strconv.Quote(text)
}
