package lab

import (
	"errors"
	"fmt"
	"os"
	"strconv"
	"syscall"
	"time"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"
)

// killAll kills every process in the namespaces and returns when they are gone,
// those too that somebody started from a shell.
func killAll(spaces ...*Netns) error {
	inodes := make(map[uint64]bool, len(spaces))
	for _, ns := range spaces {
		inode, err := ns.inode()
		if errors.Is(err, ErrPoweredOff) {
			continue
		}
		if err != nil {
			return err
		}
		inodes[inode] = true
	}
	for deadline := time.Now().Add(10 * time.Second); ; time.Sleep(time.Millisecond) {
		pids, err := processesIn(inodes)
		if err != nil || len(pids) == 0 {
			return err
		}
		if time.Now().After(deadline) {
			return fmt.Errorf("killing processes %v: they don't end", pids)
		}
		for _, pid := range pids {
			if err := unix.Kill(pid, unix.SIGKILL); err != nil && !errors.Is(err, unix.ESRCH) {
				return fmt.Errorf("killing process %d: %w", pid, err)
			}
		}
	}
}

// processesIn lists the processes whose network namespace is one of the inodes.
func processesIn(inodes map[uint64]bool) ([]int, error) {
	entries, err := os.ReadDir("/proc")
	if err != nil {
		return nil, fmt.Errorf("listing processes: %w", err)
	}
	var pids []int
	for _, e := range entries {
		pid, err := strconv.Atoi(e.Name())
		if err != nil {
			continue
		}
		// A process that ended meanwhile, or a zombie, has no namespace.
		info, err := os.Stat("/proc/" + e.Name() + "/ns/net")
		if err != nil {
			continue
		}
		if st, ok := info.Sys().(*syscall.Stat_t); ok && inodes[st.Ino] {
			pids = append(pids, pid)
		}
	}
	return pids, nil
}

// spaces are all namespaces that the cluster has made.
func (c *Cluster) spaces() []*Netns {
	var out []*Netns
	for _, h := range []*Host{c.Router, c.Far, c.Client, c.SecondClient} {
		if h != nil {
			out = append(out, h.Netns)
		}
	}
	for _, n := range c.Nodes {
		out = append(out, n.Netns, n.pods)
	}
	if c.cp != nil {
		out = append(out, c.cp.ns)
	}
	return out
}

// tearDown kills everything and removes namespaces and segment.
func (c *Cluster) tearDown() error {
	errs := []error{killAll(c.spaces()...)}
	links, err := netlink.LinkList()
	if err != nil {
		errs = append(errs, fmt.Errorf("listing links: %w", err))
	}
	for _, link := range links {
		if link.Attrs().Name == "lo" {
			continue
		}
		// A link may have gone with the namespace of its other end.
		if err := netlink.LinkDel(link); err != nil && !errors.Is(err, unix.ENODEV) {
			errs = append(errs, fmt.Errorf("deleting %s: %w", link.Attrs().Name, err))
		}
	}
	for _, ns := range c.spaces() {
		errs = append(errs, ns.remove())
	}
	return errors.Join(errs...)
}
