package ring

import (
	"errors"
	"fmt"
	"math"
	"math/bits"
	"unsafe"
)

// This file is the wire format: every offset, every width. LAYOUT.md tells the
// same in prose for those who write a peer in another language. All words are
// little-endian and naturally aligned; there are offsets, never pointers.
//
//	0      ┌ header, static: written once at creation      (hdr*)
//	512    │ description of T, text
//	2048   │ header, shared words, each on 128 bytes of its own (off*)
//	4096   ├ seats     Seats × 64     one per member
//	       ├ desks     Desks × 128    one per operation under way
//	       ├ records   Records × 32   places held by loans and RecvFunc
//	       ├ slots     Slots × 8 (SPSC, packed: Slots × 16)
//	       ├ owners    Blocks × 4     which desk acquired a block last
//	       ├ units     Units × 8      one word per unit of Space
//	       ├ births    Units × 8      the size of the message that begins there, its lap
//	       ├ blocks    Blocks × Stride   or
//	       └ space     Units × Unit

// Magic stands in the first eight bytes of every channel ("shmchan" and a 1).
const Magic uint64 = 0x016e6168636d6873

// ABI is the number of this layout and protocol. Another number is refused.
const ABI uint32 = 1

// Static header fields. The creator writes them before the object is visible;
// they never change.
const (
	hdrMagic       = 0   // u64
	hdrABI         = 8   // u32
	hdrFlags       = 12  // u32, Flag…
	hdrSize        = 16  // u64, bytes of the whole object
	hdrCapacity    = 24  // u64, messages
	hdrElem        = 32  // u64, bytes of T; 0 when packed
	hdrMaxMessage  = 40  // u64, bytes; 0 when not packed
	hdrSpace       = 48  // u64, bytes asked for; 0 when not packed
	hdrFingerprint = 56  // u64
	hdrDescLen     = 64  // u32, bytes of description
	hdrSeats       = 68  // u32, and from here on what Geometry derives from the above,
	hdrDesks       = 72  // u32, for readers in other languages; checked, never trusted
	hdrRecords     = 76  // u32
	hdrSlots       = 80  // u64
	hdrBlocks      = 88  // u64
	hdrStride      = 96  // u64
	hdrUnits       = 104 // u64
	hdrUnit        = 112 // u64
	hdrOffSeats    = 120 // u64
	hdrOffDesks    = 128 // u64
	hdrOffRecords  = 136 // u64
	hdrOffSlots    = 144 // u64
	hdrOffOwners   = 152 // u64
	hdrOffUnits    = 160 // u64
	hdrOffBirths   = 168 // u64
	hdrOffPayload  = 176 // u64
	hdrDesc        = 512

	// MaxDescription bounds the description of T, in bytes.
	MaxDescription = 1024
)

// Shared header words. What is written often has 128 bytes of its own (adjacent-line
// prefetch pairs lines); the control words, read far more than written, share some.
const (
	line = 128

	offRecvEvent    = 2048           // u32 futex word: what receivers sleep on
	offSendEvent    = 2048 + line    // u32 futex word: what senders sleep on
	offControl      = 2048 + 2*line  // read-mostly words
	offClosed       = offControl     // u32, 1 once closed (MPMC, rendezvous: a hint; the C mark is the truth)
	offReturned     = offControl + 4 // u32, records in state recReturned
	offEverSent     = offControl + 8 // u32, 1 once a sender has been
	offEverRecv     = offControl + 12
	offMembers      = offControl + 16 // u32, bumped whenever somebody joins or leaves
	offLoans        = offControl + 20 // u32, records in state recLoan
	offRedeliver    = offControl + 24 // u64, messages given out again
	offEverChoosing = offControl + 32 // u32, rendezvous: 1 once a Select has had a case that sends
	offTail         = 2048 + 3*line   // u64 SPSC: the truth; else a hint
	offHead         = 2048 + 4*line   // u64 SPSC: the truth; else a hint
	offLock         = 2048 + 5*line   // u64 owner of the slow path
	offJournal      = 2048 + 6*line   // 8 × u64, what the lock's owner is about to do
	offSpaceHead    = 2048 + 7*line   // u64 virtual unit position
	offClosedAt     = 2048 + 8*line   // u64 SPSC: 1 + number of messages that count
	offSenderSeat   = 2048 + 9*line   // u64 SPSC: who sends
	offRecvSeat     = offSenderSeat + 8
	offPad          = 2048 + 10*line // u64 packed: lap<<32 | unit from which the rest of the lap is skipped
	headerSize      = 4096
)

// Sizes of table entries.
const (
	seatSize   = 64
	deskSize   = 128
	recordSize = 32

	// Seats is how many handles may have joined a channel at once.
	Seats = 256
	// MeetingSlots is the ring of a rendezvous: how many calls may have
	// offered or asked at once.
	MeetingSlots = 64

	maxRecords  = 1024
	maxSlotBits = 24

	// MaxCapacity is the largest capacity, in messages.
	MaxCapacity = 1 << maxSlotBits
)

// Flags of the static header.
const (
	FlagSPSC   uint32 = 1 << iota // one sender, one receiver
	FlagPacked                    // encoded messages in Space
)

// The offsets of an entry's fields are asserted by these struct types.
type seatEntry struct {
	word     uint64 // incarnation<<8 | seat flags; written by the seat's holder, swept by anyone under the lock
	pid      uint32 // the holder's process id in its own namespace, to watch it; never proof
	holds    uint32 // RecvFunc calls under way; written by the holder
	start    uint64 // the holder's start time, clock ticks since boot, so that a reused pid is seen
	nsInode  uint64 // its PID namespace
	choosing uint32 // Selects under way that may give something to a want (rendezvous); written by the holder
	_        [7]uint32
}

type deskEntry struct {
	owner    uint64 // seat and incarnation; CAS from 0 to take, store 0 to leave
	priv     uint64 // block that this desk owns (MPMC), extent offered (rendezvous, packed); holder only
	next     uint64 // block that the exchange under way would give; holder only
	nextPos  uint64 // 1 + position where it lies; holder only, written after next
	freePos  uint64 // 1 + position whose packed message is being freed; holder only
	freeUnit uint64 // its extent
	freeWord uint64 // the extent's identity
	_        [9]uint64
}

type recordEntry struct {
	word  uint64 // state | owner's seat | incarnation; under the lock
	block uint64 // block or extent that is held
	pos   uint64 // 1 + position that the message had, orders redelivery
	unit  uint64 // packed: the extent's identity
}

// Compile-time checks that the entries are what the layout says.
var (
	_ [seatSize]byte   = [unsafe.Sizeof(seatEntry{})]byte{}
	_ [deskSize]byte   = [unsafe.Sizeof(deskEntry{})]byte{}
	_ [recordSize]byte = [unsafe.Sizeof(recordEntry{})]byte{}
	_ [headerSize - offPad - 8]byte
	_ [16]byte = [unsafe.Offsetof(seatEntry{}.start)]byte{}
	_ [32]byte = [unsafe.Offsetof(seatEntry{}.choosing)]byte{}
	_ [32]byte = [unsafe.Offsetof(deskEntry{}.freePos)]byte{}
	_ [48]byte = [unsafe.Offsetof(deskEntry{}.freeWord)]byte{}
	_ [16]byte = [unsafe.Offsetof(recordEntry{}.pos)]byte{}
)

// Params is what a channel is created with; all else follows from it.
type Params struct {
	Flags       uint32
	Capacity    uint64 // messages; 0 is a rendezvous
	Elem        uint64 // bytes of T, when not packed
	MaxMessage  uint64 // bytes, when packed
	Space       uint64 // bytes, when packed
	Fingerprint uint64
	Description string
}

// SPSC tells whether the channel has one sender and one receiver.
func (p *Params) SPSC() bool { return p.Flags&FlagSPSC != 0 }

// Packed tells whether messages are encoded and share Space.
func (p *Params) Packed() bool { return p.Flags&FlagPacked != 0 }

// Meeting tells whether the channel is a rendezvous.
func (p *Params) Meeting() bool { return p.Capacity == 0 }

// Geometry is where everything lies: numbers of entries, and offsets in bytes.
type Geometry struct {
	Params
	seats, desks, records          uint64
	slots, slotSize                uint64
	blocks, stride                 uint64
	units, unit, content           uint64
	offSeats, offDesks, offRecords uint64
	offSlots, offOwners            uint64
	offUnits, offBirths            uint64
	offPayload, totalSize          uint64
}

// ErrGeometry is wrapped by what Layout returns for impossible parameters.
var ErrGeometry = errors.New("impossible size")

// Layout computes the geometry of a channel. It fails, wrapping ErrGeometry,
// when a number is out of range or the whole would not fit an int.
func Layout(p Params) (*Geometry, error) {
	g := &Geometry{Params: p}
	switch {
	case p.Flags&^(FlagSPSC|FlagPacked) != 0:
		return nil, fmt.Errorf("%w: flags %#x", ErrGeometry, p.Flags)
	case p.Capacity > MaxCapacity:
		return nil, fmt.Errorf("%w: capacity %d is over %d", ErrGeometry, p.Capacity, uint64(MaxCapacity))
	case p.Elem > math.MaxInt32:
		return nil, fmt.Errorf("%w: element of %d bytes", ErrGeometry, p.Elem)
	case len(p.Description) > MaxDescription:
		return nil, fmt.Errorf("%w: description of %d bytes", ErrGeometry, len(p.Description))
	case p.Packed() && (p.MaxMessage == 0 || p.MaxMessage > 1<<30 || p.Space < 1 || p.Space > 1<<40):
		return nil, fmt.Errorf("%w: space of %d bytes for messages up to %d", ErrGeometry, p.Space, p.MaxMessage)
	}
	g.seats = Seats
	g.slots, g.slotSize = p.Capacity, 8
	g.desks, g.records = 128, min(p.Capacity, maxRecords)
	if p.Meeting() {
		g.slots = MeetingSlots
	}
	if p.SPSC() && !p.Meeting() {
		g.desks, g.records = 0, 0
		if p.Packed() {
			g.slotSize = 16
		} else {
			g.slotSize = 0
		}
	}
	if p.Packed() {
		if err := g.packed(); err != nil {
			return nil, err
		}
	} else {
		g.stride = blockStride(p.Elem)
		if g.desks > 0 {
			// Each desk has a block of its own beside the capacity's. Large
			// elements get fewer desks: at most a mebibyte, but never under 16.
			g.desks = min(g.desks, max(16, (1<<20)/g.stride))
		}
		g.blocks = p.Capacity + g.desks
	}
	return g, g.place()
}

func blockStride(elem uint64) uint64 {
	if elem > 64 {
		return (elem + 63) &^ 63
	}
	return max(8, (elem+7)&^7)
}

// packed sizes the units: 8 bytes in an SPSC ring, whose extents need no words of
// their own; else 64, or more where there would be over 4 Mi of them (the width of
// a unit word's length field). A message takes whole units, and lies in one piece,
// so that up to its own length, less a unit, stays unused at the end of a lap. Both
// are added for the largest: as many of these fit as Space has bytes for, never one
// more, wherever in the lap they begin. content is what messages may take up.
func (g *Geometry) packed() error {
	g.unit = 64
	most := g.slots // messages at once
	if g.SPSC() && !g.Meeting() {
		g.unit = 8
	}
	for ; ; g.unit *= 2 {
		largest := (g.MaxMessage + g.unit - 1) / g.unit // in units
		need := max(g.Space, g.MaxMessage)
		need += min(need/g.MaxMessage, most) * (largest*g.unit - g.MaxMessage)
		g.content = need / g.unit
		g.units = g.content + largest - 1
		switch {
		case g.units <= maxUnits || g.unit == 8:
			return nil
		case largest == 1:
			return fmt.Errorf("%w: space of %d bytes for messages up to %d is over %d of them",
				ErrGeometry, g.Space, g.MaxMessage, maxUnits)
		}
	}
}

// place lays the sections out one behind the other.
func (g *Geometry) place() error {
	at, over := uint64(headerSize), false
	section := func(n, size uint64) (off uint64) {
		off = at
		hi, lo := bits.Mul64(n, size)
		sum := at + (lo+line-1)&^(line-1)
		if hi != 0 || sum < at || sum > math.MaxInt-4096 {
			over = true
			return off
		}
		at = sum
		return off
	}
	g.offSeats = section(g.seats, seatSize)
	g.offDesks = section(g.desks, deskSize)
	g.offRecords = section(g.records, recordSize)
	g.offSlots = section(g.slots, g.slotSize)
	owners := g.blocks
	if g.desks == 0 || g.Meeting() {
		owners = 0
	}
	g.offOwners = section(owners, 4)
	unitWords := g.units
	if g.SPSC() && !g.Meeting() {
		unitWords = 0
	}
	g.offUnits = section(unitWords, 8)
	g.offBirths = section(unitWords, 8)
	if g.Packed() {
		g.offPayload = section(g.units, g.unit)
	} else {
		g.offPayload = section(g.blocks, g.stride)
	}
	g.totalSize = (at + 4095) &^ 4095
	if over {
		return fmt.Errorf("%w: capacity %d of %d bytes, space %d, overflows", ErrGeometry, g.Capacity, g.Elem, g.Space)
	}
	return nil
}

// Size is how many bytes of memory the channel needs; a multiple of 4096.
func (g *Geometry) Size() int64 { return int64(g.totalSize) }
