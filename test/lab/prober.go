package lab

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"sync"
	"time"

	"golang.org/x/net/bpf"
	"golang.org/x/net/icmp"
	"golang.org/x/net/ipv4"
	"golang.org/x/net/ipv6"
	"golang.org/x/sys/unix"
)

// Prober pings an address at a steady pace, through the kernel's neighbour table
// like any client's packets.
type Prober struct {
	target   netip.Addr
	interval time.Duration
	conn     net.PacketConn
	id       uint16
	stop     context.CancelFunc
	done     chan struct{}

	mu     sync.Mutex
	probes []probe
	err    error
}

// probe is one echo request.
type probe struct {
	sent, answered time.Time
}

// ProbeGrace is how long the last probes of a Prober have for their answers.
const ProbeGrace = time.Second

// StartProber begins pinging target every interval (10 ms is usual) until Stop.
func (n *Netns) StartProber(ctx context.Context, target netip.Addr, interval time.Duration) (*Prober, error) {
	network, local := "ip4:icmp", "0.0.0.0"
	if target.Is6() {
		network, local = "ip6:ipv6-icmp", "::"
	}
	conn, err := n.ListenPacket(ctx, network, local)
	if err != nil {
		return nil, fmt.Errorf("probing %s: %w", target, err)
	}
	runCtx, stop := context.WithCancel(context.Background())
	p := &Prober{target: target, interval: interval, conn: conn, stop: stop, done: make(chan struct{})}
	// Answers to probers of other targets are told apart by their sender.
	p.id = uint16(time.Now().UnixNano() / 1000)
	if err := filterEchoes(conn, target, p.id); err != nil {
		stop()
		return nil, errors.Join(fmt.Errorf("probing %s: %w", target, err), conn.Close())
	}
	var wg sync.WaitGroup
	wg.Go(func() { p.fail(p.send(runCtx)) })
	wg.Go(func() { p.fail(p.receive()) })
	go func() {
		wg.Wait()
		close(p.done)
	}()
	return p, nil
}

// filterEchoes has the kernel hand over only packets with the identifier: many probers of a namespace would otherwise all read
// the answers of all, and lose some.
func filterEchoes(conn net.PacketConn, target netip.Addr, id uint16) error {
	accept := []bpf.Instruction{
		bpf.JumpIf{Cond: bpf.JumpEqual, Val: uint32(id), SkipFalse: 1},
		bpf.RetConstant{Val: uint32(frameBufSize)},
		bpf.RetConstant{Val: 0},
	}
	if target.Is6() {
		// A raw ICMPv6 socket's packets begin with the ICMPv6 header.
		filter, err := bpf.Assemble(append([]bpf.Instruction{bpf.LoadAbsolute{Off: 4, Size: 2}}, accept...))
		if err != nil {
			return err
		}
		return ipv6.NewPacketConn(conn).SetBPF(filter)
	}
	filter, err := bpf.Assemble(append([]bpf.Instruction{bpf.LoadMemShift{Off: 0}, bpf.LoadIndirect{Off: 4, Size: 2}}, accept...))
	if err != nil {
		return err
	}
	return ipv4.NewPacketConn(conn).SetBPF(filter)
}

// fail keeps the first error.
func (p *Prober) fail(err error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.err == nil {
		p.err = err
	}
}

// send sends a probe per tick until ctx ends, then gives the receiver the rest
// of its time.
func (p *Prober) send(ctx context.Context) error {
	defer func() { _ = p.conn.SetReadDeadline(time.Now().Add(ProbeGrace)) }()
	to := &net.IPAddr{IP: p.target.AsSlice()}
	var kind icmp.Type = ipv4.ICMPTypeEcho
	if p.target.Is6() {
		kind = ipv6.ICMPTypeEchoRequest
	}
	ticker := time.NewTicker(p.interval)
	defer ticker.Stop()
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-ticker.C:
		}
		p.mu.Lock()
		number := len(p.probes)
		p.probes = append(p.probes, probe{sent: time.Now()})
		p.mu.Unlock()
		var data [8]byte
		binary.BigEndian.PutUint64(data[:], uint64(number))
		m := icmp.Message{Type: kind, Body: &icmp.Echo{ID: int(p.id), Seq: number & 0xffff, Data: data[:]}}
		packet, err := m.Marshal(nil)
		if err != nil {
			return fmt.Errorf("probing %s: %w", p.target, err)
		}
		// Where nobody answers ARP the kernel reports it here, a while later: that
		// is an unanswered probe, not an error.
		if _, err := p.conn.WriteTo(packet, to); err != nil && !isUnreachable(err) {
			return fmt.Errorf("probing %s: %w", p.target, err)
		}
	}
}

func isUnreachable(err error) bool {
	return errors.Is(err, unix.EHOSTUNREACH) || errors.Is(err, unix.ENETUNREACH) || errors.Is(err, unix.ENOBUFS) || errors.Is(err, unix.ENETDOWN)
}

// receive notes answers until the deadline that send sets.
func (p *Prober) receive() error {
	protocol := unix.IPPROTO_ICMP
	if p.target.Is6() {
		protocol = unix.IPPROTO_ICMPV6
	}
	buf := make([]byte, frameBufSize)
	for {
		n, from, err := p.conn.ReadFrom(buf)
		now := time.Now()
		switch {
		case errors.Is(err, os.ErrDeadlineExceeded):
			return nil
		case err != nil && isUnreachable(err):
			continue
		case err != nil:
			return fmt.Errorf("reading answers of %s: %w", p.target, err)
		}
		if sender, ok := from.(*net.IPAddr); !ok || !sender.IP.Equal(p.target.AsSlice()) {
			continue
		}
		m, err := icmp.ParseMessage(protocol, buf[:n])
		if err != nil || (m.Type != ipv4.ICMPTypeEchoReply && m.Type != ipv6.ICMPTypeEchoReply) {
			continue
		}
		echo, ok := m.Body.(*icmp.Echo)
		if !ok || echo.ID != int(p.id) || len(echo.Data) != 8 {
			continue
		}
		number := binary.BigEndian.Uint64(echo.Data)
		p.mu.Lock()
		if number < uint64(len(p.probes)) && p.probes[number].answered.IsZero() {
			p.probes[number].answered = now
		}
		p.mu.Unlock()
	}
}

// Stop ends the pinging, waits ProbeGrace for late answers, and reports.
func (p *Prober) Stop() (Report, error) {
	p.stop()
	<-p.done
	err := p.conn.Close()
	p.mu.Lock()
	defer p.mu.Unlock()
	return report(p.probes), errors.Join(p.err, err)
}

// Report is what a Prober saw.
type Report struct {
	Sent, Unanswered int
	// Gaps are the runs of unanswered probes, in order.
	Gaps []Gap
	// FirstAnswer is when the first answered probe was answered; zero without one.
	FirstAnswer time.Time
	// SlowestAnswer is the longest time from a probe to its answer.
	SlowestAnswer time.Duration
}

// Gap is a run of unanswered probes.
type Gap struct {
	// From is when the first of them was sent, To when the next answered probe was
	// sent: a prober that lacked CPU time isn't taken for a silent target. To is
	// the last probe of all if none was answered any more.
	From, To time.Time
	Probes   int
}

// Length of the gap.
func (g Gap) Length() time.Duration { return g.To.Sub(g.From) }

// LongestGap is the longest run of unanswered probes, 0 without any.
func (r Report) LongestGap() time.Duration {
	var longest time.Duration
	for _, g := range r.Gaps {
		longest = max(longest, g.Length())
	}
	return longest
}

func (r Report) String() string {
	return fmt.Sprintf("%d of %d probes unanswered, longest gap %s, slowest answer %s",
		r.Unanswered, r.Sent, r.LongestGap().Round(time.Millisecond), r.SlowestAnswer.Round(time.Microsecond))
}

// report sums probes up; they are in order of sending.
func report(probes []probe) Report {
	r := Report{Sent: len(probes)}
	var gap *Gap
	for _, p := range probes {
		if !p.answered.IsZero() {
			if gap != nil {
				gap.To = p.sent
				r.Gaps = append(r.Gaps, *gap)
				gap = nil
			}
			if r.FirstAnswer.IsZero() {
				r.FirstAnswer = p.answered
			}
			r.SlowestAnswer = max(r.SlowestAnswer, p.answered.Sub(p.sent))
			continue
		}
		r.Unanswered++
		if gap == nil {
			gap = &Gap{From: p.sent}
		}
		gap.Probes++
		gap.To = p.sent
	}
	if gap != nil {
		r.Gaps = append(r.Gaps, *gap)
	}
	return r
}
