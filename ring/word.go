package ring

import "math/bits"

// A slot word says all there is to know about one place of the ring:
//
//	bit 0..2   state
//	bit 3      C: the position after this one on the same slot, or, while EMPTY
//	           or BARE, this very position, is where the channel was closed
//	bit 4..    block: the payload's block (MPMC), extent (packed), desk (rendezvous)
//	next 8     owner: the seat that holds the message (HELD, WANT, GIVEN)
//	the rest   lap, modulo its width
//
// The width of block follows from the geometry (enough for every block or unit),
// so the lap has at least 27 bits. A word never repeats before its lap wraps,
// which is what makes a CAS on it safe: a process that slept through a whole
// wrap and wakes in the very same lap is the one case not covered
// (with 27 bits and a million messages a second on a full-size ring that takes
// years; with small rings the lap is wider: 44 bits for a capacity of 1).
type wordCodec struct {
	blockMask    uint64
	ownShift     uint
	lapShift     uint
	unitLapShift uint
	unitShift    uint // of the size of a unit, a power of two
}

const (
	stateMask   = 7
	stateEmpty  = 1 // free for position lap; block is the place's own block
	stateFull   = 2 // the message of position lap is in block
	stateBare   = 3 // free for position lap, but its place is out: a loan or an evicted hold has it
	stateHeld   = 4 // the message of position lap is being taken by owner
	stateWant   = 5 // rendezvous: a receiver of seat owner waits for the value of position lap
	stateOffer  = 6 // rendezvous: desk block offers its value
	stateGiven  = 7 // rendezvous: desk block gave its value to the waiting owner
	flagC       = 8
	blockShift  = 4
	ownBits     = 8
	ownMask     = 1<<ownBits - 1
	unitLenBits = 22
	maxUnits    = 1<<unitLenBits - 1
)

func newWordCodec(g *Geometry) wordCodec {
	n := uint(bits.Len64(max(g.blocks, g.units, g.desks)))
	return wordCodec{
		blockMask:    1<<n - 1,
		ownShift:     blockShift + n,
		lapShift:     blockShift + n + ownBits,
		unitLapShift: unitLenShift + uint(bits.Len64(g.units)),
		unitShift:    uint(bits.Len64(g.unit)) - 1,
	}
}

func (c *wordCodec) word(lap, owner, block, state uint64) uint64 {
	return lap<<c.lapShift | owner<<c.ownShift | block<<blockShift | state
}

func (c *wordCodec) block(w uint64) uint64 { return w >> blockShift & c.blockMask }
func (c *wordCodec) owner(w uint64) int    { return int(w >> c.ownShift & ownMask) }

// ahead says by how many laps the word is ahead of lap, modulo the lap's width.
// Whatever is further off than half of the width looks like its opposite: see astray.
func (c *wordCodec) ahead(w, lap uint64) int64 {
	return int64(w-lap<<c.lapShift) >> c.lapShift
}

// A unit word says who allocated an extent of Space, and when:
//
//	bit 0..1   state: unitFree, unitUsed, unitCarried
//	bit 2..9   the seat that allocated it
//	bit 10..   length in units, as many bits as the number of all units has
//	the rest   1 + lap, modulo its width
//
// A word may stand for as long as no extent begins at its unit, so the lap must
// not come round meanwhile: it has 32 bits where there are 4 Mi units, and the
// more the fewer there are. Half of that is years at any speed.
const (
	unitFree     = 1
	unitUsed     = 2
	unitCarried  = 3 // in use, and since carried into a later lap (carry.go)
	unitOwnShift = 2
	unitLenShift = unitOwnShift + ownBits
)

func (c *wordCodec) unitWord(lap uint64, seat int, length, state uint64) uint64 {
	return (lap+1)<<c.unitLapShift | length<<unitLenShift | uint64(seat)<<unitOwnShift | state
}

func (c *wordCodec) unitLen(w uint64) uint64 {
	return w & (1<<c.unitLapShift - 1) >> unitLenShift
}

// unitBirth is the lap of a unit word as the births remember it.
func (c *wordCodec) unitBirth(w uint64) uint32 { return uint32(w >> c.unitLapShift) }

// identity tells the extent of a unit word, allocated in lap birth, from all others
// that were or will be at that unit, whatever lap it was carried to. Never 0.
func (c *wordCodec) identity(w uint64, birth uint32) uint64 {
	return uint64(birth)<<32 | w&(1<<c.unitLapShift-1)>>unitOwnShift
}

// unitAhead is for unit words what ahead is for slot words.
func (c *wordCodec) unitAhead(w, lap uint64) int64 {
	return int64(w-(lap+1)<<c.unitLapShift) >> c.unitLapShift
}

func unitOwner(w uint64) int               { return int(w >> unitOwnShift & ownMask) }
func unitState(w uint64) uint64            { return w & 3 }
func unitInUse(w uint64) bool              { return unitState(w) >= unitUsed }
func withState(w, state uint64) uint64     { return w&^stateMask | state }
func withUnitState(w, state uint64) uint64 { return w&^3 | state }
