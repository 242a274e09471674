package state

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"sync"
)

const (
	// DefaultDir is on a tmpfs on every distribution with systemd.
	DefaultDir = "/run/evenkeel"
	fileName   = "state.json"
	// maxSize bounds what is read: 1000 VIPs take about half a megabyte.
	maxSize = 64 << 20
)

// File is the state file. Its methods may be called concurrently.
type File struct {
	path   string
	bootID string

	mu sync.Mutex
}

// Open makes sure of the directory and reads the boot ID; the file need not be there.
func Open(dir string) (*File, error) {
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return nil, fmt.Errorf("opening the state directory: %w", err)
	}
	bootID, err := BootID()
	if err != nil {
		return nil, err
	}
	return &File{path: filepath.Join(dir, fileName), bootID: bootID}, nil
}

// Load reads the state. Without a file it is empty; a file that can't be used is an error that wraps ErrIgnored, and
// the state is empty.
func (f *File) Load() (State, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	info, err := os.Stat(f.path)
	if errors.Is(err, fs.ErrNotExist) {
		return State{}, nil
	}
	if err != nil {
		return State{}, fmt.Errorf("%w: %w", ErrIgnored, err)
	}
	if !info.Mode().IsRegular() || info.Size() > maxSize {
		return State{}, fmt.Errorf("%w: it is no regular file of a plausible size", ErrIgnored)
	}
	content, err := os.ReadFile(f.path)
	if err != nil {
		return State{}, fmt.Errorf("%w: %w", ErrIgnored, err)
	}
	return Decode(content, f.bootID)
}

// Save replaces the file in one step: a reader, and a process after a crash, finds the old content or the new one.
// Version and boot ID are filled in.
func (f *File) Save(s State) error {
	s.BootID = f.bootID
	content, err := Encode(s)
	if err != nil {
		return err
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	// No fsync: the file must survive the process, not the machine, and a tmpfs has nothing to sync.
	tmp := f.path + ".new"
	if err := os.WriteFile(tmp, content, 0o600); err != nil {
		return fmt.Errorf("saving state: %w", errors.Join(err, os.Remove(tmp)))
	}
	if err := os.Rename(tmp, f.path); err != nil {
		return fmt.Errorf("saving state: %w", errors.Join(err, os.Remove(tmp)))
	}
	return nil
}
