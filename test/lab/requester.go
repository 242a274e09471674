package lab

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"net/netip"
	"sync"
	"time"

	"golang.org/x/sys/unix"
)

// Requester is a client that makes one HTTP request after the other, each on a connection of its own, at a steady pace and
// without waiting for answers. One thread does it all, so that it costs little beside what it measures.
type Requester struct {
	stop context.CancelFunc
	done chan struct{}

	mu       sync.Mutex
	attempts []Attempt
	left     map[netip.Addr]bool
	err      error
}

// Attempt is one request.
type Attempt struct {
	Target netip.Addr
	// Sent is when the connection was begun, Connected when it stood, Answered when the status line said 200. Zero: never.
	Sent, Connected, Answered time.Time
	// Failed says why the connection ended without an answer; empty while it is under way.
	Failed string
}

// RequestOptions of StartRequests.
type RequestOptions struct {
	// Port of all targets; 80 by default.
	Port int
	// Every is the time between two requests of one target; of all of them together with InTurn.
	Every time.Duration
	// Patience is how long a request may take; 3 s by default.
	Patience time.Duration
	// InTurn has each tick ask only the next target.
	InTurn bool
}

// StartRequests begins to ask the targets until Stop.
func (n *Netns) StartRequests(targets []netip.Addr, o RequestOptions) (*Requester, error) {
	if o.Port == 0 {
		o.Port = 80
	}
	if o.Patience == 0 {
		o.Patience = 3 * time.Second
	}
	if o.Every <= 0 || len(targets) == 0 {
		return nil, errors.New("starting requests: want targets and a pace")
	}
	ctx, stop := context.WithCancel(context.Background())
	r := &Requester{stop: stop, done: make(chan struct{}), left: make(map[netip.Addr]bool)}
	poll, err := unix.EpollCreate1(unix.EPOLL_CLOEXEC)
	if err != nil {
		stop()
		return nil, fmt.Errorf("starting requests: %w", err)
	}
	l := &requests{Requester: r, options: o, targets: targets, poll: poll, open: make(map[int]int)}
	go func() {
		defer close(r.done)
		err := n.Do(func() error { return l.run(ctx) })
		for fd := range l.open {
			err = errors.Join(err, unix.Close(fd))
		}
		err = errors.Join(err, unix.Close(poll))
		r.mu.Lock()
		defer r.mu.Unlock()
		r.err = err
	}()
	return r, nil
}

// Attempts returns a copy of what was tried so far, in order of sending.
func (r *Requester) Attempts() []Attempt {
	r.mu.Lock()
	defer r.mu.Unlock()
	return append([]Attempt(nil), r.attempts...)
}

// FirstAnswer is the time of the first answer to a request for the target that was sent at or after since; zero without one.
func (r *Requester) FirstAnswer(target netip.Addr, since time.Time) time.Time {
	r.mu.Lock()
	defer r.mu.Unlock()
	var first time.Time
	for _, a := range r.attempts {
		if a.Target == target && !a.Sent.Before(since) && !a.Answered.IsZero() && (first.IsZero() || a.Answered.Before(first)) {
			first = a.Answered
		}
	}
	return first
}

// Leave ends the requests to one target.
func (r *Requester) Leave(target netip.Addr) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.left[target] = true
}

// Stop ends the asking, gives what is under way its patience, and returns all attempts.
func (r *Requester) Stop() ([]Attempt, error) {
	r.stop()
	<-r.done
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.attempts, r.err
}

// requests is the loop of a Requester.
type requests struct {
	*Requester
	options RequestOptions
	targets []netip.Addr
	poll    int
	next    int
	// open connections' descriptors with their attempts' numbers.
	open map[int]int
}

// run works until ctx ends and nothing is under way.
func (l *requests) run(ctx context.Context) error {
	tick := time.Now()
	events := make([]unix.EpollEvent, 64)
	buf := make([]byte, 4096)
	for {
		now := time.Now()
		if ctx.Err() == nil && !now.Before(tick) {
			if err := l.ask(); err != nil {
				return err
			}
			// Ticks that a busy machine has missed are not made up for.
			if tick = tick.Add(l.options.Every); tick.Before(now) {
				tick = now.Add(l.options.Every)
			}
		}
		l.expire(now)
		if ctx.Err() != nil && len(l.open) == 0 {
			return nil
		}
		wait := min(time.Until(tick), 20*time.Millisecond)
		if ctx.Err() != nil {
			wait = 20 * time.Millisecond
		}
		n, err := unix.EpollWait(l.poll, events, max(1, int(wait/time.Millisecond)))
		if err != nil && !errors.Is(err, unix.EINTR) {
			return fmt.Errorf("waiting for answers: %w", err)
		}
		for _, e := range events[:max(0, n)] {
			l.progress(int(e.Fd), e.Events, buf)
		}
	}
}

// ask begins the requests of one tick.
func (l *requests) ask() error {
	if l.options.InTurn {
		target := l.targets[l.next%len(l.targets)]
		l.next++
		return l.begin(target)
	}
	for _, target := range l.targets {
		if err := l.begin(target); err != nil {
			return err
		}
	}
	return nil
}

// begin connects to a target.
func (l *requests) begin(target netip.Addr) error {
	l.mu.Lock()
	left := l.left[target]
	l.mu.Unlock()
	if left {
		return nil
	}
	family := unix.AF_INET
	var to unix.Sockaddr = &unix.SockaddrInet4{Port: l.options.Port, Addr: as4(target)}
	if target.Is6() {
		family = unix.AF_INET6
		to = &unix.SockaddrInet6{Port: l.options.Port, Addr: target.As16()}
	}
	fd, err := unix.Socket(family, unix.SOCK_STREAM|unix.SOCK_NONBLOCK|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return fmt.Errorf("opening a socket: %w", err)
	}
	l.mu.Lock()
	number := len(l.attempts)
	l.attempts = append(l.attempts, Attempt{Target: target, Sent: time.Now()})
	l.mu.Unlock()
	l.open[fd] = number
	if err := unix.Connect(fd, to); err != nil && !errors.Is(err, unix.EINPROGRESS) {
		l.end(fd, "connecting: "+err.Error())
		return nil
	}
	event := unix.EpollEvent{Events: unix.EPOLLOUT | unix.EPOLLIN, Fd: int32(fd)}
	if err := unix.EpollCtl(l.poll, unix.EPOLL_CTL_ADD, fd, &event); err != nil {
		return fmt.Errorf("watching a socket: %w", err)
	}
	return nil
}

// as4 is the IPv4 form of an address; of others only zeros.
func as4(a netip.Addr) [4]byte {
	if a.Is4() {
		return a.As4()
	}
	return [4]byte{}
}

// progress goes on with a connection on which something happened.
func (l *requests) progress(fd int, events uint32, buf []byte) {
	number, ok := l.open[fd]
	if !ok {
		return
	}
	now := time.Now()
	l.mu.Lock()
	attempt := &l.attempts[number]
	connected := !attempt.Connected.IsZero()
	l.mu.Unlock()
	if !connected {
		code, err := unix.GetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_ERROR)
		switch {
		case err != nil:
			l.end(fd, "connecting: "+err.Error())
			return
		case code != 0:
			l.end(fd, "connecting: "+unix.Errno(code).Error())
			return
		case events&unix.EPOLLOUT == 0:
			return
		}
		request := fmt.Sprintf("GET / HTTP/1.1\r\nHost: %s\r\nConnection: close\r\n\r\n", l.attempts[number].Target)
		if _, err := unix.Write(fd, []byte(request)); err != nil {
			l.end(fd, "sending: "+err.Error())
			return
		}
		l.mu.Lock()
		l.attempts[number].Connected = now
		l.mu.Unlock()
		event := unix.EpollEvent{Events: unix.EPOLLIN, Fd: int32(fd)}
		if err := unix.EpollCtl(l.poll, unix.EPOLL_CTL_MOD, fd, &event); err != nil {
			l.end(fd, "watching: "+err.Error())
		}
		return
	}
	n, err := unix.Read(fd, buf)
	switch {
	case errors.Is(err, unix.EAGAIN):
	case err != nil:
		l.end(fd, "reading: "+err.Error())
	case !bytes.HasPrefix(buf[:n], []byte("HTTP/1.1 200 ")):
		l.end(fd, fmt.Sprintf("answered %.20q", buf[:n]))
	default:
		l.mu.Lock()
		l.attempts[number].Answered = now
		l.mu.Unlock()
		l.end(fd, "")
	}
}

// end closes a connection.
func (l *requests) end(fd int, failure string) {
	number := l.open[fd]
	delete(l.open, fd)
	_ = unix.Close(fd)
	l.mu.Lock()
	defer l.mu.Unlock()
	l.attempts[number].Failed = failure
}

// expire gives up what has taken too long.
func (l *requests) expire(now time.Time) {
	for fd, number := range l.open {
		l.mu.Lock()
		late := now.Sub(l.attempts[number].Sent) > l.options.Patience
		l.mu.Unlock()
		if late {
			l.end(fd, "no answer in time")
		}
	}
}
