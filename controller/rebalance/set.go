package rebalance

import (
	"iter"
	"math/bits"
)

// set is a set of small numbers.
type set []uint64

func newSet(size int) set        { return make(set, (size+63)/64) }
func (s set) add(i int)          { s[i/64] |= 1 << (i % 64) }
func (s set) remove(i int)       { s[i/64] &^= 1 << (i % 64) }
func (s set) has(i int) bool     { return s[i/64]&(1<<(i%64)) != 0 }
func (s set) all() iter.Seq[int] { return s.and(s) }
func (s set) fill(size int) set {
	for i := range size {
		s.add(i)
	}
	return s
}

// and goes through what is in both sets; the other may be nil, or lose members meanwhile: those still to come are left out.
func (s set) and(other set) iter.Seq[int] {
	return func(yield func(int) bool) {
		for i := range other {
			for word := s[i] & other[i]; word != 0; {
				bit := bits.TrailingZeros64(word)
				if !yield(i*64 + bit) {
					return
				}
				word &= s[i] & other[i] & (^uint64(1) << bit)
			}
		}
	}
}
