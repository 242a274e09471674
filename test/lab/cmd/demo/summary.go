package main

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"time"

	"evenkeel.io/evenkeel/test/lab"
)

// listen is how long machines have to answer the question who has an address.
const listen = 200 * time.Millisecond

// summary asks the segment who answers for each VIP, and says whether all is as it should be.
func (s *show) summary(ctx context.Context) error {
	if err := s.look(ctx); err != nil {
		return err
	}
	if err := s.ask(ctx); err != nil {
		return err
	}
	var wrong []error
	perNode := map[string]int{}
	for _, v := range s.vips {
		addr, err := netip.ParseAddr(v.Address)
		if err != nil {
			return err
		}
		answers, err := s.env.Client.WhoHas(ctx, addr, listen)
		if err != nil {
			return err
		}
		owners := ownersOf(answers, s.env.Nodes)
		if len(owners) != 1 || owners[0] != v.Node {
			wrong = append(wrong, fmt.Errorf("%s is answered for by %q, want %q alone", v.Address, owners, v.Node))
			continue
		}
		if v.Served != "" {
			perNode[v.Node]++
		}
	}
	if len(s.vips) != services {
		wrong = append(wrong, fmt.Errorf("%d VIPs, want %d", len(s.vips), services))
	}
	fmt.Fprintf(s.out, "%d VIPs:", len(s.vips))
	for _, n := range s.env.Nodes {
		fmt.Fprintf(s.out, " %s %d", n.Name(), perNode[n.Name()])
	}
	if len(wrong) > 0 {
		fmt.Fprintln(s.out, ".")
		return errors.Join(wrong...)
	}
	fmt.Fprintln(s.out, ". Each answered HTTP, and ARP from exactly one node.")
	return nil
}

// ownersOf names the machines that answered.
func ownersOf(answers []lab.Answer, nodes []*lab.Node) []string {
	var owners []string
	for _, a := range answers {
		owner := a.MAC.String()
		for _, n := range nodes {
			if n.MAC.String() == owner {
				owner = n.Name()
			}
		}
		owners = append(owners, owner)
	}
	return owners
}
