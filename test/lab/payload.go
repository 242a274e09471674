package lab

import (
	"encoding/binary"
	"hash/crc32"
	"io"
	"math/rand/v2"
)

// payloadPiece is how much of a Payload is written at once.
const payloadPiece = 256 << 10

// castagnoli is CRC-32C (RFC 3720, appendix B.4): processors compute it at tens of gigabytes a second. SHA-256, at one or two, would
// be a good part of what a transfer costs.
var castagnoli = crc32.MakeTable(crc32.Castagnoli)

// Payload is a number of pseudo-random bytes, the same ones each time. Its pieces are numbered, so that losing, doubling or exchanging
// some changes its sum.
type Payload int64

// WriteTo writes the payload, in pieces that cost nothing to make.
func (p Payload) WriteTo(w io.Writer) (int64, error) {
	piece := make([]byte, min(payloadPiece, p))
	_, _ = rand.NewChaCha8([32]byte{}).Read(piece) // it never fails
	written := int64(0)
	for number := uint64(0); written < int64(p); number++ {
		var label [8]byte
		binary.LittleEndian.PutUint64(label[:], number)
		copy(piece, label[:])
		n, err := w.Write(piece[:min(int64(len(piece)), int64(p)-written)])
		written += int64(n)
		if err != nil {
			return written, err
		}
	}
	return written, nil
}

// Sum is the payload's checksum.
func (p Payload) Sum() uint32 {
	var sum PayloadSum
	_, _ = p.WriteTo(&sum) // a sum takes everything
	return sum.Value
}

// PayloadSum sums up what is written to it. Its zero value has seen nothing.
type PayloadSum struct {
	Value uint32
	Bytes int64
}

func (s *PayloadSum) Write(b []byte) (int, error) {
	s.Value = crc32.Update(s.Value, castagnoli, b)
	s.Bytes += int64(len(b))
	return len(b), nil
}

// Right says whether exactly the payload was written.
func (s *PayloadSum) Right(p Payload) bool { return s.Bytes == int64(p) && s.Value == p.Sum() }
