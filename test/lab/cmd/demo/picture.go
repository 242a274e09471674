package main

import (
	"fmt"
	"slices"
	"strings"
)

// vipLine is one VIP in the picture.
type vipLine struct {
	Address string
	Service string
	Node    string // who announces it; empty: nobody yet
	Served  string // which node's backend answered the last HTTP request; empty: none yet
}

// picture draws which node announces which VIP, one line a node, for a terminal of ordinary width.
func picture(nodes []string, vips []vipLine, colour bool) string {
	byNode := map[string][]vipLine{}
	for _, v := range vips {
		byNode[v.Node] = append(byNode[v.Node], v)
	}
	var b strings.Builder
	paint := func(code, text string) string {
		if !colour {
			return text
		}
		return "\x1b[" + code + "m" + text + "\x1b[0m"
	}
	for i, node := range nodes {
		held := byNode[node]
		slices.SortFunc(held, func(a, c vipLine) int { return strings.Compare(a.Service, c.Service) })
		fmt.Fprintf(&b, "  %-8s %s %2d  ", node, paint(fmt.Sprintf("3%d", 2+i%5), fmt.Sprintf("%-12s", strings.Repeat("■", min(len(held), 12)))), len(held))
		for j, v := range held {
			if j > 0 && j%6 == 0 {
				fmt.Fprintf(&b, "\n%s", strings.Repeat(" ", 28))
			}
			mark := paint("2", "○")
			if v.Served != "" {
				mark = paint("32", "●")
			}
			fmt.Fprintf(&b, "%s %-13s", mark, v.Address)
		}
		b.WriteByte('\n')
	}
	if waiting := byNode[""]; len(waiting) > 0 {
		fmt.Fprintf(&b, "  %-8s %-12s %2d  not announced yet\n", "-", "", len(waiting))
	}
	return b.String()
}
