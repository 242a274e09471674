package lab

import (
	"bytes"
	"errors"
	"io"
	"slices"
	"testing"
)

func TestPayloadSum(t *testing.T) {
	const size = 3*payloadPiece + 1000
	var content bytes.Buffer
	if n, err := Payload(size).WriteTo(&content); err != nil || n != size || content.Len() != size {
		t.Fatalf("wrote %d bytes, %v, of which %d arrived; want %d", n, err, content.Len(), size)
	}
	whole := content.Bytes()
	piece := func(i int) []byte { return whole[i*payloadPiece : min((i+1)*payloadPiece, size)] }
	changed := slices.Clone(whole)
	changed[2*payloadPiece+77] ^= 1
	tests := []struct {
		name string
		give []byte
		want bool
	}{
		{"the payload is right", whole, true},
		{"one bit that differs is wrong", changed, false},
		{"the last byte that is missing is wrong", whole[:size-1], false},
		{"a byte too many is wrong", append(slices.Clone(whole), 0), false},
		{"exchanged pieces are wrong", slices.Concat(piece(1), piece(0), piece(2), piece(3)), false},
		{"a piece twice in place of another is wrong", slices.Concat(piece(0), piece(1), piece(1), piece(3)), false},
		{"nothing is wrong", nil, false},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			var sum PayloadSum
			// In reads of another size than the pieces, as a network makes them.
			if _, err := io.CopyBuffer(struct{ io.Writer }{&sum}, struct{ io.Reader }{bytes.NewReader(tt.give)}, make([]byte, 1460)); err != nil {
				t.Fatal(err)
			}
			if got := sum.Right(size); got != tt.want {
				t.Errorf("right = %t, want %t", got, tt.want)
			}
		})
	}
}

func TestAPayloadEndsWhereItsReaderFails(t *testing.T) {
	r, w := io.Pipe()
	done := make(chan error)
	go func() {
		_, err := Payload(10 * payloadPiece).WriteTo(w)
		done <- err
	}()
	if _, err := io.ReadFull(r, make([]byte, payloadPiece)); err != nil {
		t.Fatal(err)
	}
	gone := errors.New("gone")
	r.CloseWithError(gone)
	if err := <-done; !errors.Is(err, gone) {
		t.Errorf("ended by %v, want %v", err, gone)
	}
}
