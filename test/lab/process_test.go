package lab

import (
	"errors"
	"os"
	"os/exec"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

func TestAPriorityIsTheProgramsAloneNotOurs(t *testing.T) {
	const nice = 7
	before, err := unix.Getpriority(unix.PRIO_PROCESS, os.Getpid())
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command("sleep", "60")
	if err := onOwnThread(func() error { return startNice(cmd, nice) }); err != nil {
		t.Fatal(err)
	}
	defer func() { _, _ = cmd.Process.Kill(), cmd.Wait() }()
	// The system call returns 20 - nice (getpriority(2)).
	if got, err := unix.Getpriority(unix.PRIO_PROCESS, cmd.Process.Pid); err != nil || got != 20-nice {
		t.Errorf("the program's priority is %d (%v), want %d", got, err, 20-nice)
	}
	if got, err := unix.Getpriority(unix.PRIO_PROCESS, os.Getpid()); err != nil || got != before {
		t.Errorf("our own priority is %d (%v), was %d", got, err, before)
	}
}

func TestAProgramThatEndsOfItselfIsStartedAgainHoweverOftenThatFails(t *testing.T) {
	ns, err := newNetns("revived")
	if err != nil {
		t.Fatal(err)
	}
	p := newProcess(t.TempDir(), "revived", ns, 0, []string{"false"})
	tries := make(chan struct{}, 3)
	p.revive = func() error {
		tries <- struct{}{}
		if len(tries) < 3 {
			return errors.New("there is no API server yet")
		}
		return nil
	}
	t.Cleanup(p.abandon)
	if err := p.Start(); err != nil {
		t.Fatal(err)
	}
	for end := time.Now().Add(time.Minute); len(tries) < 3; time.Sleep(10 * time.Millisecond) {
		if time.Now().After(end) {
			t.Fatalf("it was tried %d times, want 3", len(tries))
		}
	}
}
