package ring

import "sync/atomic"

// Members. A seat belongs to whoever holds the kernel's lock on it, which is the
// caller's affair (Env.Alive asks for it). The seat's word has an incarnation,
// raised by each new holder, and flags. A seat whose holder died keeps its flags
// until it was swept; only then are its marks on slots, desks and records gone
// and the seat may be used again.

// Seat flags, in the low byte of a seat's word.
const (
	SeatJoined   = 1
	SeatSender   = 2
	SeatReceiver = 4
	seatDirty    = 8  // the holder before was not swept yet
	SeatLeaving  = 16 // on its way out: counts as nobody
)

// Join makes the caller the member of that seat. The caller holds the kernel's
// lock on it. pid, start and ns tell others what to watch.
func (q *Queue) Join(seat int, pid uint32, start, ns uint64) bool {
	e := &q.seatT[seat]
	old := atomic.LoadUint64(&e.word)
	q.seat, q.inc = seat, (old>>8+1)&(1<<48-1)
	atomic.StoreUint64(&e.word, q.inc<<8|seatDirty)
	atomic.StoreUint32(&e.pid, pid)
	atomic.StoreUint64(&e.start, start)
	atomic.StoreUint64(&e.nsInode, ns)
	if old&0xff != 0 {
		q.acquire()
		done := q.sweepSeat(seat)
		q.release()
		if !done {
			q.seat = -1
			return false
		}
	}
	atomic.StoreUint64(&e.word, q.inc<<8|SeatJoined)
	atomic.AddUint32(u32(q.base, offMembers), 1)
	return true
}

// Leave gives the seat back. Nothing of this member may be under way.
func (q *Queue) Leave() {
	me := deskOwner(q.seat, q.inc)
	for i := range q.deskT {
		atomic.CompareAndSwapUint64(&q.deskT[i].owner, me, 0)
	}
	for _, off := range [...]uintptr{offSenderSeat, offRecvSeat} {
		atomic.CompareAndSwapUint64(u64(q.base, off), me, 0)
	}
	atomic.StoreUint32(&q.seatT[q.seat].holds, 0)
	atomic.StoreUint32(&q.seatT[q.seat].choosing, 0)
	atomic.StoreUint64(&q.seatT[q.seat].word, q.inc<<8)
	atomic.AddUint32(u32(q.base, offMembers), 1)
}

// Became adds a flag to this member's seat: SeatSender or SeatReceiver.
func (q *Queue) Became(flag uint64) {
	e := &q.seatT[q.seat]
	atomic.StoreUint64(&e.word, atomic.LoadUint64(&e.word)|flag)
	off := uintptr(offEverSent)
	if flag == SeatReceiver {
		off = offEverRecv
	}
	atomic.StoreUint32(u32(q.base, off), 1)
	atomic.AddUint32(u32(q.base, offMembers), 1)
}

// Leaving says that this member goes: it is no sender or receiver any more, though
// calls of its own may still be under way.
func (q *Queue) Leaving() {
	atomic.StoreUint64(&q.seatT[q.seat].word, q.inc<<8|SeatLeaving)
	atomic.AddUint32(u32(q.base, offMembers), 1)
}

// Ever says whether there has ever been a sender, or a receiver.
func (q *Queue) Ever(flag uint64) bool {
	if flag == SeatReceiver {
		return atomic.LoadUint32(u32(q.base, offEverRecv)) != 0
	}
	return atomic.LoadUint32(u32(q.base, offEverSent)) != 0
}

// Member is what a seat says of its holder. Only Alive is proven.
type Member struct {
	Seat      int
	Flags     uint64
	PID       uint32
	Start, NS uint64
	inc       uint64
}

// Members lists the seats that are taken, dead holders included.
func (q *Queue) Members() []Member {
	var ms []Member
	for i := range q.seatT {
		e := &q.seatT[i]
		w := atomic.LoadUint64(&e.word)
		if w&0xff == 0 {
			continue
		}
		ms = append(ms, Member{
			Seat: i, Flags: w & 0xff, inc: w >> 8, PID: atomic.LoadUint32(&e.pid),
			Start: atomic.LoadUint64(&e.start), NS: atomic.LoadUint64(&e.nsInode),
		})
	}
	return ms
}

// Sweep clears up after all dead members, and says how many there were, with those
// that must be swept again later. The caller then wakes everybody, since what the
// dead held up may go on.
func (q *Queue) Sweep() int {
	n := 0
	if q.seat < 0 {
		return n // the lock needs the name of a member
	}
	for _, m := range q.Members() {
		if m.Seat == q.seat || q.env.Alive(m.Seat) {
			continue
		}
		q.acquire()
		w := m.inc<<8 | m.Flags
		e := &q.seatT[m.Seat]
		// A new holder may have come meanwhile: it sweeps for itself. One that
		// comes during the sweep waits for the lock and does it again.
		if atomic.LoadUint64(&e.word) == w && !q.env.Alive(m.Seat) {
			if !q.sweepSeat(m.Seat) || atomic.CompareAndSwapUint64(&e.word, w, m.inc<<8) {
				n++
			}
		}
		q.release()
	}
	if n > 0 {
		atomic.AddUint32(u32(q.base, offMembers), 1)
	}
	return n
}

// sweepSeat takes back all that the seat's dead holders had. Under the lock.
// Every step may be repeated. It returns false when something must wait.
func (q *Queue) sweepSeat(s int) bool {
	d := q.NewDesk()
	var done bool
	if q.Meeting() {
		done = q.sweepMeeting(s)
	} else {
		done = q.sweepSlots(s)
		for i := range q.recT {
			w := atomic.LoadUint64(&q.recT[i].word)
			if ownerSeat(recOwner(w)) == s && recState(w) == recLoan {
				q.put(d, uint64(i))
			}
		}
		q.giveBackEvicted(s)
	}
	for i := range q.deskT {
		if o := atomic.LoadUint64(&q.deskT[i].owner); done && o != 0 && ownerSeat(o) == s {
			q.sweepDesk(i)
		}
	}
	if done && q.unitW != nil {
		q.sweepSpace(s)
	}
	for _, off := range [...]uintptr{offSenderSeat, offRecvSeat} {
		p := u64(q.base, off)
		if o := atomic.LoadUint64(p); o != 0 && ownerSeat(o) == s {
			atomic.CompareAndSwapUint64(p, o, 0)
		}
	}
	if q.SPSC() && atomic.SwapUint32(&q.seatT[s].holds, 0) != 0 {
		q.Again() // it died in RecvFunc; the message stands where it stood
	}
	atomic.StoreUint32(&q.seatT[s].holds, 0)
	atomic.StoreUint32(&q.seatT[s].choosing, 0)
	q.recount()
	return done
}

// sweepSlots makes the messages that a dead receiver was taking returned ones,
// unless it had got as far as to free them. False: records ran out.
func (q *Queue) sweepSlots(s int) bool {
	for i := range q.slots {
		for w := atomic.LoadUint64(&q.slots[i]); w&stateMask == stateHeld && q.owner(w) == s; w = atomic.LoadUint64(&q.slots[i]) {
			if q.evict(uint64(i), w, true) != OK {
				return false
			}
			q.giveBackEvicted(s)
		}
	}
	return true
}

// giveBackEvicted makes the dead member's records of holds returned messages.
func (q *Queue) giveBackEvicted(s int) {
	for i := range q.recT {
		w := atomic.LoadUint64(&q.recT[i].word)
		if ownerSeat(recOwner(w)) == s && recState(w) == recHold {
			q.giveBack(uint64(i))
		}
	}
}

// sweepDesk puts the private block of a dead sender's desk right, and frees the
// extent that a dead receiver had taken.
//
// The desk says priv and next. Either the exchange CAS of publish happened, then
// priv is in circulation and next is the desk's; or it did not, then priv is. It
// happened if priv is found in a slot or in a record, or if another desk has seen
// it in a slot since, or if owners[priv] names another desk: whoever acquires a
// block announces it as its next before the CAS, and writes owners before it
// gives anything away again. So looking at slots first, desks second and owners
// last cannot miss it, wherever it moves meanwhile. (Records do not change: this
// is under the lock.)
//
// What another desk announced proves something only if it saw the block at a
// younger position than the one at which this desk was about to give it away:
// an older announcement may be one whose CAS failed because *this* desk acquired
// the block, and may stand there as long as its holder is stopped. For the same
// reason another desk's priv proves nothing: its holder may have given the block
// away and not have said so yet.
func (q *Queue) sweepDesk(i int) {
	e := &q.deskT[i]
	priv, next := atomic.LoadUint64(&e.priv), atomic.LoadUint64(&e.next)
	switch {
	case q.unitW != nil:
		q.sweepFreeing(i)
	case q.Meeting() || priv == next:
	case priv >= q.blocks || next >= q.blocks:
	case q.circulates(i, priv):
		atomic.StoreUint64(&e.priv, next)
	default:
		atomic.StoreUint64(&e.next, priv)
	}
	if !q.Packed() && q.owners != nil {
		if b := atomic.LoadUint64(&e.priv); b < q.blocks {
			atomic.StoreUint32(&q.owners[b], uint32(i)+1)
			atomic.StoreUint64(&e.next, b)
		}
	}
	atomic.StoreUint64(&e.owner, 0)
}

func (q *Queue) circulates(desk int, block uint64) bool {
	for i := range q.slots {
		w := atomic.LoadUint64(&q.slots[i])
		if st := w & stateMask; q.block(w) == block && (st == stateEmpty || st == stateFull || st == stateHeld) {
			return true
		}
	}
	given := atomic.LoadUint64(&q.deskT[desk].nextPos)
	for j := range q.deskT {
		e := &q.deskT[j]
		// nextPos is written after next and read before it: a pair that is read
		// while a new one is written is the old one, or older by its position.
		if pos := atomic.LoadUint64(&e.nextPos); j != desk && pos > given && atomic.LoadUint64(&e.next) == block {
			return true
		}
	}
	for j := range q.recT {
		if e := &q.recT[j]; recState(atomic.LoadUint64(&e.word)) != recFree && atomic.LoadUint64(&e.block) == block {
			return true
		}
	}
	return atomic.LoadUint32(&q.owners[block]) != uint32(desk)+1
}

// sweepFreeing frees the extent of a message that the dead had taken, or wanted to
// take: its slot has left that lap, and no record remembers the message. Should
// somebody else have taken it, that one has read it and frees the same extent.
func (q *Queue) sweepFreeing(desk int) {
	e := &q.deskT[desk]
	tag := atomic.LoadUint64(&e.freePos)
	if tag == 0 {
		return
	}
	c := q.at(tag - 1)
	u := atomic.LoadUint64(&e.freeUnit)
	w := atomic.LoadUint64(&q.slots[c.idx])
	taken := q.ahead(w, c.lap) > 0
	for j := range q.recT {
		r := &q.recT[j]
		if recState(atomic.LoadUint64(&r.word)) != recFree && atomic.LoadUint64(&r.block) == u &&
			atomic.LoadUint64(&r.unit) == atomic.LoadUint64(&e.freeWord) {
			taken = false
		}
	}
	if taken {
		q.freeExtent(u, atomic.LoadUint64(&e.freeWord))
	}
	atomic.StoreUint64(&e.freePos, 0)
}

// sweepSpace frees the extents that a dead member allocated and nobody refers
// to: only it could have published them.
func (q *Queue) sweepSpace(s int) {
	refs := make(map[uint64]bool)
	// In a rendezvous an extent stays its sender's, all of whose offers are settled.
	for i := range q.slots {
		w := atomic.LoadUint64(&q.slots[i])
		if st := w & stateMask; !q.Meeting() && (st == stateFull || st == stateHeld) {
			refs[q.block(w)] = true
		}
	}
	for i := range q.recT {
		if recState(atomic.LoadUint64(&q.recT[i].word)) != recFree {
			refs[atomic.LoadUint64(&q.recT[i].block)] = true
		}
	}
	v := atomic.LoadUint64(u64(q.base, offSpaceHead))
	for range q.units {
		u := v % q.units
		w := atomic.LoadUint64(&q.unitW[u])
		n, a := q.unitLen(w), q.unitAhead(w, v/q.units)
		if h := atomic.LoadUint64(u64(q.base, offSpaceHead)); a > 0 && h > v {
			v = h // overtaken: what lies before was free
			continue
		}
		if a != 0 && a != 1 || n == 0 || n > q.units-u {
			return // the end of the chain
		}
		if unitInUse(w) && unitOwner(w) == s && !refs[u] {
			q.freeExtent(u, q.extentOf(u, w))
		}
		v += n
	}
}
