package scenario

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"maps"
	"net/netip"
	"slices"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"

	"evenkeel.io/evenkeel/api/placeholder"
	"evenkeel.io/evenkeel/test/lab"
)

// Moved is what planned moves of one VIP did to its established connections.
type Moved struct {
	VIP      string   `json:"vip"`
	Nodes    int      `json:"nodes"`
	Standbys int      `json:"standbys"`
	Moves    int      `json:"moves"`
	Drains   int      `json:"byDrains"`
	Path     []string `json:"path"`
	// Quiet is a phase without moves before.
	Quiet Streamed `json:"quiet"`
	// Elsewhere is a phase in which another VIP was moved as often: what the machine's own work at moves costs these connections.
	Elsewhere *Streamed `json:"anotherVIPMoving,omitempty"`
	Moving    Streamed  `json:"moving"`
	// Late is a phase after the moves.
	Late Streamed `json:"afterwards"`
	// New connections that were opened after a move, and how many of them didn't go through the new owner, or not only.
	New    int `json:"newConnections"`
	Astray int `json:"newConnectionsNotThroughTheNewOwner"`
	// TwoOwnersMs is the longest time that two nodes had the VIP.
	TwoOwnersMs float64 `json:"twoOwnersMs"`
}

// Cut counts the connections that the moves cost, at once or late.
func (m Moved) Cut() int { return m.Moving.Cut() + m.Late.Cut() }

// MoveOptions say how a VIP is moved under load.
type MoveOptions struct {
	Connections, Moves int
	// Every is the pace of requests on each connection.
	Every time.Duration
	// Quiet is how long the phase without moves is.
	Quiet time.Duration
	// Drains: every other move is a drain of the owner's node, from which all else moves too.
	Drains bool
	// Elsewhere: another VIP is moved as often first.
	Elsewhere bool
	// Between is called after each move, if it isn't nil.
	Between func(ctx context.Context, vip netip.Addr, move int) error
}

// MoveUnderLoad moves a VIP from node to node, by deleting its active placeholder as a person may, so that its standby takes its
// place, or by draining its node, while connections through it are in use.
func (e *Env) MoveUnderLoad(ctx context.Context, vip netip.Addr, o MoveOptions) (result Moved, err error) {
	result = Moved{VIP: vip.String(), Nodes: len(e.Nodes), Standbys: e.Standbys}
	if _, err := e.Settled(ctx); err != nil {
		return result, err
	}
	if err := e.served(ctx, vip, e.Client.Netns); err != nil {
		return result, err
	}
	s, err := startStreams(ctx, e.Client.Netns, []netip.Addr{vip}, o.Connections, o.Every)
	if err != nil {
		return result, err
	}
	defer s.end()
	time.Sleep(o.Quiet)
	result.Quiet = s.phase()
	if o.Elsewhere {
		if err := e.moveAnother(ctx, vip, o.Moves); err != nil {
			return result, err
		}
		phase := s.phase()
		result.Elsewhere = &phase
	}
	recorder, err := e.RecordAddresses()
	if err != nil {
		return result, err
	}
	begin := time.Now()
	for i := range o.Moves {
		move := e.move
		if o.Drains && i%2 == 1 {
			move = e.moveByDrain
			result.Drains++
		}
		to, err := move(ctx, vip)
		if err != nil {
			return result, err
		}
		result.Moves, result.Path = result.Moves+1, append(result.Path, to)
		if err := e.openNew(ctx, vip, to, &result); err != nil {
			return result, err
		}
		if o.Between != nil {
			if err := o.Between(ctx, vip, i); err != nil {
				return result, err
			}
		}
	}
	result.Moving = s.phase()
	time.Sleep(3 * time.Second) // what the moves did late
	result.Late = s.phase()
	events, err := recorder.Stop()
	if err != nil {
		return result, err
	}
	longest, _ := twoOwners(events, []netip.Addr{vip}, begin, time.Now())
	result.TwoOwnersMs = millis(longest)
	return result, nil
}

// move deletes a VIP's active placeholder and returns where the VIP is once all is well again.
func (e *Env) move(ctx context.Context, vip netip.Addr) (to string, err error) {
	name := placeholder.VIPName(vip)
	pods, err := e.Kube.CoreV1().Pods(lab.Namespace).List(ctx, metav1.ListOptions{
		LabelSelector: placeholder.LabelVIP + "=" + name + "," + placeholder.LabelRole + "=" + string(placeholder.Active),
	})
	if err != nil {
		return "", fmt.Errorf("moving %s: %w", vip, err)
	}
	if len(pods.Items) != 1 {
		return "", fmt.Errorf("moving %s: it has %d active placeholders, want 1", vip, len(pods.Items))
	}
	from := pods.Items[0].Spec.NodeName
	if err := e.Kube.CoreV1().Pods(lab.Namespace).Delete(ctx, pods.Items[0].Name, metav1.DeleteOptions{}); err != nil {
		return "", fmt.Errorf("moving %s: %w", vip, err)
	}
	err = patiently(ctx, func(ctx context.Context) error {
		found, err := e.whole(ctx, e.names())
		if err == nil && found[name].active == from {
			err = fmt.Errorf("%s is still on %s", vip, from)
		}
		to = found[name].active
		return err
	})
	return to, err
}

// moveAnother moves another VIP than this one.
func (e *Env) moveAnother(ctx context.Context, vip netip.Addr, times int) error {
	owners, err := e.Owners()
	if err != nil {
		return err
	}
	delete(owners, vip)
	if len(owners) == 0 {
		return errors.New("there is no other VIP to move")
	}
	other := slices.MinFunc(slices.Collect(maps.Keys(owners)), netip.Addr.Compare)
	for range times {
		if _, err := e.move(ctx, other); err != nil {
			return err
		}
	}
	return nil
}

// newAfterMove is how many connections are opened after each move.
const newAfterMove = 5

// openNew opens connections to a VIP that has moved, uses each once, and looks on all nodes which of them track it: the new owner
// alone is to.
func (e *Env) openNew(ctx context.Context, vip netip.Addr, owner string, result *Moved) error {
	port := netip.AddrPortFrom(vip, 80)
	var clients []netip.AddrPort
	for range newAfterMove {
		conn, err := e.Client.DialContext(ctx, "tcp", port.String())
		if err != nil {
			return fmt.Errorf("opening a connection to %s on its new owner %s: %w", vip, owner, err)
		}
		defer func() { _ = conn.Close() }()
		if err := exchange(conn, bufio.NewReader(conn)); err != nil {
			return fmt.Errorf("using a new connection to %s on its new owner %s: %w", vip, owner, err)
		}
		client, err := netip.ParseAddrPort(conn.LocalAddr().String())
		if err != nil {
			return err
		}
		clients = append(clients, client)
	}
	known := map[netip.AddrPort][]string{}
	for _, n := range e.Nodes {
		tracked, err := n.Tracked(port)
		if err != nil {
			return err
		}
		for _, client := range clients {
			if tracked[client] {
				known[client] = append(known[client], n.Name())
			}
		}
	}
	for _, client := range clients {
		result.New++
		if !slices.Equal(known[client], []string{owner}) {
			result.Astray++
		}
	}
	return nil
}

// moveByDrain drains the node that has a VIP, returns it, and tells where the VIP is then.
func (e *Env) moveByDrain(ctx context.Context, vip netip.Addr) (to string, err error) {
	owners, err := e.Owners()
	if err != nil {
		return "", err
	}
	if len(owners[vip]) != 1 {
		return "", fmt.Errorf("moving %s by a drain: it is on %v", vip, owners[vip])
	}
	from, err := e.Node(owners[vip][0])
	if err != nil {
		return "", err
	}
	if _, err := e.Kubectl(ctx, "drain", from.Name(), "--ignore-daemonsets", "--timeout="+drainTimeout); err != nil {
		return "", err
	}
	if err := e.Whole(ctx, e.others(from)...); err != nil {
		return "", err
	}
	if _, err := e.Kubectl(ctx, "uncordon", from.Name()); err != nil {
		return "", err
	}
	if err := e.Whole(ctx); err != nil {
		return "", err
	}
	if owners, err = e.Owners(); err != nil {
		return "", err
	}
	if len(owners[vip]) != 1 || owners[vip][0] == from.Name() {
		return "", fmt.Errorf("the drain of %s left %s on %v", from.Name(), vip, owners[vip])
	}
	return owners[vip][0], nil
}

// RefuseHandoff marks a Service, and returns its first VIP once all of its placeholders know.
func (e *Env) RefuseHandoff(ctx context.Context, service string) (netip.Addr, error) {
	patch := fmt.Sprintf(`{"metadata":{"annotations":{%q:"false"}}}`, placeholder.AnnotationHandoff)
	s, err := e.Kube.CoreV1().Services(metav1.NamespaceDefault).Patch(ctx, service, types.MergePatchType, []byte(patch), metav1.PatchOptions{})
	if err != nil {
		return netip.Addr{}, fmt.Errorf("marking Service %s: %w", service, err)
	}
	vips := lab.VIPs(s)
	if len(vips) == 0 {
		return netip.Addr{}, fmt.Errorf("service %s has no VIP", service)
	}
	return vips[0], patiently(ctx, func(ctx context.Context) error {
		pods, err := e.Kube.CoreV1().Pods(lab.Namespace).List(ctx, metav1.ListOptions{LabelSelector: placeholder.LabelVIP + "=" + placeholder.VIPName(vips[0])})
		if err != nil {
			return err
		}
		for _, pod := range pods.Items {
			if pod.Annotations[placeholder.AnnotationHandoff] != "false" {
				return fmt.Errorf("placeholder %s doesn't know that its Service refuses handoff", pod.Name)
			}
		}
		return nil
	})
}

// RestartInHandoff, to be called between moves of a VIP, kills its owner's announcer after the first move and starts it again, and
// rolls all announcers after each later one.
func (e *Env) RestartInHandoff(ctx context.Context, vip netip.Addr, move int) error {
	owners, err := e.Owners()
	if err != nil {
		return err
	}
	for _, n := range e.Nodes {
		switch {
		case move > 0:
			err = n.Announcer.Stop(ctx)
		case slices.Contains(owners[vip], n.Name()):
			err = n.Announcer.Kill()
		default:
			continue
		}
		if err != nil {
			return err
		}
		if err := n.Announcer.Start(); err != nil {
			return err
		}
	}
	time.Sleep(2 * time.Second) // in which connections are used
	return e.Whole(ctx)
}
