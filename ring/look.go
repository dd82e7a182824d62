package ring

import "sync/atomic"

// Looking without taking, for those who only want to know whether a receive would
// find something: they leave every message where it is, and need no shared desk.

// Look says what a receive from a ring of many senders and receivers would find
// now: OK for a message, Empty, Closed (and drained) or Corrupt.
func (d *Desk) Look() Status {
	q := d.q
	if atomic.LoadUint32(u32(q.base, offReturned)) != 0 {
		return OK
	}
	for range q.patience {
		w := atomic.LoadUint64(&q.slots[d.head.idx]) // pairs with P
		if w&stateMask == stateFull && q.ahead(w, d.head.lap) == 0 {
			return OK
		}
		switch st := d.headSlow(w); st {
		case OK:
		case Busy: // a message that came back
			return OK
		default:
			return st
		}
	}
	return Corrupt
}

// LookMeeting is Look at a rendezvous: OK when a sender waits with an offer.
func (d *Desk) LookMeeting() Status {
	_, w, found, st := d.seek(stateOffer)
	if st != OK || found {
		return st
	}
	return d.noOffer(w)
}

// LookSPSC is Look at a ring of one sender and one receiver. It claims neither seat.
func (q *Queue) LookSPSC() Status {
	closing := q.Closing() // before the count: what is sent later does not count then
	n, st := q.LenSPSC()
	switch {
	case st != OK || n > 0:
		return st
	case closing:
		return Closed
	}
	return Empty
}
