package wire

import (
	"encoding/binary"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

func TestMACsAreReadAndWritten(t *testing.T) {
	m, err := ParseMAC("02:00:5e:00:01:0a")
	if err != nil || m != (MAC{2, 0, 0x5e, 0, 1, 10}) || m.String() != "02:00:5e:00:01:0a" {
		t.Errorf("got %s, %v", m, err)
	}
	for _, bad := range []string{"", "02:00:5e:00:01", "02:00:5e:00:01:0a:00:00", "x"} {
		if m, err := ParseMAC(bad); err == nil {
			t.Errorf("%q became %s", bad, m)
		}
	}
	hw := m.HardwareAddr()
	hw[0] = 9
	if m[0] != 2 {
		t.Error("HardwareAddr shares memory")
	}
}

func TestOnlyOneMachineIsAStation(t *testing.T) {
	for _, m := range []MAC{{}, Broadcast, {1, 0, 0x5e, 0, 0, 1}, {0x33, 0x33, 0, 0, 0, 1}} {
		if m.IsStation() {
			t.Errorf("%s is taken for one machine", m)
		}
	}
	if !(MAC{0, 0, 0x5e, 0, 1, 7}).IsStation() {
		t.Error("a virtual router's MAC is refused")
	}
}

// stamped returns the control message of a kernel timestamp.
func stamped(at time.Time) []byte {
	b := make([]byte, unix.CmsgSpace(16))
	binary.NativeEndian.PutUint64(b, uint64(unix.CmsgLen(16)))
	binary.NativeEndian.PutUint32(b[8:], unix.SOL_SOCKET)
	binary.NativeEndian.PutUint32(b[12:], unix.SCM_TIMESTAMPNS)
	binary.NativeEndian.PutUint64(b[unix.CmsgLen(0):], uint64(at.Unix()))
	binary.NativeEndian.PutUint64(b[unix.CmsgLen(0)+8:], uint64(at.Nanosecond()))
	return b
}

func TestReceiveTimesAreTheKernels(t *testing.T) {
	now := time.Now()
	tests := []struct {
		name string
		oob  []byte
		want time.Duration // before now
	}{
		{"a frame that waited 3 s for a paused process", stamped(now.Add(-3 * time.Second)), 3 * time.Second},
		{"no stamp", nil, 0},
		{"a stamp from the future, after the clock was put back", stamped(now.Add(time.Hour)), 0},
		{"a message cut short", stamped(now.Add(-time.Second))[:20], 0},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			if got := now.Sub(received(now, tt.oob)); got != tt.want {
				t.Errorf("received %v ago, want %v", got, tt.want)
			}
		})
	}
}
