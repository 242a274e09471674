package liveness

import (
	"fmt"
	"net/netip"
	"testing"
)

// cluster is the wire as one of many nodes sees it, with VIPs spread evenly and one standby each; the simulated node guards what
// falls to it.
func cluster(config Config, nodes, addresses, neighbours int, dropEcho bool) (*simulation, []*host) {
	guarded := (addresses + nodes - 1) / nodes
	var hosts []*host
	for i := range nodes - 1 {
		h := machine0(0, netip.AddrFrom4([4]byte{10, 0, byte(i / 250), byte(1 + i%250)}))
		h.mac[4], h.mac[5], h.dropsEcho = byte(1+i/200), byte(i%200), dropEcho
		hosts = append(hosts, h)
	}
	s := simulate(config, hosts...)
	var near []Neighbour
	for i := range min(neighbours, len(hosts)) {
		near = append(near, Neighbour{Node: fmt.Sprintf("node-%d", i), Addr: hosts[i].addrs[0], NIC: wire0, MAC: hosts[i].mac})
	}
	var targets []Target
	for i, addr := range vips(0, guarded) {
		h := hosts[i%len(hosts)]
		h.addrs = append(h.addrs, addr)
		targets = append(targets, Target{Addr: addr, NIC: wire0, MAC: h.mac})
	}
	s.core.SetNeighbours(near, s.now)
	s.core.SetTargets(targets, s.now)
	return s, hosts
}

func TestTheBudgetIsWhatTheCoreDoes(t *testing.T) {
	for _, size := range []struct{ nodes, addresses int }{{2, 30}, {3, 30}, {5, 50}, {50, 500}, {50, 2000}, {200, 2000}, {200, 20000}} {
		t.Run(fmt.Sprintf("%d nodes with %d VIPs", size.nodes, size.addresses), func(t *testing.T) {
			profiles(t, func(t *testing.T, config Config) {
				const neighbours, seconds = 2, 20
				budget := config.Budget(size.nodes, size.addresses, 1, min(neighbours, size.nodes-1))
				t.Logf("budget: %+v", budget)
				s, hosts := cluster(config, size.nodes, size.addresses, neighbours, false)
				s.run(10 * sec)
				s.probes = map[Kind]int{}
				clear(s.asked)
				s.run((10 + seconds) * sec)
				if got := 4 * s.probes[Echo]; got > budget.Packets*seconds || got < budget.Packets*seconds*8/10 {
					t.Errorf("%d packets a second, the budget says %d", got/seconds, budget.Packets)
				}
				if s.probes[Solicit] > 0 {
					t.Errorf("%d solicitations", s.probes[Solicit])
				}
				between := budget.AddressDetection - config.Silence
				for _, h := range hosts {
					for _, addr := range h.addrs[1:] {
						last := s.start.Add(10 * sec)
						for _, at := range append(s.asked[addr], s.now) {
							if at.Sub(last) > between {
								t.Fatalf("%s wasn't asked for in %v, the budget says %v", addr, at.Sub(last), between)
							}
							last = at
						}
					}
				}
				if len(s.of(Silent, 0)) > 0 {
					t.Fatal("somebody fell silent")
				}
				// One address is lost, then a node dies.
				died := s.now.Sub(s.start)
				last := hosts[min(len(hosts), budget.Peers)-1]
				if len(hosts) > 1 { // with nobody else, the longer silence counts
					gone := hosts[0].addrs[1]
					hosts[0].addrs = append(hosts[0].addrs[:1:1], hosts[0].addrs[2:]...)
					s.run(died + budget.AddressDetection + 20*ms)
					if silent := s.of(Silent, 0); len(silent) != 1 || silent[0].Addr != gone {
						t.Errorf("within %v silent is %v, want %s", budget.AddressDetection, silent, gone)
					}
					died = s.now.Sub(s.start)
					last.dead = true
					s.run(died + budget.NodeDetection + 20*ms)
					want := len(last.addrs) - 1
					if got := len(s.of(Silent, died)); got != want {
						t.Errorf("%d addresses of a node silent within %v, want %d", got, budget.NodeDetection, want)
					}
				}
			})
		})
	}
}

func TestWhereAllDropEchoAPortSendsFewARPFrames(t *testing.T) {
	for _, nodes := range []int{2, 3, 5, 50, 200} {
		t.Run(fmt.Sprint(nodes, " nodes"), func(t *testing.T) {
			profiles(t, func(t *testing.T, config Config) {
				const neighbours, seconds = 2, 60
				budget := config.Budget(nodes, 10*nodes, 1, min(neighbours, nodes-1))
				s, hosts := cluster(config, nodes, 10*nodes, neighbours, true)
				for _, h := range hosts { // all have been heard by echo, at first
					h.dropsEcho = false
				}
				s.run(5 * sec)
				for _, h := range hosts {
					h.dropsEcho = true
				}
				s.run(60 * sec)
				s.probes = map[Kind]int{}
				s.run((60 + seconds) * sec)
				// Each question is answered, and we answer as many.
				if got := 2 * s.probes[Solicit]; got > budget.ARP*seconds || budget.ARP >= 10 {
					t.Errorf("%d ARP frames sent in %d s, the budget says %d a second", got, seconds, budget.ARP)
				}
				if silent := s.of(Silent, 0); len(silent) > 0 {
					t.Errorf("fell silent though they answer ARP: %v", silent)
				}
				t.Logf("budget %+v, %v", budget, s.probes)
			})
		})
	}
}

func TestNobodyToAskCostsNothing(t *testing.T) {
	for _, args := range [][4]int{{1, 10, 1, 0}, {3, 0, 1, 0}, {3, 10, 0, 0}} {
		if b := Balanced().Budget(args[0], args[1], args[2], args[3]); b != (Budget{}) {
			t.Errorf("Budget%v = %+v", args, b)
		}
	}
	s := simulate(Balanced())
	s.run(10 * sec)
	if len(s.probes) > 0 || s.core.Stats().Voided > 0 {
		t.Errorf("asked %v, %+v", s.probes, s.core.Stats())
	}
}
