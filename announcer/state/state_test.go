package state

import (
	"errors"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
)

var sameAddr = cmp.Comparer(func(a, b netip.Addr) bool { return a == b })

func example() State {
	return State{VIPs: []VIP{{
		Name: "192-0-2-10",
		Addresses: []Address{
			{Addr: netip.MustParseAddr("192.0.2.10"), Interface: "eth0", RequireOwn: true},
			{Addr: netip.MustParseAddr("2001:db8::10"), Interface: "eth0", RequireOwn: true},
		},
		Pod:       Pod{"evenkeel-system", "192-0-2-10-1", "uid"},
		Role:      "active",
		Term:      3,
		Peers:     `[{"node":"b"}]`,
		Ports:     []Port{{"TCP", 80}, {"UDP", 53}},
		HeldSince: time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC),
	}}}
}

func TestWhatIsSavedIsLoaded(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "evenkeel")
	f, err := Open(dir)
	if err != nil {
		t.Fatal(err)
	}
	if s, err := f.Load(); err != nil || len(s.VIPs) != 0 {
		t.Fatalf("Load() without a file = %v, %v", s, err)
	}
	for range 2 {
		if err := f.Save(example()); err != nil {
			t.Fatal(err)
		}
	}
	again, err := Open(dir)
	if err != nil {
		t.Fatal(err)
	}
	got, err := again.Load()
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(example(), got, sameAddr, cmpopts.IgnoreFields(State{}, "Version", "BootID")); diff != "" {
		t.Errorf("mismatch (-want +got):\n%s", diff)
	}
	if files, err := os.ReadDir(dir); err != nil || len(files) != 1 {
		t.Errorf("left in the directory: %v, %v", files, err)
	}
}

func TestAFileThatCantBeUsedIsIgnoredWithAReason(t *testing.T) {
	valid := `{"version":1,"bootID":"b","vips":[{"name":"n","addresses":[{"addr":"192.0.2.1","interface":"eth0"}],"pod":{"namespace":"s","name":"p","uid":"u"}}]}`
	if _, err := Decode([]byte(valid), "b"); err != nil {
		t.Fatal(err)
	}
	for _, tt := range []struct {
		name, old, new, want string
	}{
		{"another boot", `"bootID":"b"`, `"bootID":"c"`, "another boot"},
		{"another version with other fields", `"version":1`, `"version":2,"more":1`, "version 2"},
		{"no version", `"version":1,`, ``, "version 0"},
		{"an unknown field", `"name":"n"`, `"nome":"n"`, "unknown field"},
		{"half a file", `"uid":"u"}}]}`, `"uid"`, "decoding"},
		{"something after the end", `}}]}`, `}}]}{}`, "invalid character"},
		{"no pod", `"uid":"u"`, `"uid":""`, "pod is incomplete"},
		{"no address", `{"addr":"192.0.2.1","interface":"eth0"}`, ``, "addresses is empty"},
		{"a zone", `192.0.2.1`, `fe80::1%eth0`, "not a plain address"},
		{"a broken address", `192.0.2.1`, `192.0.2.256`, "decoding"},
		{"an empty address", `192.0.2.1`, ``, "not a plain address"},
		{"no interface", `eth0`, ``, "interface is empty"},
		{"an address twice", `"interface":"eth0"}`, `"interface":"eth0"},{"addr":"192.0.2.1","interface":"eth1"}`, "there twice"},
		{"a port that isn't one", `"name":"n",`, `"name":"n","ports":[{"protocol":"tcp","port":80}],`, "not a port"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			s, err := Decode([]byte(strings.Replace(valid, tt.old, tt.new, 1)), "b")
			if !errors.Is(err, ErrIgnored) || !strings.Contains(err.Error(), tt.want) {
				t.Errorf("Decode() = %v, want %q", err, tt.want)
			}
			if len(s.VIPs) != 0 {
				t.Error("an ignored state isn't empty")
			}
		})
	}
}

func TestWhatDecodeWouldIgnoreIsNotSaved(t *testing.T) {
	f, err := Open(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	if err := f.Save(example()); err != nil {
		t.Fatal(err)
	}
	broken := example()
	broken.VIPs[0].Pod.UID = ""
	if err := f.Save(broken); err == nil {
		t.Error("an incomplete state is saved")
	}
	if s, err := f.Load(); err != nil || len(s.VIPs) != 1 {
		t.Errorf("the last good state is gone: %v, %v", s, err)
	}
	if err := os.WriteFile(f.path, []byte("{"), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := f.Load(); !errors.Is(err, ErrIgnored) {
		t.Errorf("Load() = %v, want ErrIgnored", err)
	}
	if err := os.Remove(f.path); err != nil {
		t.Fatal(err)
	}
	if err := os.Mkdir(f.path, 0o700); err != nil {
		t.Fatal(err)
	}
	if _, err := f.Load(); !errors.Is(err, ErrIgnored) {
		t.Errorf("Load() of a folder = %v, want ErrIgnored", err)
	}
}

func FuzzDecode(f *testing.F) {
	content, err := Encode(State{BootID: "b", VIPs: example().VIPs})
	if err != nil {
		f.Fatal(err)
	}
	f.Add(content)
	f.Add([]byte(`{"version":1,"bootID":"b","vips":[]}`))
	f.Add([]byte(`null`))
	f.Fuzz(func(t *testing.T, content []byte) {
		s, err := Decode(content, "b")
		if err != nil {
			if !errors.Is(err, ErrIgnored) {
				t.Fatalf("an error without ErrIgnored: %v", err)
			}
			return
		}
		again, err := Encode(s)
		if err != nil {
			t.Fatalf("what was decoded can't be encoded: %v", err)
		}
		got, err := Decode(again, "b")
		if err != nil {
			t.Fatalf("what was encoded can't be decoded: %v", err)
		}
		if diff := cmp.Diff(s, got, sameAddr, cmpopts.EquateEmpty()); diff != "" {
			t.Fatalf("mismatch (-first +second):\n%s", diff)
		}
	})
}
