package main

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"time"

	"evenkeel.io/evenkeel/api/placeholder"
	"evenkeel.io/evenkeel/test/lab"
	"evenkeel.io/evenkeel/test/scenario"
)

// with runs f on a fresh cluster for the first slice, whose marks are those of VIPs without standbys.
func with(ctx context.Context, o lab.Options, f func(e *scenario.Env) error) error {
	return guarded(ctx, o, 0, f)
}

// guarded runs f on a fresh cluster whose VIPs have that many standbys.
func guarded(ctx context.Context, o lab.Options, standbys int, f func(e *scenario.Env) error) error {
	e, err := scenario.StartGuarded(ctx, o, standbys)
	if err != nil {
		return err
	}
	return errors.Join(f(e), e.Close())
}

func benchSpread(ctx context.Context, print printer) error {
	for _, size := range []struct{ nodes, services int }{{3, 30}, {5, 50}} {
		err := with(ctx, lab.Options{Nodes: size.nodes}, func(e *scenario.Env) error {
			names := scenario.Names("web", size.services)
			if err := e.CreateAll(ctx, names, lab.ServiceOptions{}); err != nil {
				return err
			}
			if err := printSpread(ctx, e, print, "created"); err != nil {
				return err
			}
			for round, replaced := range [][]string{names[:10], append(slices.Clone(names[5:10]), names[20:25]...)} {
				if err := e.DeleteAll(ctx, replaced); err != nil {
					return err
				}
				if err := e.CreateAll(ctx, replaced, lab.ServiceOptions{}); err != nil {
					return err
				}
				if err := printSpread(ctx, e, print, []string{"first ten replaced", "ten others replaced"}[round]); err != nil {
					return err
				}
			}
			return nil
		})
		if err != nil {
			return err
		}
	}
	return nil
}

func printSpread(ctx context.Context, e *scenario.Env, print printer, figure string) error {
	s, err := e.SpreadOf(ctx)
	if err == nil {
		print(figure, s)
	}
	return err
}

// rounds of the creation benchmark, and Services in each.
const (
	latencyRounds   = 2
	latencyServices = 13
)

// rates of creation, in Services a second: at the lower ones two cores aren't the whole story.
var rates = []int{20, 10, 5}

func benchLatency(ctx context.Context, print printer) error {
	return with(ctx, lab.Options{Nodes: 5}, func(e *scenario.Env) error {
		// The first Services pay for what is set up once.
		if err := e.CreateAll(ctx, scenario.Names("warm", 5), lab.ServiceOptions{}); err != nil {
			return err
		}
		next4, next6 := netip.MustParseAddr("192.0.2.20"), netip.MustParseAddr("2001:db8::20")
		for round := range latencyRounds {
			for _, next := range []*netip.Addr{&next4, &next6} {
				for _, perSecond := range rates {
					var addresses []netip.Addr
					for range latencyServices {
						addresses = append(addresses, *next)
						*next = next.Next()
					}
					prefix := fmt.Sprintf("round%d-%dbit-%d", round, next.BitLen(), perSecond)
					result, err := e.MeasureCreation(ctx, prefix, addresses, perSecond)
					if err != nil {
						return err
					}
					print("creation to first answer", result)
					time.Sleep(3 * time.Second) // let events and statuses settle
				}
			}
		}
		return nil
	})
}

func benchReach(ctx context.Context, print printer) error {
	return with(ctx, lab.Options{Nodes: 3}, func(e *scenario.Env) error {
		names := scenario.Names("web", 30)
		if err := e.CreateAll(ctx, names, lab.ServiceOptions{}); err != nil {
			return err
		}
		for _, n := range e.Nodes {
			stop, err := e.ListenAsNode(ctx, n)
			if err != nil {
				return err
			}
			defer stop()
		}
		vips, err := e.Announced(ctx, names...)
		if err != nil {
			return err
		}
		placements, err := e.Placements(ctx)
		if err != nil {
			return err
		}
		var total struct {
			VIPs      int `json:"vips"`
			OneOwner  int `json:"oneOwner"`
			HTTP      int `json:"httpFromClientFarAndHolder"`
			OpenPorts int `json:"portsOfTheNodeOpenThroughVIPs"`
			OwnPorts  int `json:"portsOfTheNodeOpenOnItsOwnAddress"`
		}
		for _, vip := range scenario.Flatten(vips) {
			node, err := e.Node(placements[placeholder.VIPName(vip)])
			if err != nil {
				return err
			}
			r, err := e.ReachOf(ctx, vip, node)
			if err != nil {
				return err
			}
			total.VIPs++
			total.HTTP++ // ReachOf fails otherwise
			if len(r.Owners) == 1 && r.Owners[0] == node.MAC.String() {
				total.OneOwner++
			}
			total.OpenPorts += len(r.OpenPorts)
			total.OwnPorts += len(r.OwnPorts)
		}
		print("reach", total)
		return nil
	})
}

func benchScale(ctx context.Context, print printer) error {
	const nodes, services = 100, 1000
	return with(ctx, lab.Options{Nodes: -1, FakeNodes: nodes, KubeScheduler: true}, func(e *scenario.Env) error {
		if err := e.ReportFakeNodes(ctx, nodes); err != nil {
			return err
		}
		if err := e.CreatePool(ctx, "large", "198.19.0.0/21"); err != nil {
			return err
		}
		if err := e.DeletePool(ctx, "segment"); err != nil {
			return err
		}
		time.Sleep(2 * time.Second) // the scheduler's view of the nodes settles
		result, err := e.PlaceMany(ctx, scenario.Names("web", services), nodes)
		if err != nil {
			return err
		}
		print("Services placed by evenkeel-scheduler", result)
		first := netip.MustParseAddr("198.19.64.1")
		for i, scheduler := range []string{"default-scheduler", placeholder.SchedulerName, "default-scheduler", placeholder.SchedulerName} {
			bound, err := e.SchedulePods(ctx, scheduler, fmt.Sprintf("pods-%d", i), first, services, nodes)
			if err != nil {
				return err
			}
			print("pods bound by "+scheduler, bound)
			for range services {
				first = first.Next()
			}
		}
		return nil
	})
}
