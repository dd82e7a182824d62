package ring

import (
	"errors"
	"fmt"
	"sync/atomic"
	"unsafe"
)

// Errors of Attach and Format; the operations return a Status instead.
var (
	ErrNotChannel = errors.New("not a channel")
	ErrABI        = errors.New("another ABI")
)

// Status is what one step of an operation came to. Steps never block.
type Status int

// The statuses of steps.
const (
	OK      Status = iota
	Full           // no place is free
	NoSpace        // places are free, bytes of Space are not
	Empty          // no message is there
	Closed         // closed; for receivers also: drained
	Corrupt        // the memory holds what no sound peer writes
	Busy           // SPSC: the seat is another's
)

// Env is what the ring must ask of the world; it makes no syscall itself.
type Env interface {
	// Alive says whether the holder of a seat may still be running. Only a
	// proof of death, such as a released kernel lock, may answer false.
	Alive(seat int) bool
	// Pause is called between attempts to take the slow-path lock. It may
	// spin, yield or sleep; attempt counts from 0.
	Pause(attempt int)
	// Fence makes every store that any member's thread has executed visible
	// before it returns, and every later load of theirs see what was stored
	// here before: membarrier(2), MEMBARRIER_CMD_GLOBAL_EXPEDITED.
	Fence()
}

// A Queue is one process's view of a channel in memory that others see too.
// All methods may be called by many goroutines at once, apart from those of one
// Desk, which is used by one at a time.
type Queue struct {
	Geometry
	wordCodec
	env  Env
	base unsafe.Pointer
	seat int    // this member
	inc  uint64 // its incarnation

	slots  []uint64
	desc   []uint64 // SPSC packed: extents, two words each
	owners []uint32
	unitW  []uint64
	births []birth
	seatT  []seatEntry
	deskT  []deskEntry
	recT   []recordEntry
	race   *RaceSync

	// patience bounds every walk over slots and extents: far beyond what any
	// number of living peers can make it last, short of for ever.
	patience int
}

// Format writes a new channel into mem, which must be zeroed, 8-byte aligned and
// of exactly g.Size() bytes, and which nobody else sees yet.
func Format(mem []byte, g *Geometry) error {
	if err := checkMemory(mem, g.Size()); err != nil {
		return err
	}
	base := unsafe.Pointer(unsafe.SliceData(mem))
	for _, f := range staticFields(g) {
		if f.size == 4 {
			*u32(base, f.off) = uint32(f.value)
		} else {
			*u64(base, f.off) = f.value
		}
	}
	copy(mem[hdrDesc:hdrDesc+MaxDescription], g.Description)
	q := view(mem, g)
	for i := range q.slots {
		blk := uint64(0)
		if !g.Meeting() && !g.Packed() {
			blk = uint64(i)
		}
		q.slots[i] = q.word(0, 0, blk, stateEmpty)
	}
	for i := range q.deskT {
		switch {
		case g.Packed():
		case g.Meeting():
			q.deskT[i].priv = uint64(i)
		default:
			q.deskT[i].priv = g.Capacity + uint64(i)
			q.deskT[i].next = q.deskT[i].priv
			q.owners[q.deskT[i].priv] = uint32(i) + 1
		}
	}
	return nil
}

type staticField struct {
	off   uintptr
	size  int
	value uint64
	name  string
}

func staticFields(g *Geometry) []staticField {
	return []staticField{
		{hdrMagic, 8, Magic, "magic"},
		{hdrABI, 4, uint64(ABI), "ABI"},
		{hdrFlags, 4, uint64(g.Flags), "flags"},
		{hdrSize, 8, g.totalSize, "size"},
		{hdrCapacity, 8, g.Capacity, "capacity"},
		{hdrElem, 8, g.Elem, "element"},
		{hdrMaxMessage, 8, g.MaxMessage, "max message"},
		{hdrSpace, 8, g.Space, "space"},
		{hdrFingerprint, 8, g.Fingerprint, "fingerprint"},
		{hdrDescLen, 4, uint64(len(g.Description)), "description length"},
		{hdrSeats, 4, g.seats, "seats"},
		{hdrDesks, 4, g.desks, "desks"},
		{hdrRecords, 4, g.records, "records"},
		{hdrSlots, 8, g.slots, "slots"},
		{hdrBlocks, 8, g.blocks, "blocks"},
		{hdrStride, 8, g.stride, "stride"},
		{hdrUnits, 8, g.units, "units"},
		{hdrUnit, 8, g.unit, "unit"},
		{hdrOffSeats, 8, g.offSeats, "seats' offset"},
		{hdrOffDesks, 8, g.offDesks, "desks' offset"},
		{hdrOffRecords, 8, g.offRecords, "records' offset"},
		{hdrOffSlots, 8, g.offSlots, "slots' offset"},
		{hdrOffOwners, 8, g.offOwners, "owners' offset"},
		{hdrOffUnits, 8, g.offUnits, "units' offset"},
		{hdrOffBirths, 8, g.offBirths, "births' offset"},
		{hdrOffPayload, 8, g.offPayload, "payload's offset"},
	}
}

// Inspect reads the static header of mem and checks it. The error wraps
// ErrNotChannel or ErrABI. What it returns was read once and is safe to use.
func Inspect(mem []byte) (*Geometry, error) {
	if len(mem) < headerSize {
		return nil, fmt.Errorf("%w: only %d bytes", ErrNotChannel, len(mem))
	}
	if err := checkMemory(mem, int64(len(mem))); err != nil {
		return nil, err
	}
	base := unsafe.Pointer(unsafe.SliceData(mem))
	if m := atomic.LoadUint64(u64(base, hdrMagic)); m != Magic {
		return nil, fmt.Errorf("%w: no magic number at its start", ErrNotChannel)
	}
	if abi := atomic.LoadUint32(u32(base, hdrABI)); abi != ABI {
		return nil, fmt.Errorf("%w: %d, this program has %d", ErrABI, abi, ABI)
	}
	p := Params{
		Flags:       atomic.LoadUint32(u32(base, hdrFlags)),
		Capacity:    atomic.LoadUint64(u64(base, hdrCapacity)),
		Elem:        atomic.LoadUint64(u64(base, hdrElem)),
		MaxMessage:  atomic.LoadUint64(u64(base, hdrMaxMessage)),
		Space:       atomic.LoadUint64(u64(base, hdrSpace)),
		Fingerprint: atomic.LoadUint64(u64(base, hdrFingerprint)),
	}
	n := atomic.LoadUint32(u32(base, hdrDescLen))
	if n > MaxDescription {
		return nil, fmt.Errorf("%w: description of %d bytes", ErrNotChannel, n)
	}
	p.Description = string(mem[hdrDesc : hdrDesc+n])
	g, err := Layout(p)
	if err != nil {
		return nil, fmt.Errorf("%w: %w", ErrNotChannel, err)
	}
	if g.Size() != int64(len(mem)) {
		return nil, fmt.Errorf("%w: %d bytes where its header needs %d", ErrNotChannel, len(mem), g.Size())
	}
	for _, f := range staticFields(g) {
		have := uint64(0)
		if f.size == 4 {
			have = uint64(atomic.LoadUint32(u32(base, f.off)))
		} else {
			have = atomic.LoadUint64(u64(base, f.off))
		}
		if have != f.value {
			return nil, fmt.Errorf("%w: %s is %d, not %d", ErrNotChannel, f.name, have, f.value)
		}
	}
	return g, nil
}

// ABIOf is the ABI number in the header of mem, which Inspect has looked at.
func ABIOf(mem []byte) uint32 {
	return atomic.LoadUint32(u32(unsafe.Pointer(unsafe.SliceData(mem)), hdrABI))
}

// Attach makes a view of the channel in mem, whose geometry Inspect returned.
// It is not a member yet: see Join. race may be nil.
func Attach(mem []byte, g *Geometry, env Env, race *RaceSync) (*Queue, error) {
	if err := checkMemory(mem, g.Size()); err != nil {
		return nil, err
	}
	q := view(mem, g)
	q.env, q.seat, q.race = env, -1, race
	return q, nil
}

func checkMemory(mem []byte, size int64) error {
	switch {
	case int64(len(mem)) != size:
		return fmt.Errorf("%w: %d bytes of memory, not %d", ErrNotChannel, len(mem), size)
	case uintptr(unsafe.Pointer(unsafe.SliceData(mem)))%8 != 0:
		return fmt.Errorf("%w: memory is not aligned to 8 bytes", ErrNotChannel)
	case !littleEndian():
		return fmt.Errorf("%w: the layout is little-endian, this machine is not", errors.ErrUnsupported)
	}
	return nil
}

// Static tells what Attach was given.
func (q *Queue) Static() *Geometry { return &q.Geometry }

// RecvEvent is the futex word that receivers sleep on.
func (q *Queue) RecvEvent() *uint32 { return u32(q.base, offRecvEvent) }

// SendEvent is the futex word that senders sleep on.
func (q *Queue) SendEvent() *uint32 { return u32(q.base, offSendEvent) }

// Membership changes whenever a member joins or leaves.
func (q *Queue) Membership() uint32 { return atomic.LoadUint32(u32(q.base, offMembers)) }

// IsClosed says whether the channel has been closed.
func (q *Queue) IsClosed() bool { return atomic.LoadUint32(u32(q.base, offClosed)) != 0 }

// Redelivered counts the messages that were given out again.
func (q *Queue) Redelivered() uint64 { return atomic.LoadUint64(u64(q.base, offRedeliver)) }

// Loans counts the places that loans hold.
func (q *Queue) Loans() int { return int(atomic.LoadUint32(u32(q.base, offLoans))) }

// Seat is this member's seat, or -1.
func (q *Queue) Seat() int { return q.seat }
