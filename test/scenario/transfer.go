package scenario

import (
	"bufio"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/netip"
	"sync/atomic"
	"time"

	"evenkeel.io/evenkeel/test/lab"
)

// Way of a transfer.
type Way string

// Ways of a transfer.
const (
	ToBackend Way = "client to backend"
	ToClient  Way = "backend to client"
)

// Ways are all.
func Ways() []Way { return []Way{ToBackend, ToClient} }

const (
	// transferPatience is how long a transfer may stand still: several times what TCP takes to send again for the third time.
	transferPatience = 20 * time.Second
	transferBuffer   = 256 << 10
)

// Transfer is one transfer on a connection.
type Transfer struct {
	Bytes int64 `json:"bytes"`
	// Right says that the receiver's checksum is the sender's.
	Right       bool    `json:"checksumRight"`
	Seconds     float64 `json:"seconds"`
	MBPerSecond float64 `json:"megabytesPerSecond"`
	// LongestStallMs is the longest time without progress at the client.
	LongestStallMs float64 `json:"longestStallMs"`
	// Packets both ways at the client's NIC, and what the machine spent on each: everything that runs is in it, the two programs'
	// own work too, and the lab's control plane.
	Packets        uint64  `json:"packets"`
	CPUSeconds     float64 `json:"cpuSeconds"`
	CPUPerPacketUs float64 `json:"cpuPerPacketMicroseconds"`
	// AtFirstOwner are the packets that came to the node which had the VIP when the connection was opened.
	AtFirstOwner uint64 `json:"packetsAtFirstOwner"`
	// Failure of the connection.
	Failure string `json:"failure,omitempty"`

	end time.Time
}

// transfers are made on one connection to a VIP, one after the other.
type transfers struct {
	conn    net.Conn
	answers *bufio.Reader
	way     Way
	client  *lab.Host
	owner   *lab.Node // when the connection was opened
}

// openTransfers opens the connection.
func openTransfers(ctx context.Context, client *lab.Host, owner *lab.Node, vip netip.Addr, way Way) (*transfers, error) {
	conn, err := client.DialContext(ctx, "tcp", netip.AddrPortFrom(vip, 80).String())
	if err != nil {
		return nil, fmt.Errorf("opening a connection to %s: %w", vip, err)
	}
	return &transfers{conn: conn, answers: bufio.NewReaderSize(conn, transferBuffer), way: way, client: client, owner: owner}, nil
}

// transfer makes one of them. A connection that ends is a Failure, and no error. What follows it may be nil.
func (t *transfers) transfer(ctx context.Context, payload lab.Payload, f *follower) (Transfer, error) {
	result := Transfer{Bytes: int64(payload)}
	stop := context.AfterFunc(ctx, func() { _ = t.conn.Close() })
	defer stop()
	if f == nil {
		f = newFollower(nil)
	}
	f.conn = t.conn
	before, err := t.spent()
	if err != nil {
		return result, err
	}
	begin := time.Now()
	var sum lab.PayloadSum
	if err = f.step(0); err == nil {
		if t.way == ToBackend {
			sum, err = t.send(payload, f)
		} else {
			sum, err = t.receive(payload, f)
		}
	}
	result.end = time.Now()
	took := result.end.Sub(begin)
	if ctx.Err() != nil {
		return result, ctx.Err()
	}
	if err != nil {
		result.Failure = err.Error()
	}
	after, err := t.spent()
	if err != nil {
		return result, err
	}
	result.Right = sum.Right(payload)
	result.Seconds, result.MBPerSecond = took.Seconds(), float64(sum.Bytes)/1e6/took.Seconds()
	result.LongestStallMs = millis(f.longest)
	packets := after.client.Sub(before.client)
	result.Packets = packets.Received + packets.Sent
	result.CPUSeconds = (after.cpu - before.cpu).Seconds()
	if result.Packets > 0 {
		result.CPUPerPacketUs = result.CPUSeconds * 1e6 / float64(result.Packets)
	}
	result.AtFirstOwner = after.owner.Sub(before.owner).Received
	return result, nil
}

// spent is what there is to count before and after a transfer.
type spent struct {
	client, owner lab.Packets
	cpu           time.Duration
}

func (t *transfers) spent() (s spent, err error) {
	if s.client, err = t.client.Packets(); err != nil {
		return s, err
	}
	if s.owner, err = t.owner.Packets(); err != nil {
		return s, err
	}
	s.cpu, err = cpuTime()
	return s, err
}

// send has the backend tell what it has received.
func (t *transfers) send(payload lab.Payload, f *follower) (sum lab.PayloadSum, err error) {
	if _, err := fmt.Fprintf(t.conn, "PUT %s HTTP/1.1\r\nHost: vip\r\nContent-Length: %d\r\n\r\n", lab.BulkPath, payload); err != nil {
		return sum, err
	}
	if _, err := payload.WriteTo(sender{t.conn, f}); err != nil {
		return sum, err
	}
	body, err := t.answer()
	if err != nil {
		return sum, err
	}
	defer func() { _ = body.Close() }()
	err = json.NewDecoder(body).Decode(&sum)
	if err == nil {
		_, err = io.Copy(io.Discard, body) // the connection's next answer begins behind it
	}
	return sum, err
}

func (t *transfers) receive(payload lab.Payload, f *follower) (sum lab.PayloadSum, err error) {
	if _, err := fmt.Fprintf(t.conn, "GET %s?%s=%d HTTP/1.1\r\nHost: vip\r\n\r\n", lab.BulkPath, lab.BulkBytes, payload); err != nil {
		return sum, err
	}
	body, err := t.answer()
	if err != nil {
		return sum, err
	}
	defer func() { _ = body.Close() }()
	_, err = io.CopyBuffer(receiver{&sum, f}, body, make([]byte, transferBuffer))
	return sum, err
}

func (t *transfers) answer() (io.ReadCloser, error) {
	response, err := http.ReadResponse(t.answers, nil)
	if err != nil {
		return nil, err
	}
	if response.StatusCode != http.StatusOK {
		_ = response.Body.Close()
		return nil, fmt.Errorf("status %d", response.StatusCode)
	}
	return response.Body, nil
}

// sender and receiver move bytes of a transfer that is followed.
type sender struct {
	conn net.Conn
	f    *follower
}

func (s sender) Write(b []byte) (int, error) {
	n, err := s.conn.Write(b)
	if err != nil {
		return n, err
	}
	return n, s.f.step(n)
}

type receiver struct {
	sum *lab.PayloadSum
	f   *follower
}

func (r receiver) Write(b []byte) (int, error) {
	n, _ := r.sum.Write(b) // it takes everything
	return n, r.f.step(n)
}

// follower follows one transfer's progress, of which it says when certain numbers of bytes have passed.
type follower struct {
	// passed gets one value for each mark.
	passed chan struct{}
	marks  []int64
	conn   net.Conn
	bytes  atomic.Int64

	last    time.Time
	longest time.Duration
}

func newFollower(marks []int64) *follower {
	return &follower{passed: make(chan struct{}, len(marks)), marks: marks}
}

// step notes that n more bytes have passed, and gives the next ones their time.
func (f *follower) step(n int) error {
	now := time.Now()
	if !f.last.IsZero() {
		f.longest = max(f.longest, now.Sub(f.last))
	}
	f.last = now
	bytes := f.bytes.Add(int64(n))
	for len(f.marks) > 0 && bytes >= f.marks[0] {
		f.marks = f.marks[1:]
		f.passed <- struct{}{} // it has room for all
	}
	return f.conn.SetDeadline(now.Add(transferPatience))
}
