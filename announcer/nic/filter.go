package nic

import (
	"fmt"
	"regexp"
)

// defaultExcluded are names of interfaces that lead to containers, tunnels and virtual machines and not to the
// segment: those of Docker, of CNI plugins, of kube-proxy's IPVS mode and node-local DNS, of libvirt and of VPNs.
const defaultExcluded = `lo|docker.*|br-[0-9a-f]{12}|podman.*|cni.*|veth.*|cali.*|tunl.*|vxlan.*|geneve.*|flannel.*|` +
	`cilium.*|lxc.*|kube-ipvs.*|kube-bridge|nodelocaldns|weave|antrea.*|ov[sn].*|genev_sys.*|virbr.*|vnet.*|tap.*|` +
	`tun.*|dummy.*|ifb.*|wg.*|tailscale.*|gre.*|erspan.*|sit.*|ip6.*|ip_vti.*`

// Filter says which interfaces may carry VIPs, by name. Loopback interfaces never do. The zero Filter is the default.
type Filter struct {
	only *regexp.Regexp
}

var excluded = regexp.MustCompile(`^(?:` + defaultExcluded + `)$`)

// ParseFilter makes a Filter of a regular expression that a name must match as a whole. The empty expression is the
// default: every interface but those that lead to containers, tunnels and virtual machines.
func ParseFilter(expr string) (Filter, error) {
	if expr == "" {
		return Filter{}, nil
	}
	re, err := regexp.Compile(`^(?:` + expr + `)$`)
	if err != nil {
		return Filter{}, fmt.Errorf("parsing the interfaces' expression: %w", err)
	}
	return Filter{only: re}, nil
}

// Allows says whether an interface of this name may carry VIPs.
func (f Filter) Allows(name string) bool {
	if f.only != nil {
		return f.only.MatchString(name)
	}
	return !excluded.MatchString(name)
}
