package lab

import (
	"container/heap"
	"errors"
	"fmt"
	"math/rand/v2"
	"runtime"
	"time"

	"golang.org/x/sys/unix"
)

// wireRelay carries frames between two TAP devices: from inside to outside as they come, from outside to inside with an impairment.
// One goroutine, on a thread of its own, does all of it.
type wireRelay struct {
	inside, outside int
	impairment      Impairment
	random          *rand.Rand
	waiting         delayed
	sequence        uint64
	wake            int
	done            chan struct{}
	err             error
}

// newRelay makes the two devices.
func newRelay(inside, outside string, i Impairment) (*wireRelay, error) {
	r := &wireRelay{inside: -1, outside: -1, wake: -1, impairment: i, random: rand.New(rand.NewPCG(i.Seed, 2)), done: make(chan struct{})}
	var err error
	if r.inside, err = openTap(inside); err == nil {
		if r.outside, err = openTap(outside); err == nil {
			r.wake, err = unix.Eventfd(0, unix.EFD_CLOEXEC|unix.EFD_NONBLOCK)
		}
	}
	if err != nil {
		return nil, errors.Join(err, r.close())
	}
	return r, nil
}

// openTap makes a TAP device in the process' own namespace; it goes with the descriptor.
func openTap(name string) (int, error) {
	fd, err := unix.Open("/dev/net/tun", unix.O_RDWR|unix.O_CLOEXEC|unix.O_NONBLOCK, 0)
	if err != nil {
		return -1, fmt.Errorf("opening /dev/net/tun: %w", err)
	}
	request, err := unix.NewIfreq(name)
	if err == nil {
		// Without a vnet header the kernel completes checksums and segments what is too large before it hands a frame over.
		request.SetUint16(unix.IFF_TAP | unix.IFF_NO_PI)
		err = unix.IoctlIfreq(fd, unix.TUNSETIFF, request)
	}
	if err != nil {
		return -1, errors.Join(fmt.Errorf("making %s: %w", name, err), unix.Close(fd))
	}
	return fd, nil
}

func (r *wireRelay) close() error {
	var errs []error
	for _, fd := range []int{r.inside, r.outside, r.wake} {
		if fd >= 0 {
			errs = append(errs, unix.Close(fd))
		}
	}
	return errors.Join(errs...)
}

func (r *wireRelay) start() {
	go func() {
		defer close(r.done)
		// Never unlocked: the thread's priority is not for others.
		runtime.LockOSThread()
		// A switch doesn't wait for its hosts' work. Where we may not, the delays are those of a busy machine in addition.
		_ = unix.SchedSetAttr(0, &unix.SchedAttr{Size: unix.SizeofSchedAttr, Policy: unix.SCHED_FIFO, Priority: 5}, 0)
		r.err = r.run()
	}()
}

// stop ends the relay, with what it still holds, and its devices.
func (r *wireRelay) stop() error {
	_, err := unix.Write(r.wake, []byte{1, 0, 0, 0, 0, 0, 0, 0})
	if err != nil {
		return fmt.Errorf("stopping a relay: %w", err)
	}
	<-r.done
	return errors.Join(r.err, r.close())
}

// run relays until it is woken.
func (r *wireRelay) run() error {
	buf := make([]byte, frameBufSize)
	for {
		fds := []unix.PollFd{
			{Fd: int32(r.inside), Events: unix.POLLIN}, {Fd: int32(r.outside), Events: unix.POLLIN}, {Fd: int32(r.wake), Events: unix.POLLIN},
		}
		var timeout *unix.Timespec
		if len(r.waiting) > 0 {
			t := unix.NsecToTimespec(max(0, time.Until(r.waiting[0].due)).Nanoseconds())
			timeout = &t
		}
		if _, err := unix.Ppoll(fds, timeout, nil); err != nil && !errors.Is(err, unix.EINTR) {
			return fmt.Errorf("waiting for frames: %w", err)
		}
		if fds[2].Revents != 0 {
			return nil
		}
		if err := r.drain(r.inside, buf, func(frame []byte) error { return put(r.outside, frame) }); err != nil {
			return err
		}
		if err := r.drain(r.outside, buf, r.hold); err != nil {
			return err
		}
		for now := time.Now(); len(r.waiting) > 0 && !r.waiting[0].due.After(now); {
			if err := put(r.inside, heap.Pop(&r.waiting).(held).frame); err != nil {
				return err
			}
		}
	}
}

// drain hands over what a device has to say.
func (r *wireRelay) drain(fd int, buf []byte, pass func([]byte) error) error {
	for {
		n, err := unix.Read(fd, buf)
		switch {
		case errors.Is(err, unix.EAGAIN), errors.Is(err, unix.EIO): // EIO: the device is down
			return nil
		case errors.Is(err, unix.EINTR):
			continue
		case err != nil:
			return fmt.Errorf("reading a frame: %w", err)
		}
		if err := pass(buf[:n]); err != nil {
			return err
		}
	}
}

// hold throws the dice for a frame.
func (r *wireRelay) hold(frame []byte) error {
	if r.random.Float64() < r.impairment.Loss {
		return nil
	}
	late := r.impairment.Delay
	if j := int64(r.impairment.Jitter); j > 0 {
		late += time.Duration(r.random.Int64N(2*j+1) - j)
	}
	if late == 0 {
		return put(r.inside, frame)
	}
	r.sequence++
	heap.Push(&r.waiting, held{due: time.Now().Add(late), sequence: r.sequence, frame: append([]byte(nil), frame...)})
	return nil
}

// put sends a frame; a device that is down or full loses it.
func put(fd int, frame []byte) error {
	_, err := unix.Write(fd, frame)
	if err == nil || errors.Is(err, unix.EAGAIN) || errors.Is(err, unix.EIO) || errors.Is(err, unix.ENOBUFS) || errors.Is(err, unix.EINVAL) {
		return nil
	}
	return fmt.Errorf("writing a frame: %w", err)
}

// held is a frame that is still under way.
type held struct {
	due      time.Time
	sequence uint64
	frame    []byte
}

// delayed is a heap of frames: first due, first out, in order of arrival.
type delayed []held

func (d delayed) Len() int      { return len(d) }
func (d delayed) Swap(i, j int) { d[i], d[j] = d[j], d[i] }
func (d delayed) Less(i, j int) bool {
	if d[i].due.Equal(d[j].due) {
		return d[i].sequence < d[j].sequence
	}
	return d[i].due.Before(d[j].due)
}
func (d *delayed) Push(x any) { *d = append(*d, x.(held)) }
func (d *delayed) Pop() any {
	old := *d
	last := old[len(old)-1]
	*d = old[:len(old)-1]
	return last
}
