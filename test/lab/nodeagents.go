package lab

import (
	_ "embed"
	"fmt"
	"os"
	"path/filepath"
)

// stages is what kwok does with nodes and pods.
//
//go:embed stages.yaml
var stages string

// kwokOptions make kwok quick: its defaults play one node's pods four at a time.
const kwokOptions = `apiVersion: config.kwok.x-k8s.io/v1alpha1
kind: KwokConfiguration
metadata: {name: kwok}
options:
  podPlayStageParallelism: 16
  nodePlayStageParallelism: 4
  nodeLeaseDurationSeconds: 40
  nodeLeaseParallelism: 4
  podsOnNodeSyncParallelism: 4
  enablePodsOnNodeSyncListPager: false
  enablePodsOnNodeSyncStreamWatch: true
---
`

// writeKwokConfig writes the configuration that all kubelets share.
func writeKwokConfig(dir string) (string, error) {
	path := filepath.Join(dir, "kwok.yaml")
	if err := os.WriteFile(path, []byte(kwokOptions+stages), 0o600); err != nil {
		return "", fmt.Errorf("writing kwok's configuration: %w", err)
	}
	return path, nil
}

// ProxyMode is kube-proxy's.
type ProxyMode string

// Proxy modes. IPVS is not among them: it answers ARP for every VIP on every
// node unless strictARP is set, and is deprecated.
const (
	NFTables ProxyMode = "nftables"
	IPTables ProxyMode = "iptables"
)

// HealthzPort is kube-proxy's.
const HealthzPort = 10256

// writeProxyConfig writes the configuration of a node's kube-proxy.
func writeProxyConfig(dir, node, kubeconfig string, mode ProxyMode) (string, error) {
	config := fmt.Sprintf(`apiVersion: kubeproxy.config.k8s.io/v1alpha1
kind: KubeProxyConfiguration
hostnameOverride: %s
clientConnection: {kubeconfig: %s}
mode: %s
clusterCIDR: %q
bindAddress: 0.0.0.0
healthzBindAddress: 0.0.0.0:%d
metricsBindAddress: 127.0.0.1:10249
# Limits of the connection table belong to the machine, not to a namespace.
conntrack: {maxPerCore: 0, min: 0, tcpEstablishedTimeout: 0s, tcpCloseWaitTimeout: 0s}
`, node, kubeconfig, mode, PodsV4.String()+","+PodsV6.String(), HealthzPort)
	path := filepath.Join(dir, "kube-proxy-"+node+".yaml")
	if err := os.WriteFile(path, []byte(config), 0o600); err != nil {
		return "", fmt.Errorf("writing the configuration of kube-proxy: %w", err)
	}
	return path, nil
}
