package ring

import (
	"sync/atomic"
)

// The rendezvous: a dual queue (Scherer & Scott, "Nonblocking Concurrent Data
// Structures with Condition Synchronization", DISC 2004) on a ring of slots.
// What waits in it is either offers of senders or wants of receivers.
//
//	EMPTY → OFFER(desk)             a sender finds no want, and waits
//	OFFER → HELD(receiver) → EMPTY  a receiver takes it: copies, then settles
//	EMPTY → WANT(receiver)          a receiver finds no offer, and waits
//	WANT → GIVEN(desk) → HELD → …   a sender meets a want
//	OFFER, WANT, GIVEN → EMPTY      withdrawn
//	GIVEN → OFFER                   declined: the receiver has taken something else (choose.go)
//	HELD → OFFER                    the receiver failed or died
//
// Each arrow is one CAS. EMPTY is of the next lap, so a settled position is
// recognised for ever. The value stays in the sender's desk until the slot is
// settled: a Send returns only after its receiver has the value. Positions are
// filled in order; they may be settled in any.
//
//	M1  Who enqueues at the tail has seen every unsettled position before it, and
//	    none was of the other kind. A new one can only appear at the tail, where
//	    the CAS would fail. (Two exceptions: HELD → OFFER, GIVEN → OFFER. Who does that
//	    wakes all receivers, and those that wait look for offers again.)
//	M2  At most `slots` positions are unsettled.
//	M3  C on the word at the tail closes the rendezvous, and keeps everybody from
//	    enqueueing. A sender that meets a want does not come to the tail: it looks at
//	    the header's word first, which is set before anyone is told of the closing.

// A Ticket is a position of the rendezvous where this process offered or asked.
type Ticket struct {
	c cursor
	w uint64
}

// seek walks the positions from the oldest unsettled one to the tail, and returns
// the first in the wanted state; found is false when it reaches the tail, whose
// slot's word is then w: EMPTY, or of the lap before when all slots are unsettled.
func (d *Desk) seek(state uint64) (c cursor, w uint64, found bool, st Status) {
	return d.seekBut(state, nil)
}

// seekBut is seek that passes over the positions of the tickets.
func (d *Desk) seekBut(state uint64, but []Ticket) (c cursor, w uint64, found bool, st Status) {
	q := d.q
	front := true
	c = d.head
	for range 64 * q.Geometry.slots {
		w = atomic.LoadUint64(&q.slots[c.idx])
		a := q.ahead(w, c.lap)
		switch {
		case a > 0:
			if a > 2 {
				c.lap += uint64(a - 2) // M2
			}
			q.next(&c)
			if front {
				d.head = c
			}
			continue
		case a == 0 && w&stateMask == state && !contains(but, c):
			return c, w, true, OK
		case a == 0 && w&stateMask == stateEmpty, a == -1 && w&stateMask > stateBare:
			return c, w, false, OK
		case a < 0 || w&stateMask < stateHeld:
			return c, w, false, Corrupt
		}
		front = false
		q.next(&c)
	}
	return c, w, false, Corrupt
}

// Offer offers the desk's value: to a receiver that waits, else, if wait is set,
// to whoever comes. OK: the ticket is to be watched with Settled. Full: nobody
// waits (or, with wait, all slots are in use). Closed, Corrupt.
func (d *Desk) Offer(extent uint64, wait bool) (Ticket, Status) { return d.offer(extent, wait, nil) }

// offer passes over the wants of those tickets.
func (d *Desk) offer(extent uint64, wait bool, but []Ticket) (Ticket, Status) {
	q := d.q
	if q.Packed() {
		atomic.StoreUint64(&q.deskT[d.idx].priv, extent)
	}
	for range q.patience {
		c, w, found, st := d.seekBut(stateWant, but)
		if st != OK {
			return Ticket{}, st
		}
		if found {
			if q.IsClosed() {
				return Ticket{}, Closed // M3
			}
			n := w&^(q.blockMask<<blockShift|stateMask) | uint64(d.idx)<<blockShift | stateGiven
			q.race.sending(0)
			if atomic.CompareAndSwapUint64(&q.slots[c.idx], w, n) {
				return Ticket{c, n}, OK
			}
			continue
		}
		switch {
		case w&flagC != 0:
			return Ticket{}, q.tellClosed()
		case !wait || w&stateMask != stateEmpty:
			return Ticket{}, Full
		}
		n := w&^(q.blockMask<<blockShift|stateMask) | uint64(d.idx)<<blockShift | stateOffer
		q.race.sending(0)
		if atomic.CompareAndSwapUint64(&q.slots[c.idx], w, n) {
			return Ticket{c, n}, OK
		}
	}
	return Ticket{}, Corrupt
}

// Settled says whether a receiver has the value of the ticket.
func (q *Queue) Settled(t Ticket) bool {
	w := atomic.LoadUint64(&q.slots[t.c.idx])
	if q.ahead(w, t.c.lap) == 0 {
		return false
	}
	q.race.given(0)
	return true
}

// Withdraw takes the ticket back, an offer or a want. It returns false when the
// other side was faster: then it is settled, or will be without more ado.
func (q *Queue) Withdraw(t Ticket) bool {
	for {
		w := atomic.LoadUint64(&q.slots[t.c.idx])
		if q.ahead(w, t.c.lap) != 0 || w&stateMask == stateHeld {
			return false
		}
		if w&stateMask == stateGiven && t.w&stateMask == stateWant {
			return false
		}
		if q.settle(t.c, w) {
			return true
		}
	}
}

// settle makes the slot EMPTY for the next lap.
func (q *Queue) settle(c cursor, w uint64) bool {
	n := w&^(q.blockMask<<blockShift|ownMask<<q.ownShift|stateMask) | stateEmpty
	return atomic.CompareAndSwapUint64(&q.slots[c.idx], w, n+1<<q.lapShift)
}

// Meet takes the oldest offer. OK, Empty, Closed or Corrupt.
func (d *Desk) Meet() (Held, Status) {
	for range d.q.patience {
		c, w, found, st := d.seek(stateOffer)
		if st != OK {
			return Held{}, st
		}
		if !found {
			return Held{}, d.noOffer(w)
		}
		if h, st := d.q.meet(c, w); st != Empty {
			return h, st
		}
	}
	return Held{}, Corrupt
}

// noOffer is asked when no offer waits; w is the word at the tail. After Close
// an offer that is held may still come back.
func (d *Desk) noOffer(w uint64) Status {
	q := d.q
	if w&flagC == 0 {
		return Empty
	}
	for i := range q.slots {
		if st := atomic.LoadUint64(&q.slots[i]) & stateMask; st == stateHeld {
			return Empty
		}
	}
	q.race.ended()
	return q.tellClosed()
}

// tellClosed is Closed. Whoever is told so must find that later senders are told
// the same (M3).
func (q *Queue) tellClosed() Status {
	atomic.StoreUint32(u32(q.base, offClosed), 1)
	return Closed
}

// meet turns an offer, or what was given to us, into a hold. Empty: too late.
func (q *Queue) meet(c cursor, w uint64) (Held, Status) {
	n := w&^(ownMask<<q.ownShift|stateMask) | uint64(q.seat)<<q.ownShift | stateHeld
	if !atomic.CompareAndSwapUint64(&q.slots[c.idx], w, n) {
		return Held{}, Empty
	}
	h := Held{c: c, w: n, rec: -1}
	if w&stateMask == stateOffer && q.IsClosed() {
		// Close came first (M3): the offer is dead, its sender will be told.
		q.GiveBack(&h)
		return Held{}, Closed
	}
	q.race.received(0)
	desk := q.block(w)
	if desk >= uint64(len(q.deskT)) {
		return h, Corrupt
	}
	if !q.Packed() {
		h.Data, h.Size = q.blockAt(desk), int(q.Elem)
		return h, OK
	}
	var ok bool
	h.Data, h.Size, ok = q.extent(atomic.LoadUint64(&q.deskT[desk].priv))
	if !ok {
		return h, Corrupt
	}
	return h, OK
}

// Want asks for a value where no offer waits. OK: the ticket is to be watched with
// Got. Busy: an offer is there, Meet it. Full: all slots are in use. Closed.
func (d *Desk) Want() (Ticket, Status) {
	q := d.q
	for range q.patience {
		c, w, found, st := d.seek(stateOffer)
		switch {
		case st != OK:
			return Ticket{}, st
		case found:
			return Ticket{}, Busy
		case w&flagC != 0:
			if st := d.noOffer(w); st == Closed {
				return Ticket{}, st
			}
			return Ticket{}, Full
		case w&stateMask != stateEmpty:
			return Ticket{}, Full
		}
		n := withState(w, stateWant) | uint64(q.seat)<<q.ownShift
		if atomic.CompareAndSwapUint64(&q.slots[c.idx], w, n) {
			return Ticket{c, n}, OK
		}
	}
	return Ticket{}, Corrupt
}

// Got looks at a want: OK with the value held, Empty while nobody came, Busy
// when the sender that came withdrew (ask again), Corrupt.
func (q *Queue) Got(t Ticket) (Held, Status) {
	w := atomic.LoadUint64(&q.slots[t.c.idx])
	switch {
	case q.ahead(w, t.c.lap) != 0:
		return Held{}, Busy
	case w&stateMask == stateWant:
		return Held{}, Empty
	case w&stateMask != stateGiven || q.owner(w) != q.seat:
		return Held{}, Busy
	}
	h, st := q.meet(t.c, w)
	if st == Empty {
		return h, Busy
	}
	return h, st
}

// Settle ends a hold: the value is taken, its sender may go on.
func (q *Queue) Settle(h *Held) Status {
	q.race.freeing(0)
	for _, w := range [...]uint64{h.w, h.w | flagC} {
		if q.settle(h.c, w) {
			return OK
		}
	}
	return Corrupt
}

// GiveBack ends a hold the other way: the value is offered again.
func (q *Queue) GiveBack(h *Held) Status {
	for _, w := range [...]uint64{h.w, h.w | flagC} {
		if atomic.CompareAndSwapUint64(&q.slots[h.c.idx], w, withState(w, stateOffer)&^(ownMask<<q.ownShift)) {
			atomic.AddUint64(u64(q.base, offRedeliver), 1)
			return OK
		}
	}
	return Corrupt
}

// Offered counts the offers that wait and that are held.
func (q *Queue) Offered() int {
	n := 0
	for i := range q.slots {
		if st := atomic.LoadUint64(&q.slots[i]) & stateMask; st == stateOffer || st == stateHeld || st == stateGiven {
			n++
		}
	}
	return n
}

// CloseMeeting closes the rendezvous. Closed when it was closed already.
func (d *Desk) CloseMeeting() Status {
	q := d.q
	for range q.patience {
		c, w, _, st := d.seek(stateMask + 1) // no state: to the tail
		if st != OK {
			return st
		}
		if w&flagC != 0 {
			return q.tellClosed()
		}
		q.race.closing()
		if atomic.CompareAndSwapUint64(&q.slots[c.idx], w, w|flagC) {
			q.tellClosed()
			return OK
		}
	}
	return Corrupt
}

// sweepMeeting settles what a dead member had offered, asked for or held. It
// returns false when a living receiver is still copying what the dead offered:
// then the dead one's desk must wait for the next sweep.
func (q *Queue) sweepMeeting(s int) bool {
	done := true
	for i := range q.slots {
		for {
			w := atomic.LoadUint64(&q.slots[i])
			c := cursor{w >> q.lapShift, uint64(i)}
			desk := q.block(w)
			theirs := false // is the sender of this member?
			if desk < uint64(len(q.deskT)) {
				theirs = ownerSeat(atomic.LoadUint64(&q.deskT[desk].owner)) == s
			}
			ours := q.owner(w) == s
			switch w & stateMask {
			case stateWant:
				if ours && !q.settle(c, w) {
					continue
				}
			case stateOffer:
				if theirs && !q.settle(c, w) {
					continue
				}
			case stateGiven, stateHeld:
				switch {
				case theirs && (ours || w&stateMask == stateGiven):
					// Nobody copies it: its receiver is gone, or asks again.
					if !q.settle(c, w) {
						continue
					}
				case ours:
					n := withState(w, stateOffer) &^ (ownMask << q.ownShift)
					if !atomic.CompareAndSwapUint64(&q.slots[i], w, n) {
						continue
					}
				case theirs:
					done = false
				}
			}
			break
		}
	}
	return done
}

// Offers says whether an offer waits.
func (q *Queue) Offers() bool {
	for i := range q.slots {
		if atomic.LoadUint64(&q.slots[i])&stateMask == stateOffer {
			return true
		}
	}
	return false
}

// MeetingDesks is how many senders of one process may wait at once.
func (q *Queue) MeetingDesks() int { return min(MeetingSlots, len(q.deskT)) }
