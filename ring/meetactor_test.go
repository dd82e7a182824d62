package ring

import (
	"fmt"
	"slices"
)

// offered is a value that waits in a desk for its rendezvous.
type offered struct {
	t Ticket
	d *Desk
	u uint64 // packed: its extent
	v uint64
}

// meet takes a step of a rendezvous.
func (a *actor) meet(s step) (Status, uint64) {
	q := a.q
	switch s.act {
	case actOffer, actGive:
		d := q.NewDesk()
		if st := d.Open(); st != OK {
			return NoSpace, 0 // no desk: everybody's are at work
		}
		t, u, st := offer(d, s.arg, s.act == actOffer)
		if st != OK {
			d.Shut()
			return st, 0
		}
		a.offers = append(a.offers, offered{t, d, u, s.arg})
		return OK, s.arg
	case actMeet, actGot:
		var h Held
		var st Status
		if s.act == actMeet {
			h, st = a.d.Meet()
		} else {
			h, st = q.Got(a.wants[s.arg])
			if st == OK || st == Busy {
				a.wants = slices.Delete(a.wants, int(s.arg), int(s.arg)+1)
			}
		}
		if st != OK {
			return st, 0
		}
		v := readHeld(q, &h)
		a.holds = append(a.holds, hold{h, v})
		return OK, v
	case actWant:
		t, st := a.d.Want()
		if st == OK {
			a.wants = append(a.wants, t)
		}
		return st, 0
	case actSettle, actGiveBack:
		h := a.holds[s.arg]
		a.holds = slices.Delete(a.holds, int(s.arg), int(s.arg)+1)
		if s.act == actSettle {
			return q.Settle(&h.h), h.v
		}
		return q.GiveBack(&h.h), h.v
	case actSettled, actWithdraw:
		o := a.offers[s.arg]
		over := q.Settled(o.t)
		if s.act == actWithdraw && !over {
			over = q.Withdraw(o.t)
		}
		if !over {
			return OK, 0
		}
		if q.Packed() {
			q.Release(o.u)
		}
		o.d.Shut()
		a.offers = slices.Delete(a.offers, int(s.arg), int(s.arg)+1)
		return OK, o.v
	case actUnwant:
		if !q.Withdraw(a.wants[s.arg]) {
			return Busy, 0
		}
		a.wants = slices.Delete(a.wants, int(s.arg), int(s.arg)+1)
		return OK, 0
	case actCloseMeeting:
		return a.d.CloseMeeting(), 0
	}
	panic(fmt.Sprint(s))
}

// values is what has become of the values of a rendezvous.
type values struct {
	offered map[uint64]int // by whom; not settled nor withdrawn
	held    map[uint64]int // by whom; still offered
}

func newValues() *values { return &values{make(map[uint64]int), make(map[uint64]int)} }

func (m *values) clone() *values {
	c := newValues()
	for v, who := range m.offered {
		c.offered[v] = who
	}
	for v, who := range m.held {
		c.held[v] = who
	}
	return c
}

// did notes a step, and says what cannot be.
func (m *values) did(who int, s step, st Status, v uint64) error {
	if st != OK {
		return nil
	}
	switch s.act {
	case actOffer, actGive:
		m.offered[v] = who
	case actMeet, actGot:
		if _, ok := m.offered[v]; !ok {
			return fmt.Errorf("%d:%v: %#x came, which nobody offers", who, s, v)
		}
		if by, ok := m.held[v]; ok {
			return fmt.Errorf("%d:%v: %#x came, which %d holds", who, s, v, by)
		}
		m.held[v] = who
	case actSettle:
		delete(m.held, v)
		delete(m.offered, v)
	case actGiveBack:
		delete(m.held, v)
	case actWithdraw:
		if by, ok := m.held[v]; ok && v != 0 {
			return fmt.Errorf("%d:%v: withdrawn, which %d holds", who, s, by)
		}
		delete(m.offered, v)
	case actSettled:
		if _, ok := m.offered[v]; ok && v != 0 {
			return fmt.Errorf("%d:%v: %#x settled, which nobody has taken", who, s, v)
		}
	}
	return nil
}

// died changes the values as the death of who, and the sweep after it, do.
func (m *values) died(who int) {
	for v, by := range m.held {
		if by == who {
			delete(m.held, v)
		}
	}
	for v, by := range m.offered {
		if _, held := m.held[v]; by == who && !held {
			delete(m.offered, v)
		}
	}
}

// chooseMeeting makes a step out of a number.
func chooseMeeting(n uint64, a, holds, offers, wants int, next uint64) step {
	pick := func(k int) uint64 { return (n / 16) % uint64(k) }
	switch n % 16 {
	case 0, 1:
		if offers < a {
			return step{actOffer, next}
		}
	case 2, 3:
		if offers < a {
			return step{actGive, next}
		}
	case 4, 5:
		return step{actMeet, 0}
	case 6, 7:
		if wants < a {
			return step{actWant, 0}
		}
	case 8, 9:
		if wants > 0 {
			return step{actGot, pick(wants)}
		}
	case 10, 11:
		if holds > 0 {
			return step{actSettle, pick(holds)}
		}
	case 12:
		if holds > 0 {
			return step{actGiveBack, pick(holds)}
		}
	case 13:
		if offers > 0 {
			return step{actWithdraw, pick(offers)}
		}
	case 14:
		if wants > 0 {
			return step{actUnwant, pick(wants)}
		}
	case 15:
		if offers > 0 {
			return step{actSettled, pick(offers)}
		}
	}
	return step{actMeet, 0}
}

// finishMeeting lets all processes end what they are at, and checks that every
// value that is offered still comes, once, that no other comes, that all are
// settled then, and that the rendezvous is as good as new. may is a value of which
// that is not known.
func finishMeeting(t tb, w *world, m *values, as []*actor, may uint64) {
	t.Helper()
	seen := make(map[uint64]bool)
	take := func(who int, v uint64) {
		t.Helper()
		if _, ok := m.offered[v]; !ok && v != may {
			t.Errorf("%#x came, which nobody offers", v)
		}
		if by, ok := m.held[v]; ok && by != who || seen[v] {
			t.Errorf("%#x came twice", v)
		}
		seen[v] = true
	}
	for _, a := range as {
		who := a.q.seat
		for len(a.wants) > 0 {
			switch st, v := a.do(step{actGot, 0}); st {
			case OK:
				take(who, v)
			case Empty:
				a.do(step{actUnwant, 0})
			case Busy:
			default:
				t.Errorf("got: status %d", st)
				return
			}
		}
		for len(a.holds) > 0 {
			seen[a.holds[0].v] = true
			if st, v := a.do(step{actSettle, 0}); st != OK {
				t.Errorf("settle %#x: status %d", v, st)
			}
		}
	}
	a := as[0]
	for {
		st, v := a.do(step{actMeet, 0})
		if st != OK {
			if st != Empty && st != Closed {
				t.Errorf("meet: status %d", st)
			}
			break
		}
		take(a.q.seat, v)
		if st, _ := a.do(step{actSettle, 0}); st != OK {
			t.Errorf("settle: status %d", st)
		}
	}
	for v, by := range m.offered { // Close ends the offers that wait
		if !seen[v] && v != may && !a.q.IsClosed() {
			t.Errorf("%#x, offered by %d, did not come", v, by)
		}
	}
	for _, a := range as {
		for len(a.offers) > 0 {
			s := step{actSettled, 0}
			if a.q.IsClosed() && !seen[a.offers[0].v] {
				s.act = actWithdraw
			}
			if st, v := a.do(s); st != OK || v == 0 {
				t.Errorf("%v: %#x is not settled", s, a.offers[0].v)
				return
			}
		}
	}
	a.q.Sweep() // desks whose values were being copied
	audit(t, w, nil)
	if a.q.IsClosed() {
		return
	}
	for n := range 3 {
		s, r := as[n%len(as)], as[(n+1)%len(as)]
		if st, _ := s.do(step{actGive, 5}); st != Full {
			t.Errorf("give: status %d", st)
		}
		if st, _ := r.do(step{actWant, 0}); st != OK {
			t.Errorf("want: status %d", st)
		}
		if st, _ := s.do(step{actGive, 6}); st != OK {
			t.Errorf("give: status %d", st)
		}
		if st, v := r.do(step{actGot, 0}); st != OK || v != 6 {
			t.Errorf("got: %#x, status %d", v, st)
		}
		if st, _ := r.do(step{actSettle, 0}); st != OK {
			t.Errorf("settle: status %d", st)
		}
		if st, v := s.do(step{actSettled, 0}); st != OK || v == 0 {
			t.Errorf("not settled: status %d", st)
		}
	}
	audit(t, w, nil)
}
