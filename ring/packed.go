package ring

import (
	"sync/atomic"
	"unsafe"
)

// Packed messages are taken like elements: copied first, taken by the CAS that
// frees their place (I5). Their extent is freed after that, by the one whose CAS it
// was; should that one die in between, its desk tells a sweep what to free.

// PeekBytes finds the oldest message of a ring of packed messages, to be copied and
// then taken with TakeBytes. The bytes may change, or be another message's, until
// TakeBytes has said that they were not: copy, do nothing else with them. It
// returns Empty, Closed (and drained), Busy (a returned message goes first: use
// Hold) or Corrupt instead. The desk must be open.
func (d *Desk) PeekBytes() ([]byte, Status) {
	q := d.q
	if atomic.LoadUint32(u32(q.base, offReturned)) != 0 {
		return nil, Busy
	}
	for range q.patience {
		s := &q.slots[d.head.idx]
		w := atomic.LoadUint64(s) // pairs with P
		if w&stateMask != stateFull || q.ahead(w, d.head.lap) != 0 {
			if st := d.headSlow(w); st != OK {
				return nil, st
			}
			continue
		}
		u := q.block(w)
		data, size, id, ok := q.extentSeen(u)
		d.seenUnit = id
		if atomic.LoadUint64(s) != w {
			continue // taken, and its extent is somebody else's
		}
		if !ok {
			return nil, Corrupt
		}
		d.seen = w
		return unsafe.Slice((*byte)(data), size), OK
	}
	return nil, Corrupt
}

// extentSeen is extent and extentID in one, with one look at the word of an extent
// that was not carried.
func (q *Queue) extentSeen(u uint64) (data unsafe.Pointer, size int, id uint64, ok bool) {
	if u < uint64(len(q.unitW)) {
		w := atomic.LoadUint64(&q.unitW[u])
		n := q.unitLen(w)
		bytes := uint64(atomic.LoadUint32(&q.births[u].size))
		if unitState(w) == unitUsed && n != 0 && n <= q.units-u && bytes <= n<<q.unitShift && bytes <= q.MaxMessage {
			return q.spaceAt(u), int(bytes), q.identity(w, q.unitBirth(w)), true
		}
	}
	id = q.extentID(u)
	data, size, ok = q.extent(u)
	return data, size, id, ok
}

// TakeBytes takes the message that PeekBytes found. When it returns false somebody
// else did, and what was copied is nothing.
func (d *Desk) TakeBytes() bool {
	q := d.q
	w := d.seen
	u := q.block(w)
	free := withState(w, stateEmpty)&^(q.blockMask<<blockShift) + 1<<q.lapShift
	d.freeing(d.head, u, d.seenUnit)
	q.race.freeing(d.head.idx)
	if !atomic.CompareAndSwapUint64(&q.slots[d.head.idx], w, free) { // F
		storeRelease64(&q.deskT[d.idx].freePos, 0)
		return false
	}
	q.freeExtent(u, d.seenUnit)
	storeRelease64(&q.deskT[d.idx].freePos, 0)
	q.race.received(d.head.idx)
	d.tookHead()
	return true
}

// freeing writes down, before the slot is freed, which extent goes with it: if
// this process dies in between, a sweep frees the extent.
func (d *Desk) freeing(c cursor, u, id uint64) {
	e := &d.q.deskT[d.idx]
	storeRelease64(&e.freePos, 0)
	storeRelease64(&e.freeUnit, u)
	storeRelease64(&e.freeWord, id)
	storeRelease64(&e.freePos, d.q.pos(c)+1)
}

// freed frees the extent that freeing wrote down.
func (d *Desk) freed() {
	e := &d.q.deskT[d.idx]
	d.q.freeExtent(atomic.LoadUint64(&e.freeUnit), atomic.LoadUint64(&e.freeWord))
	storeRelease64(&e.freePos, 0)
}
