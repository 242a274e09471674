package wire

import (
	"testing"

	"pgregory.net/rapid"
)

func TestTitlesAreOrderedByTermThenPlace(t *testing.T) {
	ascending := []Title{{}, {0, 1}, {1, 0}, {1, 1}, {1, 2}, {2, 0}, {2, 1}}
	for i, low := range ascending {
		for j, high := range ascending {
			if got, want := high.Compare(low), j-i; (got > 0) != (want > 0) || (got < 0) != (want < 0) {
				t.Errorf("%s compared with %s: %d", high, low, got)
			}
		}
		if low.After().Compare(low) <= 0 {
			t.Errorf("the title after %s is %s", low, low.After())
		}
	}
	if last := (Title{1, 255}); last.After() != last {
		t.Errorf("the title after %s is %s, want no overflow", last, last.After())
	}
}

func TestATitleIsReadAsItWasWritten(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		want := Title{Term: rapid.Int64Min(0).Draw(t, "term"), Place: rapid.Uint8().Draw(t, "place")}
		b := append(want.AppendTo(nil), rapid.SliceOf(rapid.Byte()).Draw(t, "padding")...)
		if got, ok := ParseTitle(b); !ok || got != want {
			t.Fatalf("read %s, %t, want %s", got, ok, want)
		}
	})
}

func TestPaddingIsNoTitle(t *testing.T) {
	for name, b := range map[string][]byte{
		"nothing": nil, "zeros": make([]byte, 18), "a title cut short": Title{Term: 1}.AppendTo(nil)[:TitleLen-1],
		"another version": append(append([]byte{}, titleMagic[:]...), 2, 0, 0, 0, 0, 0, 0, 0, 0, 1),
		"a negative term": Title{Term: -1}.AppendTo(nil),
	} {
		if got, ok := ParseTitle(b); ok || got != (Title{}) {
			t.Errorf("%s: read %s", name, got)
		}
	}
}
