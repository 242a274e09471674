package scenario

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/netip"
	"os"
	"sync"
	"time"

	"evenkeel.io/evenkeel/test/lab"
)

// streamPatience is when an answer on an established connection counts as missing: TCP sends again what was lost after 200 ms, 400 ms
// and so on.
const streamPatience = 5 * time.Second

// Streamed is what became of requests on established connections.
type Streamed struct {
	Seconds     float64 `json:"seconds"`
	Connections int     `json:"connections"`
	Requests    int     `json:"requests"`
	// Reset and TimedOut connections ended; each counts once.
	Reset    int `json:"reset"`
	TimedOut int `json:"timedOut"`
	// Took is from before a request is sent until its answer has been read.
	Took  Stats  `json:"took"`
	First string `json:"firstFailure,omitempty"`
}

// Cut counts the connections that ended.
func (s Streamed) Cut() int { return s.Reset + s.TimedOut }

// streams are connections, on each of which a request is sent at a steady pace once the one before is answered.
type streams struct {
	stop context.CancelFunc
	done sync.WaitGroup

	mu    sync.Mutex
	begin time.Time
	now   Streamed
	took  []time.Duration
}

// startStreams opens n connections from a host to port 80 of VIPs, of each in turn, and begins to send requests on each of them.
func startStreams(ctx context.Context, from *lab.Netns, vips []netip.Addr, n int, every time.Duration) (*streams, error) {
	s := &streams{begin: time.Now(), now: Streamed{Connections: n}}
	var conns []net.Conn
	for i := range n {
		vip := vips[i%len(vips)]
		conn, err := from.DialContext(ctx, "tcp", netip.AddrPortFrom(vip, 80).String())
		if err != nil {
			for _, open := range conns {
				_ = open.Close()
			}
			return nil, fmt.Errorf("opening connections to %s: %w", vip, err)
		}
		conns = append(conns, conn)
	}
	ctx, s.stop = context.WithCancel(ctx)
	for i, conn := range conns {
		s.done.Add(1)
		go func() {
			defer s.done.Done()
			defer func() { _ = conn.Close() }()
			s.stream(ctx, conn, every, every*time.Duration(i)/time.Duration(n))
		}()
	}
	return s, nil
}

func (s *streams) stream(ctx context.Context, conn net.Conn, every, first time.Duration) {
	lines := bufio.NewReader(conn)
	timer := time.NewTimer(first)
	defer timer.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-timer.C:
		}
		sent := time.Now()
		err := exchange(conn, lines)
		took := time.Since(sent)
		s.mu.Lock()
		s.now.Requests++
		s.took = append(s.took, took)
		switch {
		case errors.Is(err, os.ErrDeadlineExceeded):
			s.now.TimedOut++
		case err != nil:
			s.now.Reset++
		}
		if err != nil && s.now.First == "" {
			s.now.First = err.Error()
		}
		s.mu.Unlock()
		if err != nil {
			return
		}
		timer.Reset(max(every-took, 0))
	}
}

// exchange sends one request on a connection and reads its answer.
func exchange(conn net.Conn, lines *bufio.Reader) error {
	if err := conn.SetDeadline(time.Now().Add(streamPatience)); err != nil {
		return err
	}
	if _, err := fmt.Fprint(conn, "GET / HTTP/1.1\r\nHost: vip\r\n\r\n"); err != nil {
		return err
	}
	response, err := http.ReadResponse(lines, nil)
	if err != nil {
		return err
	}
	defer func() { _ = response.Body.Close() }()
	if _, err := io.Copy(io.Discard, response.Body); err != nil {
		return err
	}
	if response.StatusCode != http.StatusOK {
		return fmt.Errorf("status %d", response.StatusCode)
	}
	return nil
}

// phase returns what happened since the last call, and begins anew.
func (s *streams) phase() Streamed {
	s.mu.Lock()
	defer s.mu.Unlock()
	was := s.now
	was.Seconds, was.Took = time.Since(s.begin).Seconds(), StatsOf(s.took)
	s.begin, s.now, s.took = time.Now(), Streamed{Connections: was.Connections - was.Cut()}, nil
	return was
}

// end closes all connections.
func (s *streams) end() {
	s.stop()
	s.done.Wait()
}
