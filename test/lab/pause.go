package lab

import (
	"errors"
	"fmt"

	"golang.org/x/sys/unix"
)

// Pause stops the whole machine, as a hypervisor does for a snapshot or a live migration: every process in its namespace stands
// still and nothing passes its port, so that its kernel answers for nothing and hears nothing. The carrier stays. Its kernel's
// clock goes on all the same: addresses whose lifetime ends meanwhile are gone afterwards.
func (c *Cluster) Pause(n *Node) error {
	// Silence first, as in a power loss.
	if err := errors.Join(setPortState(portName(n.name), bridgeStateDisabled), n.setSecondPorts(bridgeStateDisabled)); err != nil {
		return fmt.Errorf("pausing %s: %w", n.name, err)
	}
	if err := signalAll(unix.SIGSTOP, n.Netns); err != nil {
		return fmt.Errorf("pausing %s: %w", n.name, err)
	}
	return nil
}

// Resume lets a paused machine go on as if nothing had been. Its kernel answers before its processes have found their way back.
func (c *Cluster) Resume(n *Node) error {
	err := errors.Join(setPortState(portName(n.name), bridgeStateForwarding), n.setSecondPorts(bridgeStateForwarding), signalAll(unix.SIGCONT, n.Netns))
	if err != nil {
		return fmt.Errorf("resuming %s: %w", n.name, err)
	}
	return nil
}

// signalAll sends a signal to every process in the namespace; those that end meanwhile need none.
func signalAll(sig unix.Signal, ns *Netns) error {
	inode, err := ns.inode()
	if err != nil {
		return err
	}
	pids, err := processesIn(map[uint64]bool{inode: true})
	if err != nil {
		return err
	}
	for _, pid := range pids {
		if err := unix.Kill(pid, sig); err != nil && !errors.Is(err, unix.ESRCH) {
			return fmt.Errorf("signalling process %d: %w", pid, err)
		}
	}
	return nil
}
