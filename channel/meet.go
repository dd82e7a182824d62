package channel

import (
	"context"
	"time"

	"github.com/shmchan/shmchan/ring"
)

// The rendezvous (capacity 0): a sender puts its value into a desk and offers the
// desk; it waits until a receiver has settled with it. See ring/meeting.go.

// outgoing is a value on its way: the bytes of an element, or an encoded message,
// or, for a loan, nothing, because it is in the desk already.
type outgoing struct {
	elem, data []byte
}

// An offer is a desk with a value in it.
type offer struct {
	k      *core
	d      *ring.Desk
	extent uint64
	ticket ring.Ticket
	made   bool // ticket is valid
}

// openOffer takes a desk, for Send (wait: as long as it takes) or TrySend.
func (k *core) openOffer(ctx context.Context, wait bool) (o offer, st ring.Status, err error) {
	if k.q.SPSC() {
		if st := k.claimSeat(ring.SeatSender); st != ring.OK {
			return o, st, nil
		}
	}
	for {
		if st, err := k.takeToken(ctx, k.meetDesks, wait); st != ring.OK || err != nil {
			return o, st, err
		}
		d, st := k.deskOnce(&k.sendDesks, ring.SeatSender, true)
		if d != nil {
			return offer{k: k, d: d}, ring.OK, nil
		}
		<-k.meetDesks
		if st != ring.OK {
			return o, st, nil
		}
		if !wait {
			return o, ring.Full, nil
		}
		// All shared desks are at work in other processes.
		time.Sleep(time.Millisecond)
		if st, err := k.interrupted(ctx); st != ring.OK || err != nil {
			return o, st, err
		}
	}
}

// room gets an extent for size bytes, if the channel is packed.
func (o *offer) room(size int) ring.Status {
	if !o.k.q.Packed() {
		return ring.OK
	}
	u, st := o.d.Alloc(size)
	o.extent = u
	return st
}

// fill writes the value into the desk.
func (o *offer) fill(out outgoing) {
	if o.k.q.Packed() {
		copy(o.k.q.Extent(o.extent, len(out.data)), out.data)
		o.d.Written(o.extent, len(out.data))
		return
	}
	copy(blockBytes(o.d.Block(), o.k.q.Elem), out.elem)
}

// close gives the desk back. The offer is not in the ring any more.
func (o *offer) close(hasExtent bool) {
	if hasExtent && o.k.q.Packed() {
		o.k.q.Release(o.extent)
		if ring.Attention(o.k.q.SendEvent()) {
			o.k.notifySend()
		}
	}
	o.d.Unlock()
	<-o.k.meetDesks
}

// meetSend sends on a rendezvous.
func (k *core) meetSend(ctx context.Context, op string, out outgoing, wait bool) error {
	if !k.enter() {
		return opError(op, k.name, ErrDetached)
	}
	defer k.leave()
	o, st, err := k.openOffer(ctx, wait)
	if err != nil || st != ring.OK {
		return opError(op, k.name, orStatus(err, st))
	}
	get := func() ring.Status {
		if k.q.IsClosed() {
			return ring.Closed
		}
		return o.room(len(out.data))
	}
	if st = get(); waits(st) && wait {
		st, err = k.blockMeet(ctx, true, get)
	}
	if err != nil || st != ring.OK {
		o.close(false)
		return opError(op, k.name, orStatus(err, st))
	}
	o.fill(out)
	st, err = o.bring(ctx, wait)
	return opError(op, k.name, orStatus(err, st))
}

func orStatus(err error, st ring.Status) error {
	if err != nil || st == ring.OK {
		return err
	}
	return failure(st, ErrFull, ErrEmpty)
}

// bring offers the desk's value and waits until a receiver has it. The offer is
// closed afterwards.
func (o *offer) bring(ctx context.Context, wait bool) (ring.Status, error) {
	k := o.k
	attempt := func() ring.Status {
		if !o.made {
			if k.hangUp {
				k.watch.ensure(k)
				if k.peersLost(ring.SeatReceiver) {
					return statusPeerLost
				}
			}
			t, st := o.d.Offer(o.extent, wait)
			if st != ring.OK {
				return st
			}
			o.ticket, o.made = t, true
			if ring.Attention(k.q.RecvEvent()) {
				k.notifyRecv()
			}
		}
		switch {
		case k.q.Settled(o.ticket):
			return ring.OK
		case k.q.IsClosed() && k.q.Withdraw(o.ticket):
			o.made = false
			return ring.Closed
		case k.hangUp && k.peersLost(ring.SeatReceiver) && k.q.Withdraw(o.ticket):
			o.made = false
			return statusPeerLost
		}
		return ring.Full
	}
	st := attempt()
	var err error
	switch {
	case st == ring.Full && wait:
		if st = k.spinOn(ctx, &k.sendSide, attempt); waits(st) {
			st, err = k.blockMeet(ctx, true, attempt)
		}
	case st == ring.Full && o.made:
		st = o.tryBring()
	}
	if o.made && (err != nil || st != ring.OK) {
		if !k.q.Withdraw(o.ticket) {
			// A receiver has it in hand. That is sent, as soon as it is through.
			if o.finish(ctx) {
				o.close(true)
				return ring.OK, nil
			}
			return st, err
		}
	}
	o.close(true)
	return st, err
}

// giveTime is how long TrySend waits for a receiver that was asleep in Recv to
// run and take what it was given. A receiver that does not (it is stopped) loses
// the value again: its taking would fail.
const giveTime = 100 * time.Millisecond

// tryBring waits for the receiver that the value was given to.
func (o *offer) tryBring() ring.Status {
	k := o.k
	until := time.Now().Add(giveTime)
	for n := 0; !k.q.Settled(o.ticket); n++ {
		pause(n)
		declined := k.q.Declined(o.ticket)
		if declined || n&63 == 63 && (k.detached.Load() || time.Now().After(until)) {
			if !k.q.Withdraw(o.ticket) {
				continue
			}
			o.made = false
			if !declined {
				return ring.Full
			}
			// A Select that has chosen otherwise: is there another receiver?
			t, st := o.d.Offer(o.extent, false)
			if st != ring.OK {
				return st
			}
			o.ticket, o.made = t, true
			if ring.Attention(k.q.RecvEvent()) {
				k.notifyRecv()
			}
		}
	}
	return ring.OK
}

// handTime is how long a Send whose handle is detached waits for a receiver that
// has its value in hand: enough for a copy, not for a RecvFunc.
const handTime = 20 * time.Millisecond

// finish waits for a receiver that holds the value. After Detach it does so in
// the background, so that the call can return; false then: not known.
func (o *offer) finish(ctx context.Context) bool {
	k := o.k
	begin := time.Now()
	for n := 0; !k.q.Settled(o.ticket); n++ {
		if n > 200 {
			time.Sleep(100 * time.Microsecond)
		} else {
			pause(n)
		}
		if k.q.Settled(o.ticket) {
			return true
		}
		if k.q.Withdraw(o.ticket) { // it failed and gave it back
			o.close(true)
			return false
		}
		if k.detached.Load() && n > 200 && time.Since(begin) > handTime {
			k.users.Add(1)
			go func(o offer) {
				defer k.leave()
				for !k.q.Settled(o.ticket) && !k.q.Withdraw(o.ticket) {
					time.Sleep(time.Millisecond)
				}
				o.close(true)
			}(*o)
			return false
		}
	}
	return true
}

// claimSeat takes the SPSC seat of a rendezvous.
func (k *core) claimSeat(which uint64) ring.Status {
	if k.became.Load()&which != 0 {
		return ring.OK
	}
	k.mu.Lock()
	defer k.mu.Unlock()
	st := k.q.ClaimSeats(which)
	if st == ring.Busy {
		k.sweep() // or another process just has
		st = k.q.ClaimSeats(which)
	}
	return st
}

// blockMeet is block for the rendezvous, where each waiter waits for a slot of its
// own: whenever the leader wakes, all try.
func (k *core) blockMeet(ctx context.Context, send bool, attempt func() ring.Status) (ring.Status, error) {
	s, ev := &k.recvSide, k.q.RecvEvent()
	if send {
		s, ev = &k.sendSide, k.q.SendEvent()
	}
	w := getWaiter()
	defer idleWaiters.Put(w)
	defer w.endWith(ctx)()
	s.join(&w.place)
	defer s.quit(&w.place)
	for {
		leads, val := w.place.leads(), uint32(0)
		if leads {
			val = ring.PrepareWait(ev)
			s.rouse() // what changes from now on ends the leader's sleep
		}
		if st := attempt(); !waits(st) {
			return st, nil
		}
		if st, err := k.interrupted(ctx); st != ring.OK || err != nil {
			return st, err
		}
		if leads {
			k.sleepOn(ctx, w, s, ev, val)
		} else {
			w.Sleep(nil, -1)
		}
	}
}
