package scenario

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"os"
	"strconv"
	"time"
)

// userHZ is the unit of /proc/stat (proc_stat(5)), the same on all of the kernel's configurations.
const userHZ = 100

// cpuTime is what all cores of the machine have spent on programs, system calls and interrupts since it started.
func cpuTime() (time.Duration, error) {
	stat, err := os.Open("/proc/stat")
	if err != nil {
		return 0, fmt.Errorf("reading CPU time: %w", err)
	}
	defer func() { _ = stat.Close() }()
	return cpuTimeOf(stat)
}

// cpuTimeOf reads the first line of /proc/stat: user, nice, system, idle, iowait, irq, softirq; of what follows, guests are part of
// user, and stolen time is somebody else's.
func cpuTimeOf(stat io.Reader) (time.Duration, error) {
	content, err := io.ReadAll(stat)
	if err != nil {
		return 0, fmt.Errorf("reading CPU time: %w", err)
	}
	line, _, _ := bytes.Cut(content, []byte("\n"))
	fields := bytes.Fields(line)
	if len(fields) < 8 || string(fields[0]) != "cpu" {
		return 0, errors.New("reading CPU time: /proc/stat doesn't begin with the sum of all cores")
	}
	total := int64(0)
	for _, i := range []int{1, 2, 3, 6, 7} {
		ticks, err := strconv.ParseInt(string(fields[i]), 10, 64)
		if err != nil {
			return 0, fmt.Errorf("reading CPU time: %w", err)
		}
		total += ticks
	}
	return time.Duration(total) * time.Second / userHZ, nil
}
