package ring

import (
	"sync/atomic"
	"unsafe"
)

// A cursor is a position of the ring, lap × slots + idx, kept in two parts so
// that stepping needs no division.
type cursor struct {
	lap uint64
	idx uint64
}

func (q *Queue) next(c *cursor) {
	if c.idx++; c.idx == q.Geometry.slots {
		c.idx = 0
		c.lap++
	}
}

func (q *Queue) prev(c *cursor) {
	if c.idx == 0 {
		c.idx = q.Geometry.slots
		c.lap--
	}
	c.idx--
}

// dist is how many positions lie from one cursor to another, as slot words would
// see it: laps modulo their width.
func (q *Queue) dist(from, to cursor) int64 {
	laps := int64((to.lap-from.lap)<<q.lapShift) >> q.lapShift
	return laps*int64(q.Geometry.slots) + int64(to.idx) - int64(from.idx)
}

func (q *Queue) pos(c cursor) uint64 { return c.lap*q.Geometry.slots + c.idx }

func (q *Queue) at(pos uint64) cursor {
	return cursor{lap: pos / q.Geometry.slots, idx: pos % q.Geometry.slots}
}

// A Desk is where one operation at a time works: it remembers how far the ring
// had got, and, when it was opened for sending, owns a shared desk entry with a
// private block. One goroutine uses it at a time; TryLock and Unlock see to that.
type Desk struct {
	q    *Queue
	lock uint32
	idx  int // shared desk, or -1
	once bool
	priv uint64

	entry *deskEntry // shared desk, or nil

	tail, head cursor
	seen       uint64 // the word that Peek saw
	seenUnit   uint64 // identity of the extent that PeekBytes saw
	sent, got  uint32
	steps      uint32
	astrays    uint32 // since moved was sent + got
	moved      uint32

	virtual   uint64 // Space: where the next extent was last seen to go
	spaceHead uint64 // Space: what was last seen to be free up to
	lap       uint64 // Space: a lap, that of virtual as a rule (unitAt)
	lapStart  uint64 // Space: lap × units

	// Spare is private memory for whoever has the desk; the ring does not use it.
	Spare []byte

	_ [128]byte // the next desk is another goroutine's
}

// NewDesk makes a desk without a shared entry: enough to receive elements.
func (q *Queue) NewDesk() *Desk {
	d := &Desk{q: q, idx: -1, virtual: atomic.LoadUint64(u64(q.base, offSpaceHead))}
	d.spaceHead = d.virtual
	if len(q.slots) > 0 {
		d.tail, d.head = q.origin(offTail), q.origin(offHead)
	}
	return d
}

// origin is where a cursor starts that knows nothing: a position that was taken,
// a lap or two before what the hint names, or the very first. The hint gives the
// upper part of the lap, which words do not have.
func (q *Queue) origin(hint uintptr) cursor {
	c := q.at(atomic.LoadUint64(u64(q.base, hint)))
	w := atomic.LoadUint64(&q.slots[c.idx])
	c.lap += uint64(q.ahead(w, c.lap))
	// Slot idx has come to this lap, so what it had in the lap before is taken.
	// In a rendezvous what others had before that may be unsettled still (M2).
	before := uint64(1)
	if q.Meeting() {
		before = 2
	}
	if c.lap < before {
		return cursor{}
	}
	c.lap -= before
	return c
}

// astray is asked when a cursor and its slot's word cannot both be right: either
// the memory lies, or the cursor stood still while the ring went round for half of
// what a word's lap can tell (with a capacity of 1 and Space in millions of units
// that is minutes), and must start again.
func (d *Desk) astray(c *cursor, hint uintptr) Status {
	q := d.q
	o := q.origin(hint)
	off := int64((c.lap-o.lap)<<q.lapShift) >> q.lapShift
	if d.moved != d.sent+d.got {
		d.astrays, d.moved = 0, d.sent+d.got
	}
	if d.astrays++; off >= -2 && off <= 2 || d.astrays%8 == 0 {
		return Corrupt
	}
	*c = o
	return OK
}

// TryLock takes the desk, unless another goroutine has it.
func (d *Desk) TryLock() bool { return atomic.CompareAndSwapUint32(&d.lock, 0, 1) }

// Unlock gives it back, and the shared entry too if it was taken for once only.
func (d *Desk) Unlock() {
	if d.once {
		d.Shut()
	}
	storeRelease32(&d.lock, 0)
}

// Once makes the next Unlock give the shared entry back.
func (d *Desk) Once() { d.once = true }

// Opened says whether the desk has a shared entry.
func (d *Desk) Opened() bool { return d.idx >= 0 }

func deskOwner(seat int, inc uint64) uint64 { return inc<<16 | uint64(seat+1) }

func ownerSeat(o uint64) int { return int(o&0xffff) - 1 }

// Open takes a shared entry for the desk. It returns Full when none is free:
// every entry is an operation under way, here or in other processes.
func (d *Desk) Open() Status {
	q := d.q
	if d.idx >= 0 {
		return OK
	}
	me := deskOwner(q.seat, q.inc)
	n := len(q.deskT)
	for k := range n {
		i := (q.seat*7 + k) % n
		e := &q.deskT[i]
		if atomic.LoadUint64(&e.owner) != 0 || !atomic.CompareAndSwapUint64(&e.owner, 0, me) {
			continue
		}
		b := atomic.LoadUint64(&e.priv)
		if !q.Packed() && b >= q.blocks {
			return Corrupt
		}
		atomic.StoreUint64(&e.next, b)
		atomic.StoreUint64(&e.freePos, 0)
		if q.owners != nil && !q.Packed() {
			atomic.StoreUint32(&q.owners[b], uint32(i)+1)
		}
		d.idx, d.priv, d.entry = i, b, e
		return OK
	}
	return Full
}

// Shut gives the shared entry back.
func (d *Desk) Shut() {
	if d.idx >= 0 {
		atomic.StoreUint64(&d.q.deskT[d.idx].owner, 0)
		d.idx, d.entry = -1, nil
	}
}

// Scarce says whether shared entries are running out, so that idle ones should
// be given back after each operation.
func (q *Queue) Scarce() bool {
	free := 0
	for i := range q.deskT {
		if atomic.LoadUint64(&q.deskT[i].owner) == 0 {
			free++
		}
	}
	return free < len(q.deskT)/4
}

// Block is the private block of the desk, where the next element is written
// before Publish. It stays valid until then.
func (d *Desk) Block() unsafe.Pointer { return d.q.blockAt(d.priv) }
