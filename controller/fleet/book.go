package fleet

import (
	"maps"
	"sync"
	"time"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/equality"

	"evenkeel.io/evenkeel/api/eligible"
	"evenkeel.io/evenkeel/api/placeholder"
	"evenkeel.io/evenkeel/api/v1alpha1"
)

// Book follows the nodes by what watches show, so that nothing is listed or parsed when they are looked at. It is safe for
// concurrent use.
type Book struct {
	options Options

	mu      sync.Mutex
	members map[string]member // never changed once it was handed out
	told    []func()
}

// NewBook returns a Book that knows no node yet.
func NewBook(o Options) *Book { return &Book{options: o, members: map[string]member{}} }

// OnChange calls f after each change that may matter to a VIP. It must not be called once the book is in use.
func (b *Book) OnChange(f func()) { b.told = append(b.told, f) }

// Fleet is the nodes as they are now.
func (b *Book) Fleet(now time.Time) Fleet {
	b.mu.Lock()
	defer b.mu.Unlock()
	return Fleet{options: b.options, now: now, members: b.members}
}

// VIPNode returns the newest known state of a VIPNode, or nil. It must not be changed.
func (b *Book) VIPNode(name string) *v1alpha1.VIPNode {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.members[name].vipNode
}

// VIPNodes lists the nodes that have one.
func (b *Book) VIPNodes() []string {
	b.mu.Lock()
	defer b.mu.Unlock()
	var names []string
	for name, m := range b.members {
		if m.vipNode != nil {
			names = append(names, name)
		}
	}
	return names
}

// ObserveVIPNode takes in a VIPNode, which must not be changed afterwards.
func (b *Book) ObserveVIPNode(node *v1alpha1.VIPNode) {
	b.change(node.Name, func(m *member) bool {
		facts := eligible.FactsOf(node)
		same := m.vipNode != nil && facts.Equal(m.facts) && equality.Semantic.DeepEqual(m.vipNode.Spec.Suspect, node.Spec.Suspect) &&
			equality.Semantic.DeepEqual(m.vipNode.Status.Interfaces, node.Status.Interfaces)
		m.vipNode, m.facts = node, facts
		return !same
	})
}

// ForgetVIPNode takes in a VIPNode's deletion.
func (b *Book) ForgetVIPNode(name string) {
	b.change(name, func(m *member) bool {
		was := m.vipNode != nil
		m.vipNode, m.facts = nil, eligible.Facts{}
		return was
	})
}

// ObserveNode takes in a Node, which must not be changed afterwards.
func (b *Book) ObserveNode(node *corev1.Node) {
	b.change(node.Name, func(m *member) bool {
		before, after := member{node: m.node}, member{node: node}
		since, unready := before.unready()
		now, still := after.unready()
		same := m.node != nil && unready == still && since.Equal(now) &&
			m.node.Spec.Unschedulable == node.Spec.Unschedulable &&
			equality.Semantic.DeepEqual(m.node.Spec.Taints, node.Spec.Taints) && maps.Equal(m.node.Labels, node.Labels) &&
			m.node.Annotations[placeholder.AnnotationCapacity] == node.Annotations[placeholder.AnnotationCapacity] &&
			m.node.Annotations[placeholder.AnnotationMaxVIPs] == node.Annotations[placeholder.AnnotationMaxVIPs]
		m.node = node
		return !same
	})
}

// ForgetNode takes in a Node's deletion.
func (b *Book) ForgetNode(name string) {
	b.change(name, func(m *member) bool {
		was := m.node != nil
		m.node = nil
		return was
	})
}

func (b *Book) change(name string, f func(*member) bool) {
	b.mu.Lock()
	m := b.members[name]
	changed := f(&m)
	b.members = maps.Clone(b.members)
	if m.vipNode == nil && m.node == nil {
		delete(b.members, name)
	} else {
		b.members[name] = m
	}
	b.mu.Unlock()
	if !changed {
		return
	}
	for _, f := range b.told {
		f()
	}
}
