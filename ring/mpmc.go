package ring

import (
	"sync/atomic"
	"unsafe"
)

// The ring of many senders and receivers.
//
// Invariants. Let N be the capacity, and position p = lap × N + i live in slot i.
//
//	I1  Filled positions are filled in order: p is filled only by a CAS on slot i
//	    from EMPTY(lap), and only by one who has seen p-1 filled. So what is filled
//	    is always [0, tail).
//	I2  They are taken in order: by a CAS from FULL(lap), and only by one who has
//	    seen p-1 taken. So what waits is always [head, tail), all of it FULL.
//	I3  Before a CAS fills p, p-N was taken and its place freed, so tail ≤ head + N.
//	    Who stands at the tail and sees FULL(lap-1) there has seen N messages wait;
//	    who stands at the head and sees EMPTY(lap) has seen none. One load decides,
//	    so Full and Empty are exact.
//	I4  Blocks are exchanged, never shared. A sender writes into the private block
//	    of its desk, which nobody else knows, then one CAS gives it to the slot and
//	    the slot's to the desk. Before that CAS nothing of the message is in the
//	    ring; after it all is. So a sender that dies or stops anywhere leaves no
//	    half message and holds up nobody.
//	I5  A receiver of small elements copies first and takes by CAS afterwards: the
//	    word cannot have changed in between (its lap never repeats), so the block
//	    cannot have been given to anybody, so the copy is whole; a torn copy is one
//	    whose CAS fails. A receiver that dies or stops before the CAS has taken
//	    nothing, after it has all.
//	I6  There are N places. Each is an EMPTY or FULL or HELD slot, or is out, with a
//	    record (hold.go); as many slots are BARE as places are out.
//	I7  The channel is closed by setting C on the word of the tail's slot, whatever
//	    its state; every later word of that slot keeps C, so p is never filled.
//
// Who writes what: slot words, anyone, by CAS only. desk entries: their owner.
// owners[b]: the desk that acquires b, before it gives anything away again.
// Labels: P (publish) is the CAS in publish, pairs with the load in Peek and Hold.
// F (free) is the CAS in Take and Held.Free, pairs with the load in publish.

// Publish makes the element in the desk's private block the youngest message.
// It returns OK, Full, Closed or Corrupt; unless OK the block keeps its content.
func (d *Desk) Publish() Status { return d.publish(d.priv) }

// PublishFast is Publish for what nearly every message comes to: the tail is where
// it was last seen to be, and its slot is free. False: nothing happened, use Publish.
// It is publish, without what an element does not need.
func (d *Desk) PublishFast() bool {
	q := d.q
	s := &q.slots[d.tail.idx]
	w := atomic.LoadUint64(s) // pairs with F
	got := q.block(w)
	if w != d.tail.lap<<q.lapShift|got<<blockShift|stateEmpty || got >= q.blocks {
		return false
	}
	e := d.entry
	storeRelease64(&e.next, got) // both before the CAS: see sweepDesk
	storeRelease64(&e.nextPos, q.pos(d.tail)+1)
	q.race.sending(d.tail.idx)
	if !atomic.CompareAndSwapUint64(s, w, w+(d.priv-got)<<blockShift+(stateFull-stateEmpty)) { // P
		return false
	}
	d.priv = got
	storeRelease64(&e.priv, got)
	storeRelease32(&q.owners[got], uint32(d.idx)+1)
	q.next(&d.tail)
	if d.sent++; d.sent&63 == 0 {
		q.hint(offTail, d.tail)
	}
	return true
}

func (d *Desk) publish(blk uint64) Status {
	q := d.q
	for range q.patience {
		s := &q.slots[d.tail.idx]
		w := atomic.LoadUint64(s) // pairs with F
		switch a := q.ahead(w, d.tail.lap); {
		case a == 0 && w&(stateMask|flagC) == stateEmpty:
			got := q.block(w)
			fill := w&^(q.blockMask<<blockShift|stateMask) | blk<<blockShift | stateFull
			if q.unitW != nil {
				q.race.sending(d.tail.idx)
				if !atomic.CompareAndSwapUint64(s, w, fill) { // P
					continue
				}
			} else {
				if got >= q.blocks {
					return Corrupt
				}
				e := &q.deskT[d.idx]
				storeRelease64(&e.next, got) // both before the CAS: see sweepDesk
				storeRelease64(&e.nextPos, q.pos(d.tail)+1)
				q.race.sending(d.tail.idx)
				if !atomic.CompareAndSwapUint64(s, w, fill) { // P
					continue
				}
				d.priv = got
				storeRelease64(&e.priv, got)
				storeRelease32(&q.owners[got], uint32(d.idx)+1)
			}
			q.next(&d.tail)
			if d.sent++; d.sent&63 == 0 {
				q.hint(offTail, d.tail)
			}
			return OK
		case a == -1 && w&stateMask == stateFull && w&flagC == 0:
			return Full // I3
		default:
			if st := d.tailSlow(w, a); st != OK {
				return st
			}
		}
	}
	return Corrupt
}

// tailSlow deals with every word at the tail that is neither free nor full: it
// walks on, makes room, or says why not. OK means: look again.
func (d *Desk) tailSlow(w uint64, a int64) Status {
	q := d.q
	state, closed := w&stateMask, w&flagC != 0
	switch {
	case a > 0:
		d.catchUp(a, state)
		return OK
	case a == 0 && (state == stateFull || state == stateHeld):
		q.next(&d.tail)
		if d.steps++; d.steps&31 == 0 {
			d.jump()
		}
		return OK
	case a == 0 && state == stateBare && !closed:
		return q.makeRoom(d, w)
	case a == -1 && state == stateHeld && !closed:
		if st := d.besideHeld(); st != OK {
			return st
		}
		return q.makeRoom(d, w)
	case closed && (a == 0 && (state == stateEmpty || state == stateBare) ||
		a == -1 && (state == stateFull || state == stateHeld)):
		q.race.ended()
		return Closed // I7
	}
	return d.astray(&d.tail, offTail)
}

// catchUp moves the tail's cursor beyond what the word proves to be filled: the
// slot is a laps further than the cursor.
func (d *Desk) catchUp(a int64, state uint64) {
	d.tail.lap += uint64(a)
	if state == stateEmpty || state == stateBare {
		d.tail.lap--
	}
	d.q.next(&d.tail)
	d.jump()
}

// jump takes the shared hint for the tail, if it is ahead and proves true.
func (d *Desk) jump() {
	q := d.q
	h := q.at(atomic.LoadUint64(u64(q.base, offTail)))
	if q.dist(d.tail, h) <= 0 {
		return
	}
	before := h
	q.prev(&before)
	if q.filled(before) {
		d.tail = h
	}
}

// filled says whether position c has been filled, which is for ever.
func (q *Queue) filled(c cursor) bool {
	w := atomic.LoadUint64(&q.slots[c.idx])
	a := q.ahead(w, c.lap)
	return a > 0 || a == 0 && (w&stateMask == stateFull || w&stateMask == stateHeld)
}

// taken says whether position c has been taken, which is for ever.
func (q *Queue) taken(c cursor) bool {
	w := atomic.LoadUint64(&q.slots[c.idx])
	a := q.ahead(w, c.lap)
	return a > 0 || a == 0 && w&stateMask == stateHeld
}

// besideHeld decides what a message under way at the tail's slot means: OK when
// some other place may be free, Full when none is. Like I3: all places that are
// seen in use after the first were in use when the first was seen.
func (d *Desk) besideHeld() Status {
	q := d.q
	c := d.tail
	for range q.Geometry.slots - 1 {
		q.next(&c)
		w := atomic.LoadUint64(&q.slots[c.idx])
		a := q.ahead(w, c.lap)
		switch {
		case a == -1 && w&stateMask == stateFull:
			return Full
		case a == -1 && w&stateMask == stateHeld:
		default:
			return OK
		}
	}
	return Full
}

// hint shares a cursor with those who come later; never more than a hint.
func (q *Queue) hint(off uintptr, c cursor) { storeRelease64(u64(q.base, off), q.pos(c)) }

// Peek finds the oldest message of a ring of elements and returns its block, to
// be copied and then taken with Take. It returns Empty, Closed (and drained),
// Busy (a returned message goes first: use HoldReturned) or Corrupt instead.
func (d *Desk) Peek() (unsafe.Pointer, Status) {
	q := d.q
	if atomic.LoadUint32(u32(q.base, offReturned)) != 0 {
		return nil, Busy
	}
	for range q.patience {
		w := atomic.LoadUint64(&q.slots[d.head.idx]) // pairs with P
		if w&stateMask == stateFull && q.ahead(w, d.head.lap) == 0 {
			blk := q.block(w)
			if blk >= q.blocks {
				return nil, Corrupt
			}
			d.seen = w
			return q.blockAt(blk), OK
		}
		if st := d.headSlow(w); st != OK {
			return nil, st
		}
	}
	return nil, Corrupt
}

// PeekFast is Peek for what nearly every message comes to. nil: use Peek.
func (d *Desk) PeekFast() unsafe.Pointer {
	q := d.q
	w := atomic.LoadUint64(&q.slots[d.head.idx]) // pairs with P
	blk := q.block(w)
	if w != d.head.lap<<q.lapShift|blk<<blockShift|stateFull || blk >= q.blocks ||
		atomic.LoadUint32(u32(q.base, offReturned)) != 0 {
		return nil
	}
	d.seen = w
	return q.blockAt(blk)
}

// Take takes the message that Peek found. When it returns false somebody else
// did, and what was copied is nothing.
func (d *Desk) Take() bool {
	q := d.q
	w := d.seen
	free := withState(w, stateEmpty) + 1<<q.lapShift
	q.race.freeing(d.head.idx)
	if !atomic.CompareAndSwapUint64(&q.slots[d.head.idx], w, free) { // F
		return false
	}
	q.race.received(d.head.idx)
	d.tookHead()
	return true
}

func (d *Desk) tookHead() {
	d.q.next(&d.head)
	if d.got++; d.got&63 == 0 {
		d.q.hint(offHead, d.head)
	}
}

// headSlow deals with a word at the head that is not FULL: it walks on, or says
// that there is nothing. OK means: look again.
func (d *Desk) headSlow(w uint64) Status {
	q := d.q
	a, state := q.ahead(w, d.head.lap), w&stateMask
	switch {
	case a > 0:
		d.head.lap += uint64(a)
		if state != stateHeld {
			d.head.lap--
		}
		q.next(&d.head)
		d.jumpHead()
		return OK
	case a == 0 && state == stateHeld:
		q.next(&d.head)
		return OK
	case a == 0 && (state == stateEmpty || state == stateBare), a == -1 && state == stateHeld:
		if w&flagC != 0 {
			return q.drained()
		}
		// Nothing waits at this instant in the ring; and if nothing was
		// returned meanwhile, nothing at all (the word has not changed).
		if atomic.LoadUint32(u32(q.base, offReturned)) != 0 {
			return Busy
		}
		if atomic.LoadUint64(&q.slots[d.head.idx]) != w {
			return OK
		}
		return Empty
	case a == 0 && state == stateFull:
		return OK
	}
	return d.astray(&d.head, offHead)
}

func (d *Desk) jumpHead() {
	q := d.q
	h := q.at(atomic.LoadUint64(u64(q.base, offHead)))
	if q.dist(d.head, h) <= 0 {
		return
	}
	before := h
	q.prev(&before)
	if q.taken(before) {
		d.head = h
	}
}

// drained is asked when the ring is closed and empty: a message that somebody
// still holds may come back, so the end is not there before that is settled.
func (q *Queue) drained() Status {
	for i := range q.slots {
		if atomic.LoadUint64(&q.slots[i])&stateMask == stateHeld {
			return Empty
		}
	}
	for i := range q.recT {
		switch recState(atomic.LoadUint64(&q.recT[i].word)) {
		case recHold:
			return Empty
		case recReturned:
			return Busy
		}
	}
	q.race.ended()
	return Closed
}

// Holds says whether somebody holds a message that may still come back.
func (q *Queue) Holds() bool {
	if q.SPSC() && !q.Meeting() {
		return false
	}
	for i := range q.slots {
		if atomic.LoadUint64(&q.slots[i])&stateMask == stateHeld {
			return true
		}
	}
	for i := range q.recT {
		if s := recState(atomic.LoadUint64(&q.recT[i].word)); s == recHold || s == recReturned {
			return true
		}
	}
	return false
}

// Close closes the channel. It returns Closed when it was closed already.
func (d *Desk) Close() Status {
	q := d.q
	for range q.patience {
		s := &q.slots[d.tail.idx]
		w := atomic.LoadUint64(s)
		a, state := q.ahead(w, d.tail.lap), w&stateMask
		switch {
		case a > 0:
			d.catchUp(a, state)
		case a == 0 && (state == stateFull || state == stateHeld):
			q.next(&d.tail)
			d.jump()
		case a == 0 && (state == stateEmpty || state == stateBare), a == -1 && (state == stateFull || state == stateHeld):
			if w&flagC != 0 {
				atomic.StoreUint32(u32(q.base, offClosed), 1)
				return Closed
			}
			q.race.closing()
			if atomic.CompareAndSwapUint64(s, w, w|flagC) {
				atomic.StoreUint32(u32(q.base, offClosed), 1)
				return OK
			}
		default:
			if st := d.astray(&d.tail, offTail); st != OK {
				return st
			}
		}
	}
	return Corrupt
}

// Len counts the messages that wait, and those in RecvFunc, as of one instant.
func (d *Desk) Len() (int, Status) {
	q := d.q
	n, st := d.span()
	if st != OK {
		return 0, st
	}
	return int(min(n+q.held(), q.Capacity)), OK
}

// span moves both cursors to the ends of what waits, as of one instant, and says
// how many messages lie between them.
func (d *Desk) span() (n uint64, st Status) {
	q := d.q
	for range q.patience {
		if st := d.seekHead(); st != OK {
			return 0, st
		}
		if st := d.seekTail(); st != OK {
			return 0, st
		}
		// Unless the head moved meanwhile, both ends were seen at one instant.
		if !q.taken(d.head) {
			if n = uint64(q.dist(d.head, d.tail)); n > q.Capacity {
				return 0, Corrupt
			}
			return n, OK
		}
	}
	return 0, Corrupt
}

// held counts the messages in RecvFunc and the returned ones.
func (q *Queue) held() uint64 {
	n := uint64(atomic.LoadUint32(u32(q.base, offReturned)))
	for i := range q.seatT {
		n += uint64(atomic.LoadUint32(&q.seatT[i].holds))
	}
	return n
}

// Totals says what was ever sent, and how many of these are there still (Len).
func (d *Desk) Totals() (sent uint64, n int, st Status) {
	n, st = d.Len()
	return d.q.pos(d.tail), n, st
}

// seekTail moves the cursor to the first position that is not filled.
func (d *Desk) seekTail() Status {
	q := d.q
	for range q.patience {
		w := atomic.LoadUint64(&q.slots[d.tail.idx])
		a, state := q.ahead(w, d.tail.lap), w&stateMask
		switch {
		case a > 0:
			d.catchUp(a, state)
		case a == 0 && (state == stateFull || state == stateHeld):
			q.next(&d.tail)
			d.jump()
		case a == 0 && (state == stateEmpty || state == stateBare), a == -1 && (state == stateFull || state == stateHeld):
			return OK
		default:
			if st := d.astray(&d.tail, offTail); st != OK {
				return st
			}
		}
	}
	return Corrupt
}

// seekHead moves the cursor to the first position that is not taken.
func (d *Desk) seekHead() Status {
	q := d.q
	for range q.patience {
		w := atomic.LoadUint64(&q.slots[d.head.idx])
		a, state := q.ahead(w, d.head.lap), w&stateMask
		switch {
		case a > 0:
			d.head.lap += uint64(a)
			if state != stateHeld {
				d.head.lap--
			}
			q.next(&d.head)
			d.jumpHead()
		case a == 0 && state == stateHeld:
			q.next(&d.head)
			d.jumpHead()
		case a == 0 && state >= stateEmpty && state <= stateBare, a == -1 && state == stateHeld:
			return OK
		default:
			if st := d.astray(&d.head, offHead); st != OK {
				return st
			}
		}
	}
	return Corrupt
}
