package dataplane

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/google/nftables"
	"k8s.io/utils/clock"

	"evenkeel.io/evenkeel/announcer/nft"
)

// Proxy says how kube-proxy translates Services on this node.
type Proxy string

// Modes of kube-proxy.
const (
	// ProxyNFTables and ProxyIPTables translate a connection once and keep it in conntrack.
	ProxyNFTables Proxy = "nftables"
	ProxyIPTables Proxy = "iptables"
	// ProxyIPVS balances connections itself.
	ProxyIPVS Proxy = "ipvs"
	// NoProxy: no rules of kube-proxy are here (yet): something else may serve Services.
	NoProxy Proxy = "none"
)

// Translates says whether established connections are in conntrack, so that they go on where they are handed on to.
func (p Proxy) Translates() bool { return p == ProxyNFTables || p == ProxyIPTables }

// Condition says in the words of a condition how it is.
func (p Proxy) Condition() (reason, message string) {
	switch p {
	case ProxyNFTables, ProxyIPTables:
		return "KubeProxy", "beside kube-proxy in " + string(p) + " mode, planned moves to this node keep established TCP connections"
	case ProxyIPVS:
		return "IPVS", "kube-proxy runs in IPVS mode, where connections can't be handed on: planned moves reset them"
	}
	return "NoKubeProxy", "no rules of kube-proxy are on this node, and what serves Services in its stead can't take connections that are handed on: planned moves reset them"
}

// Rules that kube-proxy makes: its table in nftables mode (pkg/proxy/nftables, kubeProxyTable), and a chain in iptables mode
// (pkg/proxy/iptables, kubeServicesChain) where iptables is made of nf_tables.
const (
	proxyTable = "kube-proxy"
	proxyChain = "KUBE-SERVICES"
)

// DetectProxy looks for the traces of each mode; root is "/" outside tests.
func DetectProxy(root string, link *nft.Link) (Proxy, error) {
	if DetectIPVS(root).Present {
		return ProxyIPVS, nil
	}
	var tables []*nftables.Table
	var chains []*nftables.Chain
	err := link.Do(func(c *nftables.Conn) (err error) {
		if tables, err = c.ListTables(); err != nil {
			return err
		}
		chains, err = c.ListChains()
		return err
	})
	if err != nil {
		return NoProxy, err
	}
	if slices.ContainsFunc(tables, func(t *nftables.Table) bool { return t.Name == proxyTable }) {
		return ProxyNFTables, nil
	}
	if slices.ContainsFunc(chains, func(ch *nftables.Chain) bool { return ch.Name == proxyChain && ch.Table.Name == "nat" }) {
		return ProxyIPTables, nil
	}
	// The older iptables can't be asked without its binary: that its nat table is in use has to do.
	legacy, err := os.ReadFile(filepath.Join(root, "proc/net/ip_tables_names"))
	if err != nil && !errors.Is(err, os.ErrNotExist) {
		return NoProxy, err
	}
	if slices.Contains(strings.Fields(string(legacy)), "nat") {
		return ProxyIPTables, nil
	}
	return NoProxy, nil
}

// FollowProxy looks at once and then now and then, more often in the first half minute as kube-proxy may start after the announcer, and
// tells what it finds when that has changed, until ctx ends. notify must not block.
func FollowProxy(ctx context.Context, root string, clk clock.Clock, notify func(Proxy)) error {
	link := nft.NewLink(0)
	defer link.Close()
	return follow(ctx, clk, proxyInterval, func() (Proxy, error) { return DetectProxy(root, link) }, notify)
}
