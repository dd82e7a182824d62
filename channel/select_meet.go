package channel

import (
	"time"

	"github.com/shmchan/shmchan/futexsem"
	"github.com/shmchan/shmchan/ring"
)

// A rendezvous in a Select (ring/choose.go has the protocol; models/select.pml checks it, and models/README.md
// says in what the model goes beyond it).

// meet is one attempt at a case that receives. While the Select waits, it leaves a want.
func (s *selection) meet(c *selected) (ring.Status, error) {
	k := c.on.handle()
	if c.at == nil {
		h, st := k.meetNow(s.deflt >= 0)
		if st != ring.OK {
			return k.orPeerLost(st, ring.SeatSender), nil
		}
		defer k.leave()
		s.held = h
		return c.on.takeCase(&s.held, &c.Case)
	}
	if k.q.SPSC() {
		if st := k.claimSeat(ring.SeatReceiver); st != ring.OK {
			return st, nil
		}
	}
	h, st := c.at.want.meet(true)
	if st != ring.OK {
		return k.orPeerLost(st, ring.SeatSender), nil
	}
	s.held = h
	return c.on.takeCase(&s.held, &c.Case)
}

// orPeerLost is st, or with HangUp the end of the other side.
func (k *core) orPeerLost(st ring.Status, peer uint64) ring.Status {
	if !waits(st) || !k.hangUp || !k.enter() {
		return st
	}
	defer k.leave()
	k.watch.ensure(k)
	if k.peersLost(peer) {
		return statusPeerLost
	}
	return st
}

// meetNow is meetOnce, for a call that does not wait but must not miss a Select which
// would send: if ask, it leaves a want for a moment. With OK the caller is inside.
func (k *core) meetNow(ask bool) (ring.Held, ring.Status) {
	h, st := k.meetOnce()
	if st != ring.Empty || !ask || !k.enter() {
		return h, st
	}
	if !k.q.Chosen() {
		k.leave()
		return h, st
	}
	w := want{k: k}
	until := time.Now().Add(giveTime)
	for n := 0; st == ring.Empty && k.q.Chosen() && !k.detached.Load(); n++ {
		if n > 0 {
			pause(n)
		}
		if n > 200 {
			time.Sleep(20 * time.Microsecond)
		}
		if n&63 == 63 && time.Now().After(until) {
			break
		}
		h, st = w.meet(true)
	}
	if st == ring.Empty && w.made && !k.q.Withdraw(w.ticket) {
		h, st = k.q.Got(w.ticket) // given just now
		if st == ring.Busy {
			st = ring.Empty
		}
	}
	if st != ring.OK {
		k.leave()
	}
	return h, st
}

// propose is one attempt at a case that sends: it gives the value to a receiver that waits, if there is one, and
// waits for its answer. Until then the Select is bound; if it is given something itself
// meanwhile, by an earlier proposal, it withdraws its own.
func (s *selection) propose(c *selected) (ring.Status, error) {
	k := c.on.handle()
	if !k.enter() {
		return statusDetached, nil
	}
	defer k.leave()
	switch {
	case k.q.IsClosed():
		return ring.Closed, nil
	case !k.q.Wants():
		return k.orPeerLost(ring.Full, ring.SeatReceiver), nil
	}
	o, st, err := k.openOffer(never, false)
	if err != nil || st != ring.OK {
		return st, err
	}
	out := c.on.outgoingOf(&c.Case)
	if st = o.room(len(out.data)); st != ring.OK {
		o.close(false)
		return st, nil
	}
	o.fill(out)
	o.ticket, st = o.d.Give(o.extent, s.ownWants(k))
	if st != ring.OK {
		o.close(true)
		return st, nil
	}
	if ring.Attention(k.q.RecvEvent()) {
		k.notifyRecv()
	}
	return s.answer(&o), nil
}

// ownWants are the Select's wants on the channel of k: it does not meet itself.
func (s *selection) ownWants(k *core) []ring.Ticket {
	s.but = s.but[:0]
	for i := range s.places {
		if p := &s.places[i]; p.want.made && p.k.id == k.id {
			s.but = append(s.but, p.want.ticket)
		}
	}
	return s.but
}

// How long a proposal stands while the receiver does not run (it is stopped, or has no CPU): at
// first, and in the end. Then others are tried.
const (
	proposalLeast = time.Millisecond
	proposalMost  = giveTime
)

// answer waits until the receiver has taken the value, OK, or the proposal is off: Full or Closed.
func (s *selection) answer(o *offer) ring.Status {
	k := o.k
	until := time.Now().Add(min(proposalMost, proposalLeast<<min(s.patient, 10)))
	for n := 0; !k.q.Settled(o.ticket); n++ {
		off := ring.OK
		switch {
		case k.q.IsClosed():
			off = ring.Closed
		case k.q.Declined(o.ticket), s.yields(o), s.interrupted() != nil, k.detached.Load():
			off = ring.Full
		case n&15 == 15 && time.Now().After(until):
			off = ring.Full
			s.patient++
		}
		if off != ring.OK {
			if k.q.Withdraw(o.ticket) {
				o.close(true)
				return off
			}
			// A receiver has it in hand, so nothing else will be chosen, unless it fails:
			// those who wait for this Select need not.
			s.refuseAll()
			if !o.finish(s.ctx) {
				return ring.Full
			}
			break
		}
		if n < answerSpins || s.w == nil {
			pause(n)
		} else {
			s.sleepBound(o, time.Until(until))
		}
	}
	o.close(true)
	return ring.OK
}

const answerSpins = 100

// yields says whether something was given to the Select by an earlier proposal than o.
func (s *selection) yields(o *offer) bool {
	for i := range s.places {
		p := &s.places[i]
		if !p.want.made {
			continue
		}
		desk, given := p.k.q.Given(p.want.ticket)
		if given && earlier(p.k.id, desk, o.k.id, o.d.Index()) {
			return true
		}
	}
	return false
}

// earlier is the order of proposals.
func earlier(a [2]uint64, deskA uint64, b [2]uint64, deskB uint64) bool {
	switch {
	case a[0] != b[0]:
		return a[0] < b[0]
	case a[1] != b[1]:
		return a[1] < b[1]
	}
	return deskA < deskB
}

// sleepBound sleeps until the answer to o may have come, or something was given to the Select.
func (s *selection) sleepBound(o *offer, timeout time.Duration) {
	if timeout <= 0 {
		return
	}
	s.stale, s.words = true, s.words[:0]
	add := func(event *uint32) {
		s.words = append(s.words, futexsem.Word{Addr: event, Val: ring.PrepareWait(event)})
	}
	add(o.k.q.SendEvent())
	for i := range s.places {
		p := &s.places[i]
		p.side.handOn(&p.place) // nobody is to wait for this
		if p.want.made {
			add(p.event)
		}
	}
	if !o.answered() && !s.yields(o) {
		s.w.Sleep(s.words, timeout)
	}
}

// answered says whether the receiver that the value was given to has taken or declined it.
func (o *offer) answered() bool { return o.k.q.Settled(o.ticket) || o.k.q.Declined(o.ticket) }

// refuseAll takes back the Select's wants.
func (s *selection) refuseAll() {
	for i := range s.places {
		s.places[i].refuse()
	}
}

// give ends what a place has left in a rendezvous: its want, with what was given to it.
func (p *sidePlace) give() {
	if !p.k.kind.meeting() {
		return
	}
	if p.send {
		p.k.q.Choosing(-1)
		return
	}
	p.refuse()
}

// refuse takes back the want, or declines what was given to it.
func (p *sidePlace) refuse() {
	if p.want.made && !p.k.q.Refuse(p.want.ticket) {
		p.k.notifyRecv()
		p.k.notifySend()
	}
	p.want.made = false
}
