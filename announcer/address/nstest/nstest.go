// Package nstest runs a package's tests in a network namespace of their own, so that they can change addresses and
// rules of a real kernel without touching the machine's. It is imported by tests only.
package nstest

import (
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"os/exec"
	"os/signal"
	"runtime"
	"syscall"
	"testing"
	"time"

	"github.com/vishvananda/netlink"
	"github.com/vishvananda/netns"
	"golang.org/x/sys/unix"
)

// insideEnv marks the process that runs within the namespace.
const insideEnv = "EVENKEEL_NSTEST_INSIDE"

// Main is a TestMain that runs the test binary again in a fresh network namespace, with /sys mounted to match. Where
// that isn't allowed, the tests that call Require are skipped and say so.
func Main(m *testing.M) {
	if os.Getenv(insideEnv) != "" {
		if err := prepare(); err != nil {
			fmt.Fprintln(os.Stderr, "preparing the network namespace:", err)
			os.Exit(1)
		}
		os.Exit(m.Run())
	}
	code, err := again()
	if err != nil {
		fmt.Fprintln(os.Stderr, "no network namespace, tests that need one are skipped:", err)
		os.Exit(m.Run())
	}
	os.Exit(code)
}

// again runs this binary in new namespaces and returns its exit code.
func again() (int, error) {
	cmd := exec.Command(os.Args[0], os.Args[1:]...)
	cmd.Env = append(os.Environ(), insideEnv+"=1")
	cmd.Stdin, cmd.Stdout, cmd.Stderr = os.Stdin, os.Stdout, os.Stderr
	// Nothing may outlive the tests: their addresses live in this namespace, which goes with its last process.
	cmd.SysProcAttr = &syscall.SysProcAttr{
		Cloneflags: unix.CLONE_NEWNET | unix.CLONE_NEWNS,
		Pdeathsig:  unix.SIGKILL,
	}
	if os.Geteuid() != 0 {
		cmd.SysProcAttr.Cloneflags |= unix.CLONE_NEWUSER
		cmd.SysProcAttr.UidMappings = []syscall.SysProcIDMap{{ContainerID: 0, HostID: os.Getuid(), Size: 1}}
		cmd.SysProcAttr.GidMappings = []syscall.SysProcIDMap{{ContainerID: 0, HostID: os.Getgid(), Size: 1}}
	}
	// Pdeathsig is that of the thread which starts the child.
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	if err := cmd.Start(); err != nil {
		return 0, err
	}
	// The child gets the terminal's signals itself, and its exit code is the answer.
	signal.Ignore(os.Interrupt)
	err := cmd.Wait()
	var exit *exec.ExitError
	if err != nil && !errors.As(err, &exit) {
		return 0, err
	}
	return cmd.ProcessState.ExitCode(), nil
}

func prepare() error {
	if err := unix.Mount("", "/", "", unix.MS_REC|unix.MS_PRIVATE, ""); err != nil {
		return fmt.Errorf("making mounts private: %w", err)
	}
	// A sysfs shows the interfaces of the namespace that mounted it. Where this is refused (nested user namespaces)
	// only the speed of links is missing.
	_ = unix.Mount("sysfs", "/sys", "sysfs", 0, "")
	lo, err := netlink.LinkByName("lo")
	if err != nil {
		return err
	}
	return netlink.LinkSetUp(lo)
}

// Require skips the test unless it runs in a namespace of its own.
func Require(t testing.TB) {
	t.Helper()
	if os.Getenv(insideEnv) == "" {
		t.Skip("needs root, or a user namespace that may create network namespaces")
	}
}

// Pair is a veth pair between the tests' namespace and a peer's.
type Pair struct {
	// Link is the end in the tests' namespace.
	Link netlink.Link
	// Peer is the other end's name within PeerNS.
	Peer   string
	PeerNS netns.NsHandle
	// PeerHandle talks to the peer's namespace.
	PeerHandle *netlink.Handle
}

// NewPair creates a veth pair whose end here is called name. It is gone after the test.
func NewPair(t testing.TB, name string) *Pair {
	t.Helper()
	Require(t)
	p := &Pair{Peer: name + "p"}
	p.PeerNS = newNS(t)
	var err error
	p.PeerHandle, err = netlink.NewHandleAt(p.PeerNS)
	check(t, err)
	t.Cleanup(p.PeerHandle.Close)
	veth := &netlink.Veth{LinkAttrs: netlink.NewLinkAttrs(), PeerName: p.Peer}
	veth.Name = name
	veth.PeerNamespace = netlink.NsFd(p.PeerNS)
	check(t, netlink.LinkAdd(veth))
	t.Cleanup(func() {
		if l, err := netlink.LinkByIndex(veth.Index); err == nil {
			_ = netlink.LinkDel(l)
		}
	})
	p.Link, err = netlink.LinkByName(name)
	check(t, err)
	check(t, netlink.LinkSetUp(p.Link))
	peer, err := p.PeerHandle.LinkByName(p.Peer)
	check(t, err)
	check(t, p.PeerHandle.LinkSetUp(peer))
	lo, err := p.PeerHandle.LinkByName("lo")
	check(t, err)
	check(t, p.PeerHandle.LinkSetUp(lo))
	p.waitForCarrier(t)
	return p
}

func (p *Pair) waitForCarrier(t testing.TB) {
	t.Helper()
	Eventually(t, "carrier on "+p.Link.Attrs().Name, func() bool {
		l, err := netlink.LinkByIndex(p.Link.Attrs().Index)
		return err == nil && l.Attrs().OperState == netlink.OperUp
	})
}

// Index is the interface index of the end in the tests' namespace.
func (p *Pair) Index() int { return p.Link.Attrs().Index }

// AddAddr adds a permanent address such as "192.0.2.1/24" to the end in the tests' namespace, without duplicate
// address detection.
func (p *Pair) AddAddr(t testing.TB, cidr string) {
	t.Helper()
	check(t, netlink.AddrAdd(p.Link, address(cidr)))
}

// DelAddr removes an address of the end in the tests' namespace.
func (p *Pair) DelAddr(t testing.TB, cidr string) {
	t.Helper()
	check(t, netlink.AddrDel(p.Link, address(cidr)))
}

// AddPeerAddr adds a permanent address to the peer's end.
func (p *Pair) AddPeerAddr(t testing.TB, cidr string) {
	t.Helper()
	l, err := p.PeerHandle.LinkByName(p.Peer)
	check(t, err)
	check(t, p.PeerHandle.AddrAdd(l, address(cidr)))
}

// InPeer runs f on a thread within the peer's namespace. What f opens stays there.
func (p *Pair) InPeer(t testing.TB, f func()) {
	t.Helper()
	within(t, p.PeerNS, f)
}

func within(t testing.TB, ns netns.NsHandle, f func()) {
	t.Helper()
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	here, err := netns.Get()
	check(t, err)
	defer func() { _ = here.Close() }()
	check(t, netns.Set(ns))
	defer func() {
		if err := netns.Set(here); err != nil {
			panic(err) // the thread is in the wrong namespace and would be used on
		}
	}()
	f()
}

// newNS creates a namespace without staying in it.
func newNS(t testing.TB) netns.NsHandle {
	t.Helper()
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	here, err := netns.Get()
	check(t, err)
	defer func() { _ = here.Close() }()
	ns, err := netns.New()
	check(t, err)
	t.Cleanup(func() { _ = ns.Close() })
	check(t, netns.Set(here))
	return ns
}

func address(cidr string) *netlink.Addr {
	p := netip.MustParsePrefix(cidr)
	a := &netlink.Addr{IPNet: &net.IPNet{
		IP:   p.Addr().AsSlice(),
		Mask: net.CIDRMask(p.Bits(), p.Addr().BitLen()),
	}}
	if p.Addr().Is6() {
		a.Flags = unix.IFA_F_NODAD
	}
	return a
}

// patience bounds every wait; it only matters for a test that fails.
const patience = 30 * time.Second

// Eventually polls until f is true and fails the test if that takes far too long.
func Eventually(t testing.TB, what string, f func() bool) {
	t.Helper()
	deadline := time.Now().Add(patience)
	for !f() {
		if time.Now().After(deadline) {
			t.Fatalf("still waiting for: %s", what)
		}
		time.Sleep(2 * time.Millisecond)
	}
}

func check(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}
