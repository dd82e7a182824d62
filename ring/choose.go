package ring

import "sync/atomic"

// What a Select needs of a rendezvous beside the plain calls. A Select has several
// cases and takes one, so whoever meets it must have its consent.
//
//	receiving  it leaves a WANT, like any receiver. What is GIVEN to it, it takes (HELD)
//	           or declines (OFFER): only its own process does either.
//	sending    it leaves no OFFER, which anybody could take without asking. It looks
//	           for WANTs and gives. From then on it is bound by this one proposal: until
//	           the receiver has taken or declined it, or it has withdrawn it.
//
// A call that waits for the answer to its own proposal may be proposed to. So that a
// circle of such calls does not wait for ever, the younger of two proposals yields: the order of
// proposals is that of the channels' identities and the desks' indices, and whoever
// is given something by an earlier proposal than its own withdraws its own. In
// any circle there is an earliest proposal, and the one it was made to yields.
//
// A process that dies between two steps leaves a WANT or a GIVEN of a dead member, which
// the sweep settles as those of plain calls.

// contains says whether one of the tickets is for position c.
func contains(tickets []Ticket, c cursor) bool {
	for i := range tickets {
		if tickets[i].c == c {
			return true
		}
	}
	return false
}

// Give offers the desk's value to a receiver that waits, but to none of those: the
// caller's own wants. OK: the ticket is to be watched with Settled and Declined. Full: nobody waits.
func (d *Desk) Give(extent uint64, but []Ticket) (Ticket, Status) { return d.offer(extent, false, but) }

// Declined says that the receiver which the ticket's value was given to has not taken
// it: it is an offer now, which anybody may take until it is withdrawn.
func (q *Queue) Declined(t Ticket) bool {
	w := atomic.LoadUint64(&q.slots[t.c.idx])
	return q.ahead(w, t.c.lap) == 0 && w&stateMask == stateOffer
}

// Given says whether something has been given to the want, and the index of its desk.
func (q *Queue) Given(t Ticket) (desk uint64, given bool) {
	w := atomic.LoadUint64(&q.slots[t.c.idx])
	if q.ahead(w, t.c.lap) != 0 || w&stateMask != stateGiven || q.owner(w) != q.seat {
		return 0, false
	}
	return q.block(w), true
}

// Refuse ends a want for good: it is withdrawn, or what was given to it declined. In the
// latter case, false, the caller wakes senders and receivers.
func (q *Queue) Refuse(t Ticket) bool {
	for {
		w := atomic.LoadUint64(&q.slots[t.c.idx])
		switch {
		case q.ahead(w, t.c.lap) != 0 || q.owner(w) != q.seat:
			return true
		case w&stateMask == stateWant:
			if q.settle(t.c, w) {
				return true
			}
		case w&stateMask == stateGiven:
			n := withState(w, stateOffer) &^ (ownMask << q.ownShift)
			if atomic.CompareAndSwapUint64(&q.slots[t.c.idx], w, n) {
				return false
			}
		default:
			return true
		}
	}
}

// Wants says whether a receiver waits.
func (q *Queue) Wants() bool {
	for i := range q.slots {
		if atomic.LoadUint64(&q.slots[i])&stateMask == stateWant {
			return true
		}
	}
	return false
}

// Index is the number that Given tells the other side.
func (d *Desk) Index() uint64 { return uint64(d.idx) }

// Choosing counts the calls of this member that would give something to a want; n
// is 1 or -1.
func (q *Queue) Choosing(n int32) {
	if n > 0 {
		atomic.StoreUint32(u32(q.base, offEverChoosing), 1)
	}
	atomic.AddUint32(&q.seatT[q.seat].choosing, uint32(n))
}

// Chosen says whether a member may give something to a want that is left now.
func (q *Queue) Chosen() bool {
	if atomic.LoadUint32(u32(q.base, offEverChoosing)) == 0 {
		return false
	}
	for i := range q.seatT {
		if atomic.LoadUint64(&q.seatT[i].word)&SeatJoined != 0 && atomic.LoadUint32(&q.seatT[i].choosing) != 0 {
			return true
		}
	}
	return false
}

// MeetingState is a number that is another one after whatever happens at the rendezvous,
// but for a chance of 2⁻⁶⁴.
func (q *Queue) MeetingState() uint64 {
	h := uint64(14695981039346656037)
	for i := range q.slots {
		h = (h ^ atomic.LoadUint64(&q.slots[i])) * 1099511628211
	}
	return h
}
