package main

import (
	"context"
	"net/netip"
	"time"

	"evenkeel.io/evenkeel/announcer/address"
	"evenkeel.io/evenkeel/test/lab"
	"evenkeel.io/evenkeel/test/scenario"
)

func benchAnnouncer(ctx context.Context, print printer) error {
	o := lab.Options{Nodes: 3, ComponentEnv: map[string][]string{
		"evenkeel-announcer": {address.StallFileEnv + "=" + scenario.StallFile},
	}}
	return with(ctx, o, func(e *scenario.Env) error {
		names := scenario.Names("web", 30)
		if err := e.CreateAll(ctx, names, lab.ServiceOptions{}); err != nil {
			return err
		}
		for _, n := range e.Nodes {
			killed, err := e.KillForGood(ctx, n)
			if err != nil {
				return err
			}
			print("SIGKILL for good, lifetime 6 s", killed)
			if err := e.AllHeld(ctx, len(names)); err != nil {
				return err
			}
		}
		for _, n := range e.Nodes {
			held, err := scenario.Held(n)
			if err != nil {
				return err
			}
			seen, err := e.Probing(ctx, held, 10*time.Millisecond, func() error {
				if err := n.Announcer.Kill(); err != nil {
					return err
				}
				if err := n.Announcer.Start(); err != nil {
					return err
				}
				time.Sleep(8 * time.Second) // longer than the lifetime that the killed process left
				return nil
			})
			if err != nil {
				return err
			}
			print("SIGKILL and restart", seen)
		}
		paused, err := e.StopPast(ctx, e.Nodes[0], 9*time.Second)
		if err != nil {
			return err
		}
		print("SIGSTOP for 9 s, another machine takes one VIP", paused)
		stalled, err := e.Stall(ctx, 9*time.Second)
		if err != nil {
			return err
		}
		print("stall of 9 s between check and renewal", stalled)
		return nil
	})
}

func benchOutage(ctx context.Context, print printer) error {
	return with(ctx, lab.Options{Nodes: 3}, func(e *scenario.Env) error {
		names := scenario.Names("web", 30)
		if err := e.CreateAll(ctx, names, lab.ServiceOptions{}); err != nil {
			return err
		}
		vips, err := e.Announced(ctx, names...)
		if err != nil {
			return err
		}
		for _, restart := range []bool{false, true} {
			result, err := e.APIOutage(ctx, scenario.Flatten(vips), time.Minute, time.Minute, restart)
			if err != nil {
				return err
			}
			print(map[bool]string{false: "API server stopped", true: "API server stopped, announcers killed and restarted in turn"}[restart], result)
		}
		return nil
	})
}

func benchRequests(ctx context.Context, print printer) error {
	return with(ctx, lab.Options{Nodes: 5}, func(e *scenario.Env) error {
		const settle = 30 * time.Second
		created := 0
		// For more VIPs than the usual pool has addresses.
		if err := e.CreatePool(ctx, "more", "192.0.2.150-192.0.2.199"); err != nil {
			return err
		}
		for _, target := range []int{0, 50, 100} {
			names := scenario.Names("web", target)[created:]
			if len(names) > 0 {
				cost, err := e.CostOfCreation(ctx, names, 5*time.Second)
				if err != nil {
					return err
				}
				print("per VIP created", cost)
			}
			created = target
			time.Sleep(settle) // leases, events and status writes of the creation end
			begin := time.Now()
			time.Sleep(2 * time.Minute) // what is measured
			steady, err := e.RequestsBetween(ctx, begin, time.Now())
			if err != nil {
				return err
			}
			print("steady state", steady)
		}
		return nil
	})
}

func benchNetwork(ctx context.Context, print printer) error {
	return with(ctx, lab.Options{Nodes: 3}, func(e *scenario.Env) error {
		names := scenario.Names("web", 30)
		if err := e.CreateAll(ctx, names, lab.ServiceOptions{}); err != nil {
			return err
		}
		for _, n := range e.Nodes {
			for _, flush := range []func() (scenario.Flushed, error){
				func() (scenario.Flushed, error) { return e.FlushVIPs(ctx, n) },
				func() (scenario.Flushed, error) { return e.FlushOwn(ctx, n) },
				func() (scenario.Flushed, error) { return e.FlushAll(ctx, n, time.Second) },
			} {
				result, err := flush()
				if err != nil {
					return err
				}
				print("flushed", result)
			}
		}
		const tries = 20
		found, held := 0, 0
		for i, name := range scenario.Names("foreign", tries) {
			delay := time.Duration(i) * 500 * time.Millisecond / (tries - 1)
			vip := netip.AddrFrom4([4]byte{192, 0, 2, byte(60 + i)})
			result, err := e.ForeignAnswers(ctx, name, vip, delay, false)
			if err != nil {
				return err
			}
			print("foreign machine", result)
			if result.Found {
				found++
			}
			if result.Bound {
				held++
			}
			if err := e.DeleteAll(ctx, []string{name}); err != nil {
				return err
			}
		}
		print("foreign machines", map[string]int{"tries": tries, "found": found, "stillHeld": held})
		return nil
	})
}

func benchUninstall(ctx context.Context, print printer) error {
	for _, order := range scenario.UninstallOrders() {
		err := with(ctx, lab.Options{Nodes: 3}, func(e *scenario.Env) error {
			names := scenario.Names("web", 12)
			if err := e.CreateAll(ctx, names, lab.ServiceOptions{}); err != nil {
				return err
			}
			result, err := e.Uninstall(ctx, order.Name, names[0], func(ctx context.Context) error { return order.Remove(ctx, e) })
			if err == nil {
				print("uninstalled", result)
			}
			return err
		})
		if err != nil {
			return err
		}
	}
	return nil
}
