package ring

import (
	"sync/atomic"
	"unsafe"
)

// Places that are not in the order: loans (Reserve), messages in RecvFunc and
// messages that came back. While the ring does not need its slot, a message in
// RecvFunc stays where it is, HELD. When a sender comes around to it, the sender
// evicts it: a record remembers the hold, and the slot becomes BARE. A loan takes
// a place out of the free slot that senders will reach last, which becomes BARE
// too. A sender that meets a BARE slot at the tail moves a free place there.

// Record states, in the low byte of a record's word; from bit 8 on its owner,
// as in a desk: seat+1, then 40 bits of the incarnation.
const (
	recFree     = 0
	recLoan     = 1 // a loan of owner
	recHold     = 2 // a message in a receive of owner, evicted from its slot
	recReturned = 3 // a message that waits to be given out again
)

func recState(w uint64) uint64 { return w & 0xff }
func recOwner(w uint64) uint64 { return w >> 8 }

func (q *Queue) setRecord(r, state, owner, block, pos uint64) {
	e := &q.recT[r]
	if q.unitW != nil {
		atomic.StoreUint64(&e.unit, q.extentID(block))
	}
	atomic.StoreUint64(&e.block, block)
	atomic.StoreUint64(&e.pos, pos)
	atomic.StoreUint64(&e.word, owner<<8|state)
	q.recount()
}

func (q *Queue) clearRecord(r uint64) {
	atomic.StoreUint64(&q.recT[r].word, recFree)
	q.recount()
}

// recount keeps the two counters in the header true. They are derived, so a
// death in between costs nothing: every sweep counts again.
func (q *Queue) recount() {
	var loans, returned uint32
	for i := range q.recT {
		switch recState(atomic.LoadUint64(&q.recT[i].word)) {
		case recLoan:
			loans++
		case recReturned:
			returned++
		}
	}
	atomic.StoreUint32(u32(q.base, offLoans), loans)
	atomic.StoreUint32(u32(q.base, offReturned), returned)
}

// freeRecord finds a free record. The last one is kept for Commit, which may
// have to evict and frees its own record at once.
func (q *Queue) freeRecord(last bool) (uint64, bool) {
	n := len(q.recT)
	if !last && uint64(n) < q.Capacity {
		n--
	}
	for i := range n {
		if recState(atomic.LoadUint64(&q.recT[i].word)) == recFree {
			return uint64(i), true
		}
	}
	return 0, false
}

// window returns the last position that can be free or BARE, and how many
// positions lie from the tail to it, counted under the lock.
func (q *Queue) window(d *Desk) (last cursor, n uint64, st Status) {
	if n, st = d.span(); st != OK {
		return
	}
	last = d.head // and a lap, less one
	last.lap++
	q.prev(&last)
	return last, q.Capacity - n, OK
}

// lastWith finds the last position of the window in that state.
func (q *Queue) lastWith(d *Desk, state uint64, beforeTail bool) (c cursor, w uint64, found bool, st Status) {
	c, n, st := q.window(d)
	if st != OK {
		return
	}
	if beforeTail && n > 0 {
		n-- // leave the tail's own slot out
	}
	for ; n > 0; n-- {
		w = atomic.LoadUint64(&q.slots[c.idx])
		if q.ahead(w, c.lap) == 0 && w&stateMask == state {
			return c, w, true, OK
		}
		q.prev(&c)
	}
	return c, 0, false, OK
}

// makeRoom is called by a sender whose tail's slot has the word w, BARE or HELD:
// it moves a free place there, evicting the hold first. Full when none is free.
func (q *Queue) makeRoom(d *Desk, w uint64) Status {
	q.acquire()
	defer q.release()
	if atomic.LoadUint64(&q.slots[d.tail.idx]) != w {
		return OK // it changed: look again
	}
	to := d.tail
	c, cw, found, st := q.lastWith(d, stateEmpty, true)
	switch {
	case st != OK:
		return st
	case d.tail != to:
		return OK
	case !found && atomic.LoadUint64(&q.slots[to.idx]) != w:
		return OK // places may have come and gone while we looked
	case !found:
		return Full
	}
	if w&stateMask == stateHeld {
		return q.evict(d.tail.idx, w, false)
	}
	q.move(c.idx, cw, to.idx, w)
	return OK
}

// move takes the place of the EMPTY slot from to the BARE slot to.
func (q *Queue) move(from, fromWord, to, toWord uint64) {
	block := q.block(fromWord)
	q.begin(opMove, from, fromWord, to, toWord, block, 0, 0)
	if q.strip(from, fromWord) {
		q.fill(to, toWord, block, stateEmpty, false)
	}
	q.end()
}

// evict turns the HELD slot i into a record and a BARE slot. When its receiver
// frees it at the same moment there is nothing to do. Full: no record is free.
func (q *Queue) evict(i, w uint64, last bool) Status {
	seat := q.owner(w)
	if seat >= len(q.seatT) {
		return Corrupt
	}
	r, ok := q.freeRecord(last)
	if !ok {
		return Full
	}
	owner := deskOwner(seat, atomic.LoadUint64(&q.seatT[seat].word)>>8)
	lap := w >> q.lapShift
	q.begin(opEvict, i, w, 0, 0, q.block(w), r, owner)
	q.setRecord(r, recHold, owner, q.block(w), q.pos(cursor{lap, i})+1)
	for {
		n := withState(w, stateBare)&^(ownMask<<q.ownShift) + 1<<q.lapShift
		if atomic.CompareAndSwapUint64(&q.slots[i], w, n) {
			break
		}
		now := atomic.LoadUint64(&q.slots[i])
		if now != w|flagC {
			q.clearRecord(r)
			break
		}
		w = now
	}
	q.end()
	return OK
}

// A Held is a message being taken: it keeps its place until Free or Return.
type Held struct {
	c    cursor
	w    uint64 // the slot's word while it is not evicted
	rec  int    // its record when it came from Returned, else -1
	Data unsafe.Pointer
	Size int // bytes, when packed
}

// Hold takes the oldest message, a returned one first, and keeps its place.
// OK, Empty, Closed or Corrupt. The desk may be used for something else then.
func (d *Desk) Hold() (Held, Status) {
	q := d.q
	for range q.patience {
		if atomic.LoadUint32(u32(q.base, offReturned)) != 0 {
			if h, st := q.holdReturned(); st != Empty {
				return h, st
			}
		}
		s := &q.slots[d.head.idx]
		w := atomic.LoadUint64(s) // pairs with P
		if w&stateMask != stateFull || q.ahead(w, d.head.lap) != 0 {
			switch st := d.headSlow(w); st {
			case OK:
			case Busy: // returned, whether the count in the header says so or not
				if h, st := q.holdReturned(); st != Empty {
					return h, st
				}
			default:
				return Held{}, st
			}
			continue
		}
		held := withState(w, stateHeld) | uint64(q.seat)<<q.ownShift
		if !atomic.CompareAndSwapUint64(s, w, held) {
			continue
		}
		q.race.received(d.head.idx)
		h := Held{c: d.head, w: held, rec: -1}
		d.tookHead()
		return h, q.locate(&h, q.block(w))
	}
	return Held{}, Corrupt
}

// locate fills in where the message of a hold lies.
func (q *Queue) locate(h *Held, blk uint64) Status {
	if !q.Packed() {
		if blk >= q.blocks {
			return Corrupt
		}
		h.Data, h.Size = q.blockAt(blk), int(q.Elem)
		return OK
	}
	data, size, ok := q.extent(blk)
	if !ok {
		return Corrupt
	}
	h.Data, h.Size = data, size
	return OK
}

// holdReturned takes the oldest returned message.
func (q *Queue) holdReturned() (Held, Status) {
	q.acquire()
	defer q.release()
	best := -1
	for i := range q.recT {
		if recState(atomic.LoadUint64(&q.recT[i].word)) == recReturned &&
			(best < 0 || atomic.LoadUint64(&q.recT[i].pos) < atomic.LoadUint64(&q.recT[best].pos)) {
			best = i
		}
	}
	if best < 0 {
		q.recount()
		return Held{}, Empty
	}
	e := &q.recT[best]
	atomic.StoreUint64(&e.word, deskOwner(q.seat, q.inc)<<8|recHold)
	q.recount()
	pos := atomic.LoadUint64(&e.pos)
	h := Held{c: q.at(pos - 1), rec: best}
	return h, q.locate(&h, atomic.LoadUint64(&e.block))
}

// Counted adds n to the count of this member's RecvFunc calls, which Len shows.
func (q *Queue) Counted(n int32) { atomic.AddUint32(&q.seatT[q.seat].holds, uint32(n)) }

// Free ends a hold: the message is taken, its place is free.
func (d *Desk) Free(h *Held) Status {
	q := d.q
	q.race.freeing(h.c.idx)
	if h.rec < 0 {
		if st, done := d.freeInPlace(h); done {
			return st
		}
	}
	q.acquire()
	defer q.release()
	r, ok := q.findHold(h)
	if !ok {
		return Corrupt
	}
	return q.put(d, r)
}

// freeInPlace frees a message that is still in its slot, the usual way.
func (d *Desk) freeInPlace(h *Held) (st Status, done bool) {
	q := d.q
	blk := q.block(h.w)
	if q.unitW != nil {
		d.freeing(h.c, blk, q.extentID(blk))
	}
	for w := h.w; ; w = h.w | flagC {
		n := withState(w, stateEmpty)&^(ownMask<<q.ownShift) + 1<<q.lapShift
		if q.unitW != nil {
			n &^= q.blockMask << blockShift
		}
		if atomic.CompareAndSwapUint64(&q.slots[h.c.idx], w, n) { // F
			if q.unitW != nil {
				d.freed()
			}
			return OK, true
		}
		if w&flagC != 0 || atomic.LoadUint64(&q.slots[h.c.idx]) != h.w|flagC {
			if q.unitW != nil {
				atomic.StoreUint64(&q.deskT[d.idx].freePos, 0)
			}
			return OK, false
		}
	}
}

// Return ends a hold the other way: the message goes to the next receiver.
func (d *Desk) Return(h *Held) Status {
	q := d.q
	q.acquire()
	defer q.release()
	if h.rec < 0 {
		for w := atomic.LoadUint64(&q.slots[h.c.idx]); w&^flagC == h.w&^flagC; w = atomic.LoadUint64(&q.slots[h.c.idx]) {
			if st := q.evict(h.c.idx, w, true); st != OK {
				return st
			}
		}
	}
	r, ok := q.findHold(h)
	if !ok {
		return Corrupt
	}
	q.giveBack(r)
	return OK
}

// giveBack makes record r a returned message. Under the lock.
func (q *Queue) giveBack(r uint64) {
	atomic.StoreUint64(&q.recT[r].word, recReturned)
	atomic.AddUint64(u64(q.base, offRedeliver), 1)
	q.recount()
}

// findHold finds the record of a hold that was evicted. Under the lock.
func (q *Queue) findHold(h *Held) (uint64, bool) {
	want := deskOwner(q.seat, q.inc)<<8 | recHold
	for i := range q.recT {
		if atomic.LoadUint64(&q.recT[i].word) == want && atomic.LoadUint64(&q.recT[i].pos) == q.posTag(h) {
			return uint64(i), true
		}
	}
	return 0, false
}

// posTag is what a hold's record has as its position: laps as wide as a slot
// word has them.
func (q *Queue) posTag(h *Held) uint64 {
	if h.rec >= 0 {
		return q.pos(h.c) + 1
	}
	return q.pos(cursor{h.w >> q.lapShift, h.c.idx}) + 1
}

// put gives the place of record r back to the ring. Under the lock.
func (q *Queue) put(d *Desk, r uint64) Status {
	block := atomic.LoadUint64(&q.recT[r].block)
	if q.unitW != nil {
		block = 0
	} else if block >= q.blocks {
		return Corrupt
	}
	c, w, found, st := q.lastWith(d, stateBare, false)
	if st != OK || !found {
		return Corrupt
	}
	if tw := atomic.LoadUint64(&q.slots[d.tail.idx]); tw&stateMask == stateBare && q.ahead(tw, d.tail.lap) == 0 {
		c, w = d.tail, tw // where senders stand
	}
	q.begin(opPut, 0, 0, c.idx, w, block, r, 0)
	q.fill(c.idx, w, block, stateEmpty, false)
	q.clearRecord(r)
	q.freeOf(r)
	q.end()
	return OK
}

// freeOf frees the extent that record r had, if it still is that extent.
func (q *Queue) freeOf(r uint64) {
	if q.unitW != nil {
		q.freeExtent(atomic.LoadUint64(&q.recT[r].block), atomic.LoadUint64(&q.recT[r].unit))
	}
}
