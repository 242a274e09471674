package traffic

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strconv"

	"github.com/vishvananda/netlink"

	"evenkeel.io/evenkeel/announcer/nic"
)

// Link is what a NIC has carried since it came up, and its speed in Mbit/s; 0: unknown.
type Link struct {
	Name           string
	Received, Sent uint64
	SpeedMbps      int64
}

// CPU is how long all processors together were busy, and how long there was, in ticks.
type CPU struct {
	Busy, Total uint64
}

// cpuFields are the columns of /proc/stat up to steal (proc_stat(5)): user, nice, system, idle, iowait, irq, softirq, steal. Those behind
// them, of guests, are in user and nice already.
const (
	cpuFields = 8
	cpuIdle   = 3
	cpuIOWait = 4
)

// ParseCPU reads the first line of /proc/stat.
func ParseCPU(stat []byte) (CPU, error) {
	line, _, _ := bytes.Cut(stat, []byte("\n"))
	fields := bytes.Fields(line)
	if len(fields) < 1+cpuFields || string(fields[0]) != "cpu" {
		return CPU{}, fmt.Errorf("reading /proc/stat: its first line is %q, want \"cpu\" and %d numbers or more", line, cpuFields)
	}
	var cpu CPU
	for i, field := range fields[1 : 1+cpuFields] {
		ticks, err := strconv.ParseUint(string(field), 10, 64)
		if err != nil {
			return CPU{}, fmt.Errorf("reading /proc/stat: %w", err)
		}
		cpu.Total += ticks
		if i != cpuIdle && i != cpuIOWait {
			cpu.Busy += ticks
		}
	}
	return cpu, nil
}

// ReadCPU reads how busy the processors were; root is "/" outside tests.
func ReadCPU(root string) (CPU, error) {
	stat, err := os.ReadFile(filepath.Join(root, "proc/stat"))
	if err != nil {
		return CPU{}, fmt.Errorf("reading how busy the processors are: %w", err)
	}
	return ParseCPU(stat)
}

// ReadLinks reads what NICs have carried. One that is gone is left out, and so is one that can't be read; the error says why.
func ReadLinks(nics []nic.NIC) ([]Link, error) {
	var links []Link
	var errs []error
	for _, n := range nics {
		found, err := netlink.LinkByIndex(n.Index)
		if errors.As(err, &netlink.LinkNotFoundError{}) {
			continue
		}
		if err != nil {
			errs = append(errs, fmt.Errorf("reading what %s carries: %w", n.Name, err))
			continue
		}
		if stats := found.Attrs().Statistics; stats != nil {
			links = append(links, Link{Name: n.Name, Received: stats.RxBytes, Sent: stats.TxBytes, SpeedMbps: n.SpeedMbps})
		}
	}
	return links, errors.Join(errs...)
}
