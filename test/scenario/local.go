package scenario

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"time"

	discoveryv1 "k8s.io/api/discovery/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/utils/ptr"

	"evenkeel.io/evenkeel/api/placeholder"
	"evenkeel.io/evenkeel/test/lab"
)

// Endpoint of a Service whose endpoints the scenario writes itself. The pods' addresses of every node answer, whatever is written.
type Endpoint struct {
	Node *lab.Node
	// Draining: it is terminating, and serves. Else it is ready.
	Draining bool
}

// CreateLocal creates a Service without a selector whose traffic policy is Local, with ready endpoints on nodes, and returns its VIP
// once it is announced.
func (e *Env) CreateLocal(ctx context.Context, name string, standbys int, on ...*lab.Node) (netip.Addr, error) {
	options := Options(lab.ServiceOptions{Local: true})
	options.Annotations = map[string]string{placeholder.AnnotationStandbys: fmt.Sprint(standbys)}
	service := lab.NewService(name, options)
	service.Spec.Selector = nil
	if _, err := e.Kube.CoreV1().Services(metav1.NamespaceDefault).Create(ctx, service, metav1.CreateOptions{}); err != nil {
		return netip.Addr{}, fmt.Errorf("creating Service %s: %w", name, err)
	}
	slice := sliceOf(name, ready(on...))
	if _, err := e.Kube.DiscoveryV1().EndpointSlices(metav1.NamespaceDefault).Create(ctx, slice, metav1.CreateOptions{}); err != nil {
		return netip.Addr{}, fmt.Errorf("creating endpoints of %s: %w", name, err)
	}
	vips, err := e.Announced(ctx, name)
	if err != nil {
		return netip.Addr{}, err
	}
	return vips[name][0], nil
}

// PutEndpoints replaces the endpoints of a Service of CreateLocal, and returns when it began to.
func (e *Env) PutEndpoints(ctx context.Context, service string, endpoints ...Endpoint) (time.Time, error) {
	begin := time.Now()
	_, err := e.Kube.DiscoveryV1().EndpointSlices(metav1.NamespaceDefault).Update(ctx, sliceOf(service, endpoints), metav1.UpdateOptions{})
	if err != nil {
		return begin, fmt.Errorf("writing endpoints of %s: %w", service, err)
	}
	return begin, nil
}

func ready(nodes ...*lab.Node) []Endpoint {
	var endpoints []Endpoint
	for _, n := range nodes {
		endpoints = append(endpoints, Endpoint{Node: n})
	}
	return endpoints
}

func sliceOf(service string, endpoints []Endpoint) *discoveryv1.EndpointSlice {
	slice := &discoveryv1.EndpointSlice{
		ObjectMeta: metav1.ObjectMeta{
			Name: service + "-lab", Namespace: metav1.NamespaceDefault,
			Labels: map[string]string{discoveryv1.LabelServiceName: service, discoveryv1.LabelManagedBy: "lab"},
		},
		AddressType: discoveryv1.AddressTypeIPv4,
		Ports:       []discoveryv1.EndpointPort{{Name: ptr.To("http"), Port: ptr.To[int32](lab.BackendPort)}},
	}
	for _, one := range endpoints {
		slice.Endpoints = append(slice.Endpoints, discoveryv1.Endpoint{
			Addresses: []string{one.Node.PodsV4.Addr().Next().Next().Next().String()}, // beside those that kwok gives
			NodeName:  ptr.To(one.Node.Name()),
			Conditions: discoveryv1.EndpointConditions{
				Ready: ptr.To(!one.Draining), Serving: ptr.To(true), Terminating: ptr.To(one.Draining),
			},
		})
	}
	return slice
}

// Followed is how one VIP with policy Local followed its endpoints.
type Followed struct {
	VIP      string `json:"vip"`
	Standbys int    `json:"standbys"`
	From     string `json:"from"`
	To       string `json:"to"`
	// ARPMs is from before the write of the EndpointSlice to the first ARP answer by the new node.
	ARPMs float64 `json:"arpMs"`
	// Requests on connections of their own, 100 a second. Unconnected are those that never stood, Unanswered those without an answer.
	Requests    int `json:"requests"`
	Unconnected int `json:"unconnected"`
	Unanswered  int `json:"unanswered"`
	// Connect is how long connections took to stand.
	Connect Stats `json:"connect"`
	// TwoOwnersMs is the longest time that two nodes had the VIP.
	TwoOwnersMs float64 `json:"twoOwnersMs"`
}

const (
	// askLocalEvery is the pace of ARP questions: what the measured times are exact to.
	askLocalEvery = 2 * time.Millisecond
	// connectEvery makes 100 connections a second.
	connectEvery = 10 * time.Millisecond
	// proxyKnows is how long kube-proxies may take to learn of an endpoint: their minimal sync period is 1 s.
	proxyKnows = 2500 * time.Millisecond
	// afterFollowing is how long is looked on after a move.
	afterFollowing = time.Second
)

// Follow moves the only ready endpoint of a Service of CreateLocal from the node that announces its VIP to another one, as a rollout
// does: the new endpoint is ready first, then the old one drains, and then it is gone.
func (e *Env) Follow(ctx context.Context, service string, vip netip.Addr, standbys int, to *lab.Node) (result Followed, err error) {
	result = Followed{VIP: vip.String(), Standbys: standbys, To: to.Name()}
	from, err := e.announcerOf(ctx, vip)
	if err != nil {
		return result, err
	}
	result.From = from.Name()
	if _, err := e.PutEndpoints(ctx, service, ready(from, to)...); err != nil {
		return result, err
	}
	time.Sleep(proxyKnows)
	if standbys > 0 {
		if err := e.guardedBy(ctx, vip, to); err != nil {
			return result, err
		}
	}
	recorder, err := e.RecordAddresses()
	if err != nil {
		return result, err
	}
	attempts, begin, err := e.followWatched(ctx, service, vip, from, to, &result)
	events, stopErr := recorder.Stop()
	if err := errors.Join(err, stopErr); err != nil {
		return result, err
	}
	var connects []time.Duration
	for _, a := range attempts {
		result.Requests++
		switch {
		case a.Connected.IsZero():
			result.Unconnected++
		case a.Answered.IsZero():
			result.Unanswered++
		}
		if !a.Connected.IsZero() {
			connects = append(connects, a.Connected.Sub(a.Sent))
		}
	}
	result.Connect = StatsOf(connects)
	longest, _ := twoOwners(events, []netip.Addr{vip}, begin, time.Now())
	result.TwoOwnersMs = millis(longest)
	return result, nil
}

// followWatched makes the writes of a rollout while a client asks and connects, and returns what became of its connections and when the
// write began that the VIP follows.
func (e *Env) followWatched(ctx context.Context, service string, vip netip.Addr, from, to *lab.Node, result *Followed) (attempts []lab.Attempt, begin time.Time, err error) {
	asker, err := e.Client.StartAsking([]netip.Addr{vip}, askLocalEvery)
	if err != nil {
		return nil, begin, err
	}
	defer func() { err = errors.Join(err, asker.Stop()) }()
	requester, err := e.Client.StartRequests([]netip.Addr{vip}, lab.RequestOptions{Every: connectEvery})
	if err != nil {
		return nil, begin, err
	}
	defer func() {
		all, stopErr := requester.Stop()
		attempts, err = all, errors.Join(err, stopErr)
	}()
	time.Sleep(afterFollowing / 2)
	if begin, err = e.PutEndpoints(ctx, service, Endpoint{Node: from, Draining: true}, Endpoint{Node: to}); err != nil {
		return nil, begin, err
	}
	first, err := firstAnswer(ctx, asker, vip, to, begin)
	if err != nil {
		return nil, begin, err
	}
	result.ARPMs = millis(first.Sub(begin))
	time.Sleep(afterFollowing)
	if _, err := e.PutEndpoints(ctx, service, ready(to)...); err != nil {
		return nil, begin, err
	}
	time.Sleep(afterFollowing)
	return nil, begin, nil
}

// firstAnswer waits for a node's first answer for a VIP since a moment.
func firstAnswer(ctx context.Context, asker *lab.Asker, vip netip.Addr, node *lab.Node, since time.Time) (first time.Time, err error) {
	ctx, cancel := context.WithTimeout(ctx, 30*time.Second)
	defer cancel()
	err = lab.Eventually(ctx, func(context.Context) error {
		for _, s := range asker.Sightings(vip) {
			if s.MAC.String() == node.MAC.String() && !s.First.Before(since) {
				first = s.First
				return nil
			}
		}
		return fmt.Errorf("%s has not answered for %s", node.Name(), vip)
	})
	return first, err
}

// announcerOf is the node that the VIP's status names.
func (e *Env) announcerOf(ctx context.Context, vip netip.Addr) (*lab.Node, error) {
	vips, err := e.ListVIPs(ctx)
	if err != nil {
		return nil, err
	}
	return e.Node(vips[placeholder.VIPName(vip)].Status.Node)
}

// guardedBy waits until a node guards a VIP.
func (e *Env) guardedBy(ctx context.Context, vip netip.Addr, node *lab.Node) error {
	return patiently(ctx, func(ctx context.Context) error {
		vips, err := e.ListVIPs(ctx)
		if err != nil {
			return err
		}
		for _, name := range vips[placeholder.VIPName(vip)].Status.StandbyNodes {
			if name == node.Name() {
				return nil
			}
		}
		return fmt.Errorf("%s doesn't guard %s yet", node.Name(), vip)
	})
}

// FollowedAll is many of these on one VIP, and what became of connections that were open throughout.
type FollowedAll struct {
	Moves   []Followed `json:"moves"`
	Streams Streamed   `json:"longLived"`
}

// FollowAll creates a Service of its own, lets its endpoint go around the nodes, with connections that stay open, and deletes it.
func (e *Env) FollowAll(ctx context.Context, service string, standbys, times, connections int) (result FollowedAll, err error) {
	vip, err := e.CreateLocal(ctx, service, standbys, e.Nodes[0])
	if err != nil {
		return result, err
	}
	if err := e.served(ctx, vip, e.Client.Netns); err != nil {
		return result, err
	}
	s, err := startStreams(ctx, e.Client.Netns, []netip.Addr{vip}, connections, 100*time.Millisecond)
	if err != nil {
		return result, err
	}
	defer s.end()
	for i := range times {
		moved, err := e.Follow(ctx, service, vip, standbys, e.Nodes[(i+1)%len(e.Nodes)])
		result.Moves = append(result.Moves, moved)
		if err != nil {
			result.Streams = s.phase()
			return result, fmt.Errorf("move %d of %s: %w", i+1, vip, err)
		}
	}
	result.Streams = s.phase()
	return result, e.DeleteAll(ctx, []string{service})
}

// Withdrawn is how a VIP with policy Local went with its last endpoint and came back with the next.
type Withdrawn struct {
	VIP string `json:"vip"`
	// GoneMs is from before the write that leaves no endpoint to the last ARP answer.
	GoneMs float64 `json:"goneMs"`
	// BackMs is from before the write of an endpoint to the first ARP answer.
	BackMs float64 `json:"backMs"`
}

// Withdraw takes all endpoints from a Service of CreateLocal for a while, and gives it one again, on another node than had the VIP:
// the answers of one machine are one sighting, also over a pause.
func (e *Env) Withdraw(ctx context.Context, service string, vip netip.Addr, back *lab.Node) (result Withdrawn, err error) {
	result.VIP = vip.String()
	asker, err := e.Client.StartAsking([]netip.Addr{vip}, askLocalEvery)
	if err != nil {
		return result, err
	}
	defer func() { err = errors.Join(err, asker.Stop()) }()
	time.Sleep(afterFollowing / 2)
	gone, err := e.PutEndpoints(ctx, service)
	if err != nil {
		return result, err
	}
	time.Sleep(3 * time.Second) // in which the condition is written, too
	sightings := asker.Sightings(vip)
	if len(sightings) == 0 {
		return result, fmt.Errorf("nobody answered for %s", vip)
	}
	last := sightings[len(sightings)-1].Last
	if time.Since(last) < time.Second {
		return result, fmt.Errorf("%s is still answered for without an endpoint", vip)
	}
	result.GoneMs = millis(max(0, last.Sub(gone)))
	begin, err := e.PutEndpoints(ctx, service, Endpoint{Node: back})
	if err != nil {
		return result, err
	}
	first, err := firstAnswer(ctx, asker, vip, back, begin)
	if err != nil {
		return result, err
	}
	result.BackMs = millis(first.Sub(begin))
	return result, nil
}
