// Package state keeps on a tmpfs what an announcer holds and guards, so that its next process can go on without the API server:
// which addresses are bound where, for which placeholder, with which peers and ports. The file is believed only if it
// is of this boot and of this format; anything else is ignored with a reason, never guessed at.
package state

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/netip"
	"os"
	"strings"
	"time"
)

// Version is the format's version. A file of another version is ignored: the addresses then stay bound, as their
// lifetimes allow, until the list from the API says what they are.
const Version = 1

// ErrIgnored says that a state was found and can't be used.
var ErrIgnored = errors.New("ignoring the state file")

// State is the content of the file.
type State struct {
	Version int `json:"version"`
	// BootID is the kernel's random boot ID: addresses don't survive a boot.
	BootID string `json:"bootID"`
	VIPs   []VIP  `json:"vips"`
}

// VIP is one placeholder's VIP as it was held or guarded.
type VIP struct {
	// Name is the VIP object's name.
	Name      string    `json:"name"`
	Addresses []Address `json:"addresses"`
	Pod       Pod       `json:"pod"`
	// Role is the placeholder's role.
	Role string `json:"role,omitempty"`
	// Term is the placeholder's term.
	Term int64 `json:"term,omitempty"`
	// Peers is the peers annotation as it was read.
	Peers string `json:"peers,omitempty"`
	// Interfaces is the interfaces annotation as it was read.
	Interfaces []string `json:"interfaces,omitempty"`
	// Ports may pass to the VIP.
	Ports []Port `json:"ports,omitempty"`
	// Local says that the host itself serves the ports.
	Local bool `json:"local,omitempty"`
	// NoHandoff says that its Service doesn't want connections to be handed on.
	NoHandoff bool `json:"noHandoff,omitempty"`
	// HeldSince is when the node began to announce the VIP.
	HeldSince time.Time `json:"heldSince,omitzero"`
}

// Address is one address that is bound or guarded.
type Address struct {
	Addr netip.Addr `json:"addr"`
	// Interface is the name: an index may belong to another interface after a driver was reloaded.
	Interface string `json:"interface"`
	// RequireOwn is that of address.Binding.
	RequireOwn bool `json:"requireOwn,omitempty"`
	// Guarded: it isn't bound here, the node stands by for it.
	Guarded bool `json:"guarded,omitempty"`
	// Title by which it is bound.
	Title Title `json:"title,omitzero"`
	// Peer is the MAC address of the node that it was taken over from, or, while it is guarded, of the one that has it. PeerTitle
	// is that node's title then, and Had says that it was seen to have the address.
	Peer      string `json:"peer,omitempty"`
	PeerTitle Title  `json:"peerTitle,omitzero"`
	Had       bool   `json:"had,omitempty"`
	// Silenced: it was taken over because Peer had fallen silent.
	Silenced bool `json:"silenced,omitempty"`
}

// Title is a wire.Title.
type Title struct {
	Term  int64 `json:"term,omitempty"`
	Place uint8 `json:"place,omitempty"`
}

// Pod names a placeholder.
type Pod struct {
	Namespace string `json:"namespace"`
	Name      string `json:"name"`
	UID       string `json:"uid"`
}

// Port is a port that may be reached.
type Port struct {
	// Protocol is TCP, UDP or SCTP.
	Protocol string `json:"protocol"`
	Port     uint16 `json:"port"`
}

// Decode reads a state strictly: unknown fields, other versions and boots, and impossible values are errors that wrap
// ErrIgnored.
func Decode(content []byte, bootID string) (State, error) {
	// The version first: what the fields of another one mean is unknown.
	var head struct {
		Version int    `json:"version"`
		BootID  string `json:"bootID"`
	}
	if err := json.Unmarshal(content, &head); err != nil {
		return State{}, fmt.Errorf("%w: decoding: %w", ErrIgnored, err)
	}
	if head.Version != Version {
		return State{}, fmt.Errorf("%w: it has version %d, not %d", ErrIgnored, head.Version, Version)
	}
	if head.BootID != bootID {
		return State{}, fmt.Errorf("%w: it is from another boot", ErrIgnored)
	}
	var s State
	dec := json.NewDecoder(bytes.NewReader(content))
	dec.DisallowUnknownFields()
	if err := dec.Decode(&s); err != nil {
		return State{}, fmt.Errorf("%w: decoding: %w", ErrIgnored, err)
	}
	if _, err := dec.Token(); !errors.Is(err, io.EOF) {
		return State{}, fmt.Errorf("%w: something follows its end", ErrIgnored)
	}
	if err := s.validate(); err != nil {
		return State{}, fmt.Errorf("%w: %w", ErrIgnored, err)
	}
	return s, nil
}

func (s State) validate() error {
	seen := map[netip.Addr]bool{}
	for i, v := range s.VIPs {
		if v.Pod.UID == "" || v.Pod.Name == "" || v.Pod.Namespace == "" {
			return fmt.Errorf("vips[%d].pod is incomplete", i)
		}
		if len(v.Addresses) == 0 {
			return fmt.Errorf("vips[%d].addresses is empty", i)
		}
		for j, a := range v.Addresses {
			switch {
			case !a.Addr.IsValid() || a.Addr.Is4In6() || a.Addr.Zone() != "":
				return fmt.Errorf("vips[%d].addresses[%d].addr %q is not a plain address", i, j, a.Addr)
			case a.Interface == "":
				return fmt.Errorf("vips[%d].addresses[%d].interface is empty", i, j)
			case a.Peer != "" && !isMAC(a.Peer):
				return fmt.Errorf("vips[%d].addresses[%d].peer %q is no MAC address", i, j, a.Peer)
			case seen[a.Addr]:
				return fmt.Errorf("vips[%d].addresses[%d].addr %s is there twice", i, j, a.Addr)
			}
			seen[a.Addr] = true
		}
		for j, p := range v.Ports {
			if p.Port == 0 || p.Protocol != "TCP" && p.Protocol != "UDP" && p.Protocol != "SCTP" {
				return fmt.Errorf("vips[%d].ports[%d] %s/%d is not a port", i, j, p.Protocol, p.Port)
			}
		}
	}
	return nil
}

func isMAC(text string) bool {
	mac, err := net.ParseMAC(text)
	return err == nil && len(mac) == 6
}

// Encode writes a state; what it writes, Decode accepts.
func Encode(s State) ([]byte, error) {
	s.Version = Version
	if err := s.validate(); err != nil {
		return nil, fmt.Errorf("encoding state: %w", err)
	}
	content, err := json.MarshalIndent(s, "", " ")
	if err != nil {
		return nil, fmt.Errorf("encoding state: %w", err)
	}
	return append(content, '\n'), nil
}

// bootIDPath is documented in the kernel's Documentation/admin-guide/sysctl/kernel.rst, "random".
const bootIDPath = "/proc/sys/kernel/random/boot_id"

// BootID reads the kernel's boot ID.
func BootID() (string, error) {
	content, err := os.ReadFile(bootIDPath)
	if err != nil {
		return "", fmt.Errorf("reading the boot ID: %w", err)
	}
	return strings.TrimSpace(string(content)), nil
}
