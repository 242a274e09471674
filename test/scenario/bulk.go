package scenario

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"time"

	"evenkeel.io/evenkeel/test/lab"
)

// Bulk is what moves of a VIP did to a transfer through it.
type Bulk struct {
	VIP   string `json:"vip"`
	Nodes int    `json:"nodes"`
	Way   Way    `json:"way"`
	// Path begins with the node that had the VIP when the connection was opened. The moves of MovedAtBytes were within the transfer; where
	// they ended on the first node again, there is one more behind it.
	Path []string `json:"path"`
	// MovedAtBytes says which of the transfer's bytes were underway when each move began. All was well again later.
	MovedAtBytes []int64 `json:"movedAtBytes"`
	// Before the moves, during them, and after them, on one connection. In the last one all packets to the VIP are copied to the node
	// that had it first, and to each other one that had it since.
	Before Transfer `json:"before"`
	During Transfer `json:"during"`
	After  Transfer `json:"after"`
	// TwoOwnersMs is the longest time that two nodes had the VIP.
	TwoOwnersMs float64 `json:"twoOwnersMs"`
}

// transferred are the transfers that were made.
func (b Bulk) transferred() []Transfer {
	return slices.DeleteFunc([]Transfer{b.Before, b.During, b.After}, func(t Transfer) bool { return t.Bytes == 0 })
}

// Cut says how many of the transfers ended before their time: the connection has only one that can.
func (b Bulk) Cut() int {
	return len(slices.DeleteFunc(b.transferred(), func(t Transfer) bool { return t.Failure == "" }))
}

// Wrong counts transfers that came to their end with another content.
func (b Bulk) Wrong() int {
	return len(slices.DeleteFunc(b.transferred(), func(t Transfer) bool { return t.Failure != "" || t.Right }))
}

// MoveInTransfer moves a VIP while a payload is transferred through it, by deleting its active placeholder as a person may. The moves
// begin when as many equal parts of the payload have passed: times would miss it on a machine that is faster or slower. It is an error
// if the transfer ends before a new owner has bound the VIP for the last time.
func (e *Env) MoveInTransfer(ctx context.Context, vip netip.Addr, way Way, payload lab.Payload, moves int) (result Bulk, err error) {
	result = Bulk{VIP: vip.String(), Nodes: len(e.Nodes), Way: way}
	if _, err := e.Settled(ctx); err != nil {
		return result, err
	}
	if err := e.served(ctx, vip, e.Client.Netns); err != nil {
		return result, err
	}
	owners, err := e.Owners()
	if err != nil {
		return result, err
	}
	if len(owners[vip]) != 1 {
		return result, fmt.Errorf("%s is on %v, want one node", vip, owners[vip])
	}
	first, err := e.Node(owners[vip][0])
	if err != nil {
		return result, err
	}
	result.Path = []string{first.Name()}
	t, err := openTransfers(ctx, e.Client, first, vip, way)
	if err != nil {
		return result, err
	}
	defer func() { _ = t.conn.Close() }()
	if result.Before, err = t.transfer(ctx, payload, nil); err != nil || result.Cut() > 0 {
		return result, err
	}
	recorder, err := e.RecordAddresses()
	if err != nil {
		return result, err
	}
	begin := time.Now()
	err = e.moveMeanwhile(ctx, t, vip, payload, moves, &result)
	for err == nil && result.Cut() == 0 && result.Path[len(result.Path)-1] == first.Name() {
		var to string
		to, err = e.move(ctx, vip) // what comes back to the first owner isn't handed on
		result.Path = append(result.Path, to)
	}
	events, stopErr := recorder.Stop()
	if err = errors.Join(err, stopErr); err != nil || result.Cut() > 0 {
		return result, err
	}
	if within := changes(events, vip, first.Name(), result.During.end); within < moves {
		return result, fmt.Errorf("%d of %d moves: %w", within, moves, errMissed)
	}
	longest, _ := twoOwners(events, []netip.Addr{vip}, begin, time.Now())
	result.TwoOwnersMs = millis(longest)
	result.After, err = t.transfer(ctx, payload, nil)
	return result, err
}

// moveMeanwhile makes one transfer and moves the VIP within it.
func (e *Env) moveMeanwhile(ctx context.Context, t *transfers, vip netip.Addr, payload lab.Payload, moves int, result *Bulk) error {
	ctx, cancel := context.WithCancel(ctx)
	f := newFollower(marksIn(payload, moves))
	var transferErr error
	done := make(chan struct{})
	go func() {
		defer close(done)
		result.During, transferErr = t.transfer(ctx, payload, f)
	}()
	err := e.moveAt(ctx, vip, moves, f, done, result)
	if err != nil {
		cancel() // a transfer that nothing will come of
	}
	<-done
	cancel()
	if result.During.Failure != "" && errors.Is(err, errMissed) {
		err = nil // the failure tells more
	}
	return errors.Join(err, transferErr)
}

// errMissed says that a transfer ended too early for its moves.
var errMissed = errors.New("the transfer was over before the others: a larger one is needed")

// moveAt makes a move for each mark that a transfer passes.
func (e *Env) moveAt(ctx context.Context, vip netip.Addr, moves int, f *follower, done <-chan struct{}, result *Bulk) error {
	for i := range moves {
		select {
		case <-f.passed:
		case <-done:
			return fmt.Errorf("%d of %d moves: %w", i, moves, errMissed)
		}
		result.MovedAtBytes = append(result.MovedAtBytes, f.bytes.Load())
		to, err := e.move(ctx, vip)
		if err != nil {
			return err
		}
		result.Path = append(result.Path, to)
	}
	return nil
}

// changes counts how often the VIP's owner changed until some time: another node bound it then.
func changes(events []lab.AddrEvent, vip netip.Addr, owner string, until time.Time) int {
	count := 0
	for _, event := range events {
		if event.Addr.Addr() == vip && event.Added && !event.Renewed && event.Node != owner && !event.At.After(until) {
			count, owner = count+1, event.Node
		}
	}
	return count
}

// marksIn spreads moves evenly over a transfer.
func marksIn(payload lab.Payload, moves int) []int64 {
	marks := make([]int64, moves)
	for i := range marks {
		marks[i] = int64(payload) / int64(moves+1) * int64(i+1)
	}
	return marks
}
