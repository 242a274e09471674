package address

import (
	"net/netip"
	"testing"
)

// BenchmarkRenew500 is what a node with 500 VIPs does every two seconds.
func BenchmarkRenew500(b *testing.B) {
	for name, first := range map[string]string{"IPv4": "198.18.0.1", "IPv6": "2001:db8:f::1"} {
		b.Run(name, func(b *testing.B) {
			p := dualStack(b)
			binder, err := New(Options{Lifetime: calm})
			if err != nil {
				b.Fatal(err)
			}
			defer func() { _ = binder.Close() }()
			addr := netip.MustParseAddr(first)
			for range 500 {
				mustBind(b, binder, p.Index(), addr)
				addr = addr.Next()
			}
			for b.Loop() {
				binder.ops.Lock()
				binder.renew(b.Context())
				binder.ops.Unlock()
			}
			if n := len(binder.Bindings()); n != 500 {
				b.Errorf("%d bindings left, want 500", n)
			}
		})
	}
}
