package ring

import (
	"sync/atomic"
	"unsafe"
)

// A Loan is a place taken out of the ring to be written in.
type Loan struct {
	rec   uint64
	block uint64
	Data  unsafe.Pointer
}

// Reserve takes a place out of the ring; packed, with an extent for size bytes.
// OK, Full, NoSpace, Closed or Corrupt.
func (d *Desk) Reserve(size int) (Loan, Status) {
	q := d.q
	var l Loan
	if q.Packed() {
		if st := d.Room(); st == Closed || st == Corrupt {
			return l, st // rather than to say that bytes are short
		}
		u, st := d.Alloc(size)
		if st != OK {
			return l, st
		}
		l.block = u
		if l.Data = q.spaceAt(0); u < q.units {
			l.Data = q.spaceAt(u)
		}
	}
	st := d.takePlace(&l)
	if st != OK && q.Packed() {
		q.Release(l.block)
	}
	return l, st
}

func (d *Desk) takePlace(l *Loan) Status {
	q := d.q
	q.acquire()
	defer q.release()
	for range q.patience {
		c, w, found, st := q.lastWith(d, stateEmpty, false)
		if st != OK {
			return st
		}
		if atomic.LoadUint64(&q.slots[d.tail.idx])&flagC != 0 {
			return Closed
		}
		r, free := q.freeRecord(false)
		switch {
		case !found && q.filled(d.tail):
			continue // places may have come and gone while we looked
		case !found || !free:
			return Full
		}
		if !q.Packed() {
			l.block = q.block(w)
			if l.block >= q.blocks {
				return Corrupt
			}
			l.Data = q.blockAt(l.block)
		}
		l.rec = r
		owner := deskOwner(q.seat, q.inc)
		q.begin(opTake, c.idx, w, 0, 0, l.block, r, owner)
		done := q.strip(c.idx, w)
		if done {
			q.race.sending(c.idx)
			q.setRecord(r, recLoan, owner, l.block, 0)
		}
		q.end()
		if done {
			return OK
		}
	}
	return Corrupt
}

// Commit makes the loan the youngest message; packed, of size bytes.
// OK, Closed (then the loan is still out: Abort it) or Corrupt.
func (d *Desk) Commit(l *Loan, size int) Status {
	q := d.q
	if q.Packed() {
		d.Written(l.block, size)
	}
	q.acquire()
	defer q.release()
	if !q.mine(l) {
		return Corrupt
	}
	for range q.patience {
		if st := d.seekTail(); st != OK {
			return st
		}
		i := d.tail.idx
		w := atomic.LoadUint64(&q.slots[i])
		a, state := q.ahead(w, d.tail.lap), w&stateMask
		switch {
		case w&flagC != 0 && (a == 0 && (state == stateEmpty || state == stateBare) || a == -1):
			return Closed
		case a == 0 && state == stateBare:
			q.race.sending(i)
			q.begin(opCommit, 0, 0, i, w, l.block, l.rec, 0)
			done := q.fill(i, w, l.block, stateFull, true) // P
			if done {
				q.clearRecord(l.rec)
				q.next(&d.tail)
			}
			q.end()
			if done {
				return OK
			}
		case a == 0 && state == stateEmpty:
			c, cw, found, st := q.lastWith(d, stateBare, true)
			if st != OK {
				return st
			}
			if d.tail.idx == i && !found {
				return Corrupt // our place is out, so some slot must be BARE
			}
			if found && d.tail.idx == i {
				q.move(i, w, c.idx, cw)
			}
		case a == -1 && state == stateHeld:
			if st := q.evict(i, w, true); st != OK {
				return st
			}
		case a == -1 && state == stateFull:
			return Corrupt // all places wait in the ring, and ours too?
		}
	}
	return Corrupt
}

// Abort gives the loan's place back.
func (d *Desk) Abort(l *Loan) Status {
	q := d.q
	q.acquire()
	defer q.release()
	if !q.mine(l) {
		return Corrupt
	}
	return q.put(d, l.rec)
}

func (q *Queue) mine(l *Loan) bool {
	e := &q.recT[l.rec]
	return atomic.LoadUint64(&e.word) == deskOwner(q.seat, q.inc)<<8|recLoan && atomic.LoadUint64(&e.block) == l.block
}
