package dataplane

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
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
	// ipvs.strictARP sets exactly these (kube-proxy, pkg/proxy/ipvs/ipset and sysctl).
	if ignore == "1" && announce == "2" {
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
