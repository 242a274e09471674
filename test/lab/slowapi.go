package lab

import (
	"context"
	"errors"
	"fmt"
	"net"
	"sync"
	"sync/atomic"
	"time"
)

// slowPort is where a slow API server is reached in its stead.
const slowPort = "6444"

// APIRelay stands between our components and the API server, and can hold up what passes. Kubelets, kube-proxies and the lab
// itself go past it.
type APIRelay struct {
	ns       *Netns
	listener net.Listener
	delay    atomic.Int64 // of a round trip, in nanoseconds
	wg       sync.WaitGroup

	mu    sync.Mutex
	conns map[net.Conn]bool
}

// startAPIRelay listens in the control plane's namespace.
func startAPIRelay(ctx context.Context, ns *Netns) (*APIRelay, error) {
	l, err := ns.Listen(ctx, "tcp", ":"+slowPort)
	if err != nil {
		return nil, fmt.Errorf("starting the relay to the API server: %w", err)
	}
	r := &APIRelay{ns: ns, listener: l, conns: make(map[net.Conn]bool)}
	r.wg.Go(r.accept)
	return r, nil
}

// SetDelay makes every round trip to the API server take that much longer from now on: half of it on the way there, half on the
// way back, so that events of a watch are late by a half. What is under way already isn't held up any more. 0 ends it.
func (r *APIRelay) SetDelay(d time.Duration) { r.delay.Store(int64(d)) }

// close ends the relay with all its connections.
func (r *APIRelay) close() error {
	err := r.listener.Close()
	r.mu.Lock()
	for c := range r.conns {
		_ = c.Close()
	}
	r.conns = nil
	r.mu.Unlock()
	r.wg.Wait()
	return err
}

// keep remembers a connection for close; false when that has been called.
func (r *APIRelay) keep(c net.Conn) bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.conns == nil {
		return false
	}
	r.conns[c] = true
	return true
}

func (r *APIRelay) forget(c net.Conn) {
	_ = c.Close()
	r.mu.Lock()
	defer r.mu.Unlock()
	delete(r.conns, c)
}

func (r *APIRelay) accept() {
	for {
		client, err := r.listener.Accept()
		if err != nil {
			return // closed: nothing else ends a listener
		}
		r.wg.Go(func() { r.serve(client) })
	}
}

// serve relays one connection until either end closes it.
func (r *APIRelay) serve(client net.Conn) {
	defer r.forget(client)
	if !r.keep(client) {
		return
	}
	server, err := r.ns.DialContext(context.Background(), "tcp", net.JoinHostPort("127.0.0.1", apiPort))
	if err != nil {
		return // the API server is down: so is the client's connection
	}
	defer r.forget(server)
	if !r.keep(server) {
		return
	}
	var wg sync.WaitGroup
	wg.Go(func() { r.pass(server, client) })
	wg.Go(func() { r.pass(client, server) })
	wg.Wait()
}

// piece is what was read at once.
type piece struct {
	due  time.Time
	data []byte
}

// piecesUnderWay bounds what a connection may have under way.
const piecesUnderWay = 1024

// pass copies one direction, each piece late by half the delay of the time at which it was read.
func (r *APIRelay) pass(to, from net.Conn) {
	pieces := make(chan piece, piecesUnderWay)
	var wg sync.WaitGroup
	wg.Go(func() {
		defer func() { _ = errors.Join(to.Close(), from.Close()) }()
		for p := range pieces {
			time.Sleep(time.Until(p.due))
			if _, err := to.Write(p.data); err != nil {
				_ = from.Close() // ends the reading below
				for range pieces {
				}
				return
			}
		}
	})
	buf := make([]byte, 32<<10)
	for {
		n, err := from.Read(buf)
		if n > 0 {
			pieces <- piece{due: time.Now().Add(time.Duration(r.delay.Load()) / 2), data: append([]byte(nil), buf[:n]...)}
		}
		if err != nil {
			break
		}
	}
	close(pieces)
	wg.Wait()
}
