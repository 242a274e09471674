package lab

import (
	"os"
	"os/exec"
	"testing"

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
