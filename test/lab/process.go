package lab

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// Process is a program that the lab runs and may start again after its end. Its
// methods may be called from several goroutines.
type Process struct {
	name string
	ns   *Netns
	args []string
	env  []string
	log  string
	// nice is its priority, as nice(1) counts.
	nice int

	// revive starts the process again when it has ended of itself, if it isn't nil. It is tried until it succeeds.
	revive func() error

	mu      sync.Mutex
	running *run
	// ending: somebody asked the process to end, so that it isn't started again.
	ending bool
	again  *time.Timer
}

// restartAfter is the kubelet's first pause before it starts a container again, shortened as the lab has no images to pull.
const restartAfter = time.Second

// run is one life of a Process.
type run struct {
	cmd *exec.Cmd
	// done is closed when the process has ended and was reaped.
	done chan struct{}
	err  error
}

// ErrNotRunning is returned for signals to a process that doesn't run.
var ErrNotRunning = errors.New("not running")

// newProcess describes a process that runs args in ns with its output going to
// NAME.log in dir.
func newProcess(dir, name string, ns *Netns, nice int, args []string, env ...string) *Process {
	return &Process{name: name, ns: ns, nice: nice, args: args, env: env, log: filepath.Join(dir, name+".log")}
}

// Name of the process, like "kube-apiserver" or "announcer/node-1".
func (p *Process) Name() string { return p.name }

// Start starts the process; its log is appended to.
func (p *Process) Start() error {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.running != nil && !p.running.ended() {
		return fmt.Errorf("starting %s: it runs already", p.name)
	}
	if err := os.MkdirAll(filepath.Dir(p.log), 0o755); err != nil {
		return fmt.Errorf("starting %s: %w", p.name, err)
	}
	log, err := os.OpenFile(p.log, os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o644)
	if err != nil {
		return fmt.Errorf("starting %s: %w", p.name, err)
	}
	defer log.Close()
	cmd := exec.Command(p.args[0], p.args[1:]...)
	cmd.Stdout, cmd.Stderr = log, log
	cmd.Env = append([]string{"PATH=" + os.Getenv("PATH"), "HOME=" + runDir}, p.env...)
	cmd.Dir = runDir
	// A group of its own: Ctrl-C is the test's, which then ends the lab in order.
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	// The child inherits the namespace of the thread that forks it.
	if err := p.ns.Do(func() error { return startNice(cmd, p.nice) }); err != nil {
		return fmt.Errorf("starting %s: %w", p.name, err)
	}
	r := &run{cmd: cmd, done: make(chan struct{})}
	p.running, p.ending = r, false
	go func() {
		r.err = cmd.Wait()
		close(r.done)
		p.ended(r)
	}()
	return nil
}

// startNice starts a command that inherits a priority from the calling thread, which ends with that.
func startNice(cmd *exec.Cmd, nice int) error {
	if nice != 0 {
		if err := unix.Setpriority(unix.PRIO_PROCESS, 0, nice); err != nil {
			return fmt.Errorf("setting a priority: %w", err)
		}
	}
	return cmd.Start()
}

// ended plays the kubelet, or its node's init: what has ended of itself (a lost leader election, an error) is started again.
func (p *Process) ended(r *run) {
	p.mu.Lock()
	defer p.mu.Unlock()
	status, ok := r.cmd.ProcessState.Sys().(syscall.WaitStatus)
	if p.running == r && ok && status.Exited() {
		p.reviveLater()
	}
}

// reviveLater is called with mu held.
func (p *Process) reviveLater() {
	if p.revive == nil || p.ending {
		return
	}
	p.again = time.AfterFunc(restartAfter, func() {
		err := p.revive()
		if err == nil || errors.Is(err, ErrPoweredOff) || p.Running() {
			return
		}
		fmt.Fprintf(os.Stderr, "lab: %v\n", err)
		p.mu.Lock()
		defer p.mu.Unlock()
		p.reviveLater()
	})
}

// abandon ends the restarts.
func (p *Process) abandon() {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.ending = true
	if p.again != nil {
		p.again.Stop()
	}
}

func (r *run) ended() bool {
	select {
	case <-r.done:
		return true
	default:
		return false
	}
}

func (p *Process) current() *run {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.running
}

// Running tells whether the process has been started and hasn't ended.
func (p *Process) Running() bool {
	r := p.current()
	return r != nil && !r.ended()
}

// PID of the running process, 0 if it doesn't run.
func (p *Process) PID() int {
	r := p.current()
	if r == nil || r.ended() {
		return 0
	}
	return r.cmd.Process.Pid
}

// Signal sends a signal: SIGSTOP and SIGCONT to pause, SIGTERM to stop in order,
// SIGKILL for a crash. It doesn't wait.
func (p *Process) Signal(sig syscall.Signal) error {
	r := p.current()
	if r == nil || r.ended() {
		return fmt.Errorf("signalling %s: %w", p.name, ErrNotRunning)
	}
	if sig == unix.SIGTERM || sig == unix.SIGKILL || sig == unix.SIGINT {
		p.abandon()
	}
	if err := r.cmd.Process.Signal(sig); err != nil {
		if errors.Is(err, os.ErrProcessDone) {
			err = ErrNotRunning
		}
		return fmt.Errorf("signalling %s: %w", p.name, err)
	}
	return nil
}

// Kill ends the process as a crash would, and returns when it is gone.
func (p *Process) Kill() error {
	if err := p.Signal(unix.SIGKILL); err != nil {
		return err
	}
	<-p.current().done
	return nil
}

// Stop ends the process with SIGTERM and waits for it; with SIGKILL once ctx ends.
func (p *Process) Stop(ctx context.Context) error {
	if err := p.Signal(unix.SIGTERM); err != nil {
		return err
	}
	r := p.current()
	select {
	case <-r.done:
		return nil
	case <-ctx.Done():
		_ = r.cmd.Process.Signal(unix.SIGKILL)
		<-r.done
		return fmt.Errorf("stopping %s: it had to be killed: %w", p.name, ctx.Err())
	}
}

// Wait returns when the process has ended, with its error, or when ctx ends.
func (p *Process) Wait(ctx context.Context) error {
	r := p.current()
	if r == nil {
		return fmt.Errorf("waiting for %s: %w", p.name, ErrNotRunning)
	}
	select {
	case <-r.done:
		return r.err
	case <-ctx.Done():
		return ctx.Err()
	}
}

// LogFile is the path of the process' output.
func (p *Process) LogFile() string { return p.log }

// Log returns what the process has written so far.
func (p *Process) Log() (string, error) {
	data, err := os.ReadFile(p.log)
	if err != nil {
		return "", fmt.Errorf("reading the log of %s: %w", p.name, err)
	}
	return string(data), nil
}

// tailSize bounds what of a log goes into an error.
const tailSize = 4096

// Tail returns the last lines of the log.
func (p *Process) Tail() string {
	f, err := os.Open(p.log)
	if err != nil {
		return ""
	}
	defer f.Close()
	if info, err := f.Stat(); err == nil && info.Size() > tailSize {
		if _, err := f.Seek(-tailSize, io.SeekEnd); err != nil {
			return ""
		}
	}
	data, err := io.ReadAll(f)
	if err != nil {
		return ""
	}
	if i := bytes.IndexByte(data, '\n'); len(data) == tailSize && i >= 0 {
		data = data[i+1:]
	}
	return strings.TrimSpace(string(data))
}

// failure is an error about the process that carries the end of its log.
func (p *Process) failure(err error) error {
	return fmt.Errorf("%s: %w\n--- end of %s\n%s", p.name, err, p.log, p.Tail())
}

// until calls ready every few milliseconds until it returns nil. It gives up
// when ctx ends or the process does.
func (p *Process) until(ctx context.Context, ready func(ctx context.Context) error) error {
	r := p.current()
	if r == nil {
		return fmt.Errorf("waiting for %s: %w", p.name, ErrNotRunning)
	}
	for {
		err := ready(ctx)
		if err == nil {
			return nil
		}
		select {
		case <-r.done:
			return p.failure(fmt.Errorf("it ended before it was ready: %w", cmpErr(r.err, errors.New("exit code 0"))))
		case <-ctx.Done():
			return p.failure(fmt.Errorf("it didn't become ready: %w (last: %w)", ctx.Err(), err))
		case <-time.After(20 * time.Millisecond):
		}
	}
}

func cmpErr(err, or error) error {
	if err != nil {
		return err
	}
	return or
}
