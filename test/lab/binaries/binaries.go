// Package binaries builds the control plane that the lab runs, from the Go
// modules that the main module requires, into a cache folder.
package binaries

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"time"

	"golang.org/x/sys/unix"
)

// Binary is one program of the control plane.
type Binary struct {
	// Name is the file's name in the cache folder.
	Name string
	// Package is the import path of its main package.
	Package string
}

// Default is what every lab needs.
var Default = []Binary{
	{Name: "etcd", Package: "go.etcd.io/etcd/server/v3"},
	{Name: "kube-apiserver", Package: "k8s.io/kubernetes/cmd/kube-apiserver"},
	{Name: "kube-controller-manager", Package: "k8s.io/kubernetes/cmd/kube-controller-manager"},
	{Name: "kube-proxy", Package: "k8s.io/kubernetes/cmd/kube-proxy"},
	{Name: "kubectl", Package: "k8s.io/kubernetes/cmd/kubectl"},
	{Name: "kwok", Package: "sigs.k8s.io/kwok/cmd/kwok"},
}

// Scheduler is the upstream scheduler, for labs that compare with it.
var Scheduler = Binary{Name: "kube-scheduler", Package: "k8s.io/kubernetes/cmd/kube-scheduler"}

// Options of Ensure.
type Options struct {
	// Dir is a folder inside the main module; the working directory by default.
	Dir string
	// Cache is the folder that holds a folder per set of versions. The default is
	// $EVENKEEL_CACHE, else evenkeel in the user's cache folder.
	Cache string
	// Binaries to have; Default by default.
	Binaries []Binary
	// Progress gets a line at each start and end of a build; none by default.
	Progress io.Writer
}

// DirEnv names a folder with ready binaries; nothing is built then.
const DirEnv = "EVENKEEL_LAB_BIN"

// Ensure returns the folder that holds the binaries, after building those that
// are missing there. A lock in the cache makes builders take turns; a binary
// appears under its name only when complete.
//
// Building needs the Go tool and, on a machine that lacks the modules, the
// network: call it before entering a lab's namespaces. A cold build of all takes
// about ten minutes on two cores.
func Ensure(ctx context.Context, o Options) (string, error) {
	if o.Binaries == nil {
		o.Binaries = Default
	}
	if o.Progress == nil {
		o.Progress = io.Discard
	}
	if dir := os.Getenv(DirEnv); dir != "" {
		if missing := absent(dir, o.Binaries); len(missing) > 0 {
			return "", fmt.Errorf("%s=%s lacks %s", DirEnv, dir, names(missing))
		}
		return dir, nil
	}
	versions, err := readVersions(o.Dir)
	if err != nil {
		return "", err
	}
	if o.Cache == "" {
		if o.Cache, err = defaultCache(); err != nil {
			return "", err
		}
	}
	dir := filepath.Join(o.Cache, versions.key())
	if len(absent(dir, o.Binaries)) == 0 {
		return dir, nil
	}
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return "", fmt.Errorf("making the cache folder: %w", err)
	}
	unlock, err := lock(ctx, filepath.Join(dir, ".lock"), o.Progress)
	if err != nil {
		return "", err
	}
	defer unlock()
	missing := absent(dir, o.Binaries)
	for i, b := range missing {
		if err := build(ctx, o, versions, dir, b, fmt.Sprintf("%d/%d", i+1, len(missing))); err != nil {
			return "", err
		}
	}
	return dir, nil
}

func defaultCache() (string, error) {
	if dir := os.Getenv("EVENKEEL_CACHE"); dir != "" {
		return dir, nil
	}
	dir, err := os.UserCacheDir()
	if err != nil {
		return "", fmt.Errorf("finding a cache folder (set EVENKEEL_CACHE): %w", err)
	}
	return filepath.Join(dir, "evenkeel"), nil
}

func absent(dir string, all []Binary) []Binary {
	var out []Binary
	for _, b := range all {
		if info, err := os.Stat(filepath.Join(dir, b.Name)); err != nil || !info.Mode().IsRegular() {
			out = append(out, b)
		}
	}
	return out
}

func names(all []Binary) string {
	out := make([]string, 0, len(all))
	for _, b := range all {
		out = append(out, b.Name)
	}
	return strings.Join(out, ", ")
}

// build compiles one binary and renames it into place.
func build(ctx context.Context, o Options, v versions, dir string, b Binary, count string) error {
	begin := time.Now()
	fmt.Fprintf(o.Progress, "building %s (%s; kept in %s)\n", b.Name, count, dir)
	temp, err := os.MkdirTemp(dir, ".build-")
	if err != nil {
		return fmt.Errorf("building %s: %w", b.Name, err)
	}
	defer os.RemoveAll(temp)
	out := filepath.Join(temp, b.Name)
	cmd := exec.CommandContext(ctx, "go", "build", "-ldflags", v.ldflags(), "-o", out, b.Package)
	cmd.Dir = o.Dir
	// Static, so that the binaries run in any mount namespace; GOFLAGS of the
	// caller (-race, -cover) aren't meant for Kubernetes.
	cmd.Env = append(os.Environ(), "CGO_ENABLED=0", "GOFLAGS=-buildvcs=false")
	cmd.Cancel = func() error { return cmd.Process.Signal(unix.SIGTERM) }
	cmd.WaitDelay = 5 * time.Second

	ticker := time.NewTicker(30 * time.Second)
	defer ticker.Stop()
	done := make(chan error, 1)
	var output []byte
	go func() {
		var err error
		output, err = cmd.CombinedOutput()
		done <- err
	}()
	for {
		select {
		case <-ticker.C:
			fmt.Fprintf(o.Progress, "building %s: %s so far\n", b.Name, time.Since(begin).Round(time.Second))
		case err := <-done:
			if errors.Is(err, exec.ErrNotFound) {
				return fmt.Errorf("building %s: the Go tool is not in PATH", b.Name)
			}
			if err != nil {
				return fmt.Errorf("building %s: %w\n%s", b.Name, err, output)
			}
			if err := os.Rename(out, filepath.Join(dir, b.Name)); err != nil {
				return fmt.Errorf("building %s: %w", b.Name, err)
			}
			fmt.Fprintf(o.Progress, "built %s in %s\n", b.Name, time.Since(begin).Round(100*time.Millisecond))
			return nil
		}
	}
}

// lock takes the file lock at path. The kernel drops it with the process.
func lock(ctx context.Context, path string, progress io.Writer) (func(), error) {
	f, err := os.OpenFile(path, os.O_CREATE|os.O_RDWR, 0o644)
	if err != nil {
		return nil, fmt.Errorf("locking the cache: %w", err)
	}
	for told := false; ; {
		err := unix.Flock(int(f.Fd()), unix.LOCK_EX|unix.LOCK_NB)
		if err == nil {
			return func() { f.Close() }, nil
		}
		if !errors.Is(err, unix.EWOULDBLOCK) && !errors.Is(err, unix.EINTR) {
			f.Close()
			return nil, fmt.Errorf("locking the cache: %w", err)
		}
		if !told {
			fmt.Fprintln(progress, "another process is building the control plane; waiting for it")
			told = true
		}
		select {
		case <-ctx.Done():
			f.Close()
			return nil, fmt.Errorf("waiting for another build: %w", ctx.Err())
		case <-time.After(200 * time.Millisecond):
		}
	}
}

func platform() string { return runtime.GOOS + "-" + runtime.GOARCH }
