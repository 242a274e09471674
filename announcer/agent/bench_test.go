package agent

import (
	"fmt"
	"net/netip"
	"testing"

	"evenkeel.io/evenkeel/announcer/liveness"
	"evenkeel.io/evenkeel/api/placeholder"
)

// BenchmarkTakeover measures what the agent itself needs to take over 50 VIPs of a node that fell silent, all edges being instant.
func BenchmarkTakeover(b *testing.B) {
	const vips = 50
	for b.Loop() {
		b.StopTimer()
		r := newRig(b)
		r.Synced(r.ctx)
		var addrs []netip.Addr
		for i := range vips {
			p := standbyPod(fmt.Sprint("s", i))
			addr := netip.AddrFrom4([4]byte{192, 0, 2, byte(20 + i)})
			p.Annotations[placeholder.AnnotationAddresses] = addr.String()
			p.Labels[placeholder.LabelVIP] = placeholder.VIPName(addr)
			r.PodChanged(r.ctx, p)
			addrs = append(addrs, addr)
		}
		r.turn()
		r.guardInForce()
		b.StartTimer()
		for _, addr := range addrs {
			r.Liveness(r.ctx, liveness.Event{Kind: liveness.Silent, Addr: addr, MAC: mac3})
		}
		for _, item := range r.inbox.take() {
			item()
		}
		b.StopTimer()
		if len(r.log) != 2*vips {
			b.Fatalf("the edges were asked %d times, want %d", len(r.log), 2*vips)
		}
		b.StartTimer()
	}
}
