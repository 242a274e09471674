package address

import (
	"bufio"
	"context"
	"fmt"
	"net/netip"
	"os"
	"os/exec"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"evenkeel.io/evenkeel/announcer/address/nstest"
)

// holderEnv makes the test binary a process that binds and holds addresses: "ifindex addr…".
const holderEnv = "EVENKEEL_TEST_HOLDER"

func TestMain(m *testing.M) {
	if spec := os.Getenv(holderEnv); spec != "" {
		if err := hold(spec); err != nil {
			fmt.Println("error", err)
			os.Exit(1)
		}
		return
	}
	nstest.Main(m)
}

// hold binds, says so, and renews until it is killed. It reports losses on standard output.
func hold(spec string) error {
	fields := strings.Fields(spec)
	index, err := strconv.Atoi(fields[0])
	if err != nil {
		return err
	}
	b, err := New(Options{Notify: func(e Event) { fmt.Println(e.Kind, e.Addr, e.Reason) }, BeforeRenewal: StallHook()})
	if err != nil {
		return err
	}
	for _, f := range fields[1:] {
		addr, err := netip.ParseAddr(f)
		if err != nil {
			return err
		}
		if err := b.Bind(context.Background(), Binding{Addr: addr, Interface: index, RequireOwn: true}); err != nil {
			return err
		}
	}
	fmt.Println("bound")
	return b.Run(context.Background())
}

// holder is such a process.
type holder struct {
	cmd *exec.Cmd

	mu    sync.Mutex
	lines []string
}

func startHolder(t *testing.T, index int, env string, addrs ...netip.Addr) *holder {
	t.Helper()
	nstest.Require(t)
	spec := strconv.Itoa(index)
	for _, a := range addrs {
		spec += " " + a.String()
	}
	h := &holder{cmd: exec.Command(os.Args[0])}
	h.cmd.Env = append(os.Environ(), holderEnv+"="+spec, env)
	h.cmd.SysProcAttr = &unix.SysProcAttr{Pdeathsig: unix.SIGKILL}
	out, err := h.cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := h.cmd.Start(); err != nil {
		t.Fatal(err)
	}
	read := make(chan struct{})
	go func() {
		defer close(read)
		for sc := bufio.NewScanner(out); sc.Scan(); {
			h.mu.Lock()
			h.lines = append(h.lines, sc.Text())
			h.mu.Unlock()
		}
	}()
	t.Cleanup(func() {
		_ = h.cmd.Process.Kill()
		<-read
		_ = h.cmd.Wait()
	})
	nstest.Eventually(t, "the holder to bind", func() bool { return h.says("bound") })
	return h
}

func (h *holder) says(line string) bool {
	h.mu.Lock()
	defer h.mu.Unlock()
	for _, l := range h.lines {
		if strings.HasPrefix(l, line) {
			return true
		}
	}
	return false
}

func TestAKilledProcessLeavesNoAddress(t *testing.T) {
	t.Parallel()
	p := nstest.NewPair(t, "kill0")
	p.AddAddr(t, "198.18.2.1/24")
	p.AddAddr(t, "2001:db8:4::1/64")
	addrs := []netip.Addr{netip.MustParseAddr("198.18.2.10"), netip.MustParseAddr("2001:db8:4::10")}
	h := startHolder(t, p.Index(), "", addrs...)
	if err := h.cmd.Process.Kill(); err != nil {
		t.Fatal(err)
	}
	killed := time.Now()
	for _, addr := range addrs {
		if !onLink(t, p.Index(), addr) {
			t.Errorf("%s went with the process, and traffic with it", addr)
		}
	}
	// A next process that is there in time goes on without a break, for one of the two.
	b, err := New(Options{})
	if err != nil {
		t.Fatal(err)
	}
	ad, err := b.Adopt(t.Context(), []Binding{{Addr: addrs[0], Interface: p.Index(), RequireOwn: true}})
	if err != nil {
		t.Fatal(err)
	}
	run(t, b)
	if len(ad.Adopted) != 1 {
		t.Errorf("adopted %v, missing %v, %s after the kill", ad.Adopted, ad.Missing, time.Since(killed))
	}
	nstest.Eventually(t, "expiry of the other", func() bool { return !onLink(t, p.Index(), addrs[1]) })
	t.Logf("%s gone %s after the kill", addrs[1], time.Since(killed).Round(10*time.Millisecond))
	if !onLink(t, p.Index(), addrs[0]) && b.Held(addrs[0]) {
		t.Error("the adopted address is gone and said to be held")
	}
}

func TestAStoppedProcessThatGoesOnTakesNothingBack(t *testing.T) {
	t.Parallel()
	for octet, tt := range map[byte]struct {
		name  string
		stall func(t *testing.T, h *holder, file string) (wake func())
	}{
		3: {"stopped by a signal", func(t *testing.T, h *holder, _ string) func() {
			if err := h.cmd.Process.Signal(unix.SIGSTOP); err != nil {
				t.Fatal(err)
			}
			return func() {
				if err := h.cmd.Process.Signal(unix.SIGCONT); err != nil {
					t.Fatal(err)
				}
			}
		}},
		4: {"stalled between check and renewal", func(t *testing.T, _ *holder, file string) func() {
			if err := os.WriteFile(file, []byte("9s\n"), 0o600); err != nil {
				t.Fatal(err)
			}
			return func() {}
		}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			p := nstest.NewPair(t, fmt.Sprintf("stop%d", octet))
			p.AddAddr(t, fmt.Sprintf("198.18.%d.1/24", octet))
			p.AddAddr(t, fmt.Sprintf("2001:db8:%d::1/64", octet+10))
			addrs := []netip.Addr{
				netip.AddrFrom4([4]byte{198, 18, octet, 10}),
				netip.MustParseAddr(fmt.Sprintf("2001:db8:%d::10", octet+10)),
			}
			file := t.TempDir() + "/stall"
			h := startHolder(t, p.Index(), StallFileEnv+"="+file, addrs...)
			wake := tt.stall(t, h, file)
			for _, addr := range addrs {
				nstest.Eventually(t, "expiry of "+addr.String(), func() bool { return !onLink(t, p.Index(), addr) })
			}
			wake()
			for _, addr := range addrs {
				nstest.Eventually(t, "report of the loss", func() bool { return h.says("Lost " + addr.String()) })
			}
			for _, addr := range addrs {
				if onLink(t, p.Index(), addr) {
					t.Errorf("%s is back", addr)
				}
			}
		})
	}
}
