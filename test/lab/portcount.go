package lab

import (
	"context"
	"encoding/json"
	"fmt"
	"os/exec"
	"strings"

	"github.com/vishvananda/netlink"
)

// PortCount is how many frames have passed a node's port, since CountFrames; From the node and To it.
type PortCount struct {
	From, To FrameCount
}

// FrameCount counts frames by kind.
type FrameCount struct {
	// All frames, from the port's own statistics.
	All uint64
	// ARP packets; ND are neighbour solicitations and advertisements; Echo are ICMP and ICMPv6 echo requests and replies.
	ARP, ND, Echo uint64
}

// Sub is what has passed between two counts.
func (f FrameCount) Sub(earlier FrameCount) FrameCount {
	return FrameCount{All: f.All - earlier.All, ARP: f.ARP - earlier.ARP, ND: f.ND - earlier.ND, Echo: f.Echo - earlier.Echo}
}

const countTable = "bridge lab-count"

// kinds of frames that rules count, with what finds them.
var kinds = []struct{ name, match string }{
	{"arp", "ether type arp"},
	{"nd", "icmpv6 type { nd-neighbor-solicit, nd-neighbor-advert }"},
	{"echo4", "icmp type { echo-request, echo-reply }"},
	{"echo6", "icmpv6 type { echo-request, echo-reply }"},
}

// CountFrames has the switch count the frames of every node's port by kind; the counts begin at zero.
func (c *Cluster) CountFrames(ctx context.Context) error {
	var counters, from, to strings.Builder
	for _, n := range c.Nodes {
		for _, kind := range kinds {
			for _, way := range []struct {
				name, port string
				rules      *strings.Builder
			}{{"from", "iifname", &from}, {"to", "oifname", &to}} {
				counter := way.name + "-" + kind.name + "-" + n.name
				fmt.Fprintf(&counters, "counter %s {}\n", counter)
				fmt.Fprintf(way.rules, "%s %q %s counter name %s\n", way.port, portName(n.name), kind.match, counter)
			}
		}
	}
	err := nft(ctx, replaceTable(countTable, fmt.Sprintf(`%s
	chain from-nodes {
		type filter hook prerouting priority -300; policy accept;
%s	}
	chain to-nodes {
		type filter hook postrouting priority 300; policy accept;
%s	}`, counters.String(), from.String(), to.String())))
	if err != nil {
		return fmt.Errorf("counting frames: %w", err)
	}
	return nil
}

// FrameCounts reads the counts by node.
func (c *Cluster) FrameCounts(ctx context.Context) (map[string]PortCount, error) {
	wrap := func(err error) error { return fmt.Errorf("reading counts of frames: %w", err) }
	out, err := exec.CommandContext(ctx, "nft", "-j", "list", "counters", "table", "bridge", "lab-count").Output()
	if err != nil {
		return nil, wrap(err)
	}
	var listing struct {
		Nftables []struct {
			Counter *struct {
				Name    string `json:"name"`
				Packets uint64 `json:"packets"`
			} `json:"counter"`
		} `json:"nftables"`
	}
	if err := json.Unmarshal(out, &listing); err != nil {
		return nil, wrap(err)
	}
	packets := map[string]uint64{}
	for _, object := range listing.Nftables {
		if object.Counter != nil {
			packets[object.Counter.Name] = object.Counter.Packets
		}
	}
	counts := map[string]PortCount{}
	for _, n := range c.Nodes {
		link, err := netlink.LinkByName(portName(n.name))
		if err != nil {
			return nil, wrap(err)
		}
		of := func(way string) FrameCount {
			get := func(kind string) uint64 { return packets[way+"-"+kind+"-"+n.name] }
			return FrameCount{ARP: get("arp"), ND: get("nd"), Echo: get("echo4") + get("echo6")}
		}
		count := PortCount{From: of("from"), To: of("to")}
		// What the port receives comes from the node.
		count.From.All, count.To.All = link.Attrs().Statistics.RxPackets, link.Attrs().Statistics.TxPackets
		counts[n.name] = count
	}
	return counts, nil
}
