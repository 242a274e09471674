package dataplane

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"time"

	"k8s.io/utils/clock"
)

// ipvsInterface is the dummy interface on which kube-proxy's IPVS mode puts every load balancer's address, on every
// node (pkg/proxy/ipvs, defaultDummyDevice).
const ipvsInterface = "kube-ipvs0"

// IPVS says whether kube-proxy runs in IPVS mode, and whether the node keeps its VIPs to itself then.
type IPVS struct {
	Present bool
	// Strict is kube-proxy's strictARP: the kernel answers ARP only for addresses of the interface that was asked.
	Strict bool
	// Message says what to do, if anything.
	Message string
}

// DetectIPVS reads /sys/class/net and /proc/sys below root ("/" outside tests). Settings that can't be read count as
// the kernel's defaults, which are not strict.
func DetectIPVS(root string) IPVS {
	if _, err := os.Stat(filepath.Join(root, "sys/class/net", ipvsInterface)); err != nil {
		return IPVS{}
	}
	ignore, announce := arpSetting(root, "arp_ignore"), arpSetting(root, "arp_announce")
	// ipvs.strictARP sets arp_ignore to 1 and arp_announce to 2; all higher values of arp_ignore are stricter
	// (Documentation/networking/ip-sysctl.rst).
	if ignore != "0" && announce == "2" {
		return IPVS{Present: true, Strict: true}
	}
	return IPVS{Present: true, Message: fmt.Sprintf(
		"kube-proxy runs in IPVS mode without strictARP (arp_ignore=%s, arp_announce=%s): every node answers ARP for every VIP; "+
			"set ipvs.strictARP: true in kube-proxy's configuration", ignore, announce)}
}

func arpSetting(root, name string) string {
	content, err := os.ReadFile(filepath.Join(root, "proc/sys/net/ipv4/conf/all", name))
	if err != nil {
		return "0"
	}
	return strings.TrimSpace(string(content))
}

// Reasons of the condition StrictARP.
const (
	// ReasonNotIPVS: kube-proxy isn't in IPVS mode, so nothing has to be strict.
	ReasonNotIPVS = "NotIPVS"
	// ReasonStrict: it is, and the node keeps to itself what other nodes announce.
	ReasonStrict = "Strict"
	// ReasonNotStrict: every node answers ARP for every VIP.
	ReasonNotStrict = "NotStrict"
)

// Condition says in the words of a condition how it is.
func (v IPVS) Condition() (ok bool, reason, message string) {
	switch {
	case !v.Present:
		return true, ReasonNotIPVS, "kube-proxy doesn't run in IPVS mode"
	case v.Strict:
		return true, ReasonStrict, "kube-proxy runs in IPVS mode with strictARP"
	}
	return false, ReasonNotStrict, v.Message
}

// proxyInterval is how often kube-proxy's traces are looked for in the end: it may be reconfigured.
const proxyInterval = 30 * time.Second

// FollowIPVS looks at once and then now and then, more often in the first half minute as kube-proxy may start after the announcer, and
// tells what it finds when that has changed, until ctx ends. notify must not block.
func FollowIPVS(ctx context.Context, root string, clk clock.Clock, notify func(IPVS)) error {
	return follow(ctx, clk, proxyInterval, func() (IPVS, error) { return DetectIPVS(root), nil }, notify)
}

// follow looks at once, after 1, 2, 4 s and so on, and in the end at an interval, and tells what it finds when that has changed, until
// ctx ends. An error is taken for what was found before.
func follow[T comparable](ctx context.Context, clk clock.Clock, every time.Duration, look func() (T, error), notify func(T)) error {
	var last T
	for first, wait := true, time.Second; ; wait = min(2*wait, every) {
		if now, err := look(); err == nil && (first || now != last) {
			first, last = false, now
			notify(now)
		}
		select {
		case <-ctx.Done():
			return nil
		case <-clk.After(wait):
		}
	}
}
