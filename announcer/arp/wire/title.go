package wire

import (
	"cmp"
	"encoding/binary"
	"fmt"
)

// Title is the right by which a node announces an address: of two that announce it, the one with the higher title keeps it. A
// node that was cut off can't know who has it by now; the title in the other's announcement tells it, whoever that is.
type Title struct {
	// Term is the number of the last change of roles that the node knows of.
	Term int64
	// Place in the succession within the term: 0 for a previous owner, 1 for the active, then the standbys. Who takes over from
	// another stands at least one behind it.
	Place uint8
}

// Compare orders titles: positive when t is the higher one.
func (t Title) Compare(other Title) int {
	return cmp.Or(cmp.Compare(t.Term, other.Term), cmp.Compare(t.Place, other.Place))
}

// After returns the least title of a node that takes over from one with this title.
func (t Title) After() Title {
	if t.Place < 255 {
		t.Place++
	}
	return t
}

// String returns the title for logs.
func (t Title) String() string { return fmt.Sprintf("%d.%d", t.Term, t.Place) }

// TitleLen is the length of a title on the wire. It fits into the padding of an ARP frame and, with two octets of type and
// length, into two units of a neighbour discovery option.
const TitleLen = 14

// titleMagic and the version begin a title on the wire, so that what a NIC pads with is not taken for one.
var titleMagic = [4]byte{0xe7, 'K', 'L', 'w'}

const titleVersion = 1

// AppendTo appends the title's bytes.
func (t Title) AppendTo(b []byte) []byte {
	b = append(b, titleMagic[:]...)
	b = append(b, titleVersion, t.Place)
	return binary.BigEndian.AppendUint64(b, uint64(t.Term))
}

// ParseTitle reads what AppendTo wrote, possibly followed by padding; false where there is no title.
func ParseTitle(b []byte) (Title, bool) {
	if len(b) < TitleLen || [4]byte(b) != titleMagic || b[4] != titleVersion || b[6] > 0x7f {
		return Title{}, false
	}
	return Title{Place: b[5], Term: int64(binary.BigEndian.Uint64(b[6:14]))}, true
}
