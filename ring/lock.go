package ring

import "sync/atomic"

// The slow path. What one CAS cannot do, moving a place from one slot to
// another, happens under a lock that names its owner, and is written into a
// journal before it is done, so that whoever finds the owner dead can finish it.
// The plain Send and Recv never come here unless a loan or a RecvFunc is out and
// the ring has turned once around it.
//
// Under the lock, and only there:
//
//	L1  a slot becomes BARE or stops being BARE;
//	L2  records change;
//	L3  seats are swept.
//
// So what the journal's owner was doing is decided by looking at the slots that
// the journal names: a BARE slot that should have been filled still is BARE, and
// nobody else can have changed it. Every step of recover may be repeated.
const (
	jOp       = iota // written last, with release; 0 when nothing is under way
	jFrom            // slot index a place comes from
	jFromWord        // the word that stood there
	jTo              // slot index a place goes to
	jToWord          // the BARE word that stood there
	jBlock           // the block that moves
	jRecord          // the record concerned
	jOwner           // whom the record is to name
)

const (
	opNone   = iota
	opMove   // EMPTY(from) → BARE(from), then BARE(to) → EMPTY(to)
	opTake   // EMPTY(from) → BARE(from), then the record is a loan
	opPut    // BARE(to) → EMPTY(to), then the record is free
	opCommit // BARE(to) → FULL(to), then the record is free
	opEvict  // the record is a hold, if HELD(from) → BARE(from)
)

func (q *Queue) journal(i int) *uint64 { return u64(q.base, offJournal+uintptr(i)*8) }

func (q *Queue) begin(op, from, fromWord, to, toWord, block, record, owner uint64) {
	for i, v := range [...]uint64{jFrom: from, jFromWord: fromWord, jTo: to, jToWord: toWord, jBlock: block, jRecord: record, jOwner: owner} {
		if i != jOp {
			atomic.StoreUint64(q.journal(i), v)
		}
	}
	atomic.StoreUint64(q.journal(jOp), op)
}

func (q *Queue) end() { atomic.StoreUint64(q.journal(jOp), opNone) }

// acquire takes the slow path's lock, from a dead owner too.
func (q *Queue) acquire() {
	me := deskOwner(q.seat, q.inc)
	l := u64(q.base, offLock)
	for n := 0; ; n++ {
		o := atomic.LoadUint64(l)
		if o == 0 {
			if atomic.CompareAndSwapUint64(l, 0, me) {
				return
			}
		} else if n%32 == 31 && !q.ownerAlive(o) && atomic.CompareAndSwapUint64(l, o, me) {
			q.recover()
			return
		}
		q.env.Pause(n)
	}
}

func (q *Queue) release() { atomic.StoreUint64(u64(q.base, offLock), 0) }

// ownerAlive says whether a seat and incarnation may still be running.
func (q *Queue) ownerAlive(o uint64) bool {
	s := ownerSeat(o)
	if s < 0 || s >= len(q.seatT) {
		return false
	}
	if s == q.seat && o>>16 == q.inc {
		return true
	}
	return atomic.LoadUint64(&q.seatT[s].word)>>8 == o>>16 && q.env.Alive(s)
}

// still says whether slot i is BARE for the lap of word.
func (q *Queue) still(i, word uint64) bool {
	w := atomic.LoadUint64(&q.slots[i])
	return w&stateMask == stateBare && w>>q.lapShift == word>>q.lapShift
}

// fill turns the BARE slot i into state with block, keeping C. Only the lock's
// owner calls it, so only C can change meanwhile. With open set it refuses a
// slot that is closed.
func (q *Queue) fill(i, word, block, state uint64, open bool) bool {
	for q.still(i, word) {
		w := atomic.LoadUint64(&q.slots[i])
		if open && w&flagC != 0 {
			return false
		}
		n := w&^(q.blockMask<<blockShift|ownMask<<q.ownShift|stateMask) | block<<blockShift | state
		if atomic.CompareAndSwapUint64(&q.slots[i], w, n) {
			return true
		}
	}
	return false
}

// strip turns the EMPTY slot i, whose word is w, into BARE.
func (q *Queue) strip(i, w uint64) bool {
	return atomic.CompareAndSwapUint64(&q.slots[i], w, withState(w, stateBare))
}

// recover finishes, or forgets, what the journal says a dead owner was doing.
func (q *Queue) recover() {
	op := atomic.LoadUint64(q.journal(jOp))
	from, fromWord := atomic.LoadUint64(q.journal(jFrom)), atomic.LoadUint64(q.journal(jFromWord))
	to, toWord := atomic.LoadUint64(q.journal(jTo)), atomic.LoadUint64(q.journal(jToWord))
	block, r := atomic.LoadUint64(q.journal(jBlock)), atomic.LoadUint64(q.journal(jRecord))
	owner := atomic.LoadUint64(q.journal(jOwner))
	if from >= uint64(len(q.slots)) || to >= uint64(len(q.slots)) || r >= uint64(len(q.recT)) || block > q.blockMask {
		op = opNone // hostile bytes: nothing of ours
	}
	switch op {
	case opMove:
		if q.still(from, fromWord) {
			q.fill(to, toWord, block, stateEmpty, false)
		}
	case opTake:
		if q.still(from, fromWord) {
			q.setRecord(r, recLoan, owner, block, 0)
		} else {
			q.clearRecord(r)
		}
	case opPut:
		if !q.still(to, toWord) {
			q.clearRecord(r)
			q.freeOf(r)
		}
	case opCommit:
		if !q.still(to, toWord) {
			q.clearRecord(r)
		}
	case opEvict:
		if !q.still(from, fromWord+1<<q.lapShift) {
			q.clearRecord(r)
		}
	}
	q.end()
}
