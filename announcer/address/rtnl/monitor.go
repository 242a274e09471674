package rtnl

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/mdlayher/netlink"
	"golang.org/x/sys/unix"
)

// monitorBuffer is the receive buffer of a Monitor: enough for some 10,000 address changes while the reader waits for
// a CPU. The kernel counts about 800 bytes for each.
const monitorBuffer = 8 << 20

// ErrOverrun says that notifications were lost: what the reader knows must be listed anew.
var ErrOverrun = errors.New("kernel notifications were lost")

// Event is one notification. Exactly one of Address and Link is set.
type Event struct {
	Address *Address
	Link    *Link
	// Removed tells a deletion from an addition or change.
	Removed bool
}

// Monitor receives changes of links and addresses from the moment it is opened.
type Monitor struct {
	nl *netlink.Conn
}

// NewMonitor subscribes in the network namespace of the file descriptor netNS, 0 being the caller's.
func NewMonitor(netNS int) (*Monitor, error) {
	groups := uint32(1<<(unix.RTNLGRP_LINK-1) | 1<<(unix.RTNLGRP_IPV4_IFADDR-1) | 1<<(unix.RTNLGRP_IPV6_IFADDR-1))
	nl, err := netlink.Dial(unix.NETLINK_ROUTE, &netlink.Config{Groups: groups, NetNS: netNS, MessageBufferSize: messageBuffer})
	if err != nil {
		return nil, fmt.Errorf("subscribing to address changes: %w", err)
	}
	if err := nl.SetReadBuffer(monitorBuffer); err != nil {
		return nil, errors.Join(fmt.Errorf("enlarging the buffer for address changes: %w", err), nl.Close())
	}
	return &Monitor{nl: nl}, nil
}

// Close ends the subscription and any Read.
func (m *Monitor) Close() error { return m.nl.Close() }

// Read waits for the next notifications. It returns ErrOverrun when some were lost and ctx's error when ctx ends; any
// other error is final. It must not be called concurrently.
func (m *Monitor) Read(ctx context.Context) ([]Event, error) {
	if err := m.nl.SetReadDeadline(time.Time{}); err != nil {
		return nil, fmt.Errorf("waiting for address changes: %w", err)
	}
	// A deadline in the past wakes the read below; it stays set when ctx had ended before.
	stop := context.AfterFunc(ctx, func() { _ = m.nl.SetReadDeadline(time.Unix(1, 0)) })
	defer stop()
	for {
		msgs, err := m.nl.Receive()
		switch {
		case err != nil && ctx.Err() != nil:
			return nil, ctx.Err()
		case errors.Is(err, unix.ENOBUFS):
			return nil, ErrOverrun
		case err != nil:
			return nil, fmt.Errorf("waiting for address changes: %w", err)
		}
		if events := parseEvents(msgs); len(events) > 0 {
			return events, nil
		}
	}
}

// parseEvents skips what it can't decode: a message of a newer kernel must not end the announcer, and what matters is
// verified by a listing.
func parseEvents(msgs []netlink.Message) []Event {
	var events []Event
	for _, m := range msgs {
		switch m.Header.Type {
		case unix.RTM_NEWADDR, unix.RTM_DELADDR:
			if a, err := ParseAddress(m.Data); err == nil {
				events = append(events, Event{Address: &a, Removed: m.Header.Type == unix.RTM_DELADDR})
			}
		case unix.RTM_NEWLINK, unix.RTM_DELLINK:
			if l, ok, err := parseLink(m.Data); err == nil && ok {
				events = append(events, Event{Link: &l, Removed: m.Header.Type == unix.RTM_DELLINK})
			}
		}
	}
	return events
}
