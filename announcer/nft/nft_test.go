package nft

import (
	"errors"
	"fmt"
	"testing"

	"golang.org/x/sys/unix"
)

func TestOnlyWhatNoRepetitionCuresIsUnsupported(t *testing.T) {
	for err, want := range map[error]bool{unix.EOPNOTSUPP: true, unix.ENOENT: true, unix.EBUSY: false, unix.ENOBUFS: false} {
		got := Unsupported(fmt.Errorf("adding a rule: %w", err))
		if errors.Is(got, ErrUnsupported) != want || !errors.Is(got, err) {
			t.Errorf("Unsupported(%v) = %v, want ErrUnsupported: %v", err, got, want)
		}
	}
	if Unsupported(nil) != nil {
		t.Error("no error became one")
	}
}
