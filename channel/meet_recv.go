package channel

import (
	"context"

	"github.com/shmchan/shmchan/ring"
)

// The receivers of a rendezvous.

// getOther tries once to take what is encoded, or comes by a rendezvous.
func (c *Chan[T]) getOther(v *T) ring.Status {
	if !c.core.kind.meeting() {
		return c.getDecoded(v)
	}
	h, st := c.core.meetOnce()
	if st != ring.OK {
		return st
	}
	defer c.core.leave()
	return c.takeAny(&h, v)
}

// tryChosen asks the Selects that would send.
func (c *Chan[T]) tryChosen(v *T) ring.Status {
	h, st := c.core.meetNow(true)
	if st != ring.OK {
		return st
	}
	defer c.core.leave()
	return c.takeAny(&h, v)
}

// takeAny takes what is held, on a rendezvous.
func (c *Chan[T]) takeAny(h *ring.Held, v *T) ring.Status {
	if c.codec == nil {
		return c.takeElem(h, v)
	}
	return c.takeMet(h, v)
}

// A want is a receiver's place in the rendezvous.
type want struct {
	k      *core
	ticket ring.Ticket
	made   bool
}

// meet tries once to get hold of a value; with wait it leaves a want where there
// is none yet.
func (w *want) meet(wait bool) (ring.Held, ring.Status) {
	k := w.k
	d, st := k.recvDesk()
	if st != ring.OK {
		return ring.Held{}, st
	}
	defer d.Unlock()
	for {
		if w.made {
			h, st := k.q.Got(w.ticket)
			switch {
			case st == ring.Busy:
				w.made = false
				continue
			case st != ring.Empty:
				w.made = false
				k.gaveBack(st)
				return h, st
			case (k.q.Offers() || k.q.IsClosed()) && k.q.Withdraw(w.ticket):
				w.made = false
				continue
			}
			return h, ring.Empty
		}
		h, st := d.Meet()
		if st != ring.Empty || !wait {
			k.gaveBack(st)
			return h, st
		}
		if w.ticket, st = d.Want(); st == ring.OK {
			w.made = true
			if ring.Attention(k.q.SendEvent()) {
				k.notifySend()
			}
			return h, ring.Empty
		} else if st != ring.Busy {
			if st == ring.Full {
				st = ring.Empty
			}
			return h, st
		}
	}
}

// gaveBack wakes everybody after a look that has said Closed. It may have had a sender's offer in
// hand for an instant, and given it back: a sender who looked just then could not withdraw it, a
// receiver could not yet say that this is the end, and both sleep.
func (k *core) gaveBack(st ring.Status) {
	if st == ring.Closed {
		k.notifySend()
		k.notifyRecv()
	}
}

// settle ends a hold well, and lets the sender go on.
func (k *core) settle(h *ring.Held) ring.Status {
	st := k.q.Settle(h)
	if ring.Attention(k.q.SendEvent()) {
		k.notifySend()
	}
	if k.q.IsClosed() {
		k.notifyRecv()
	}
	return st
}

// meetOnce tries once to get hold of a value. With OK the caller is inside.
func (k *core) meetOnce() (ring.Held, ring.Status) {
	if !k.enter() {
		return ring.Held{}, statusDetached
	}
	if k.q.SPSC() {
		if st := k.claimSeat(ring.SeatReceiver); st != ring.OK {
			k.leave()
			return ring.Held{}, st
		}
	}
	w := want{k: k}
	h, st := w.meet(false)
	if st != ring.OK {
		k.leave()
	}
	return h, st
}

// takeElem copies an element out and settles.
func (c *Chan[T]) takeElem(h *ring.Held, v *T) ring.Status {
	loadElem(v, h.Data)
	return c.core.settle(h)
}

// takeMet decodes a message and settles.
func (c *Chan[T]) takeMet(h *ring.Held, v *T) ring.Status {
	k := c.core
	if c.raw {
		_ = c.codec.Decode(bytesOf(h), v)
		return k.settle(h)
	}
	private := append([]byte(nil), bytesOf(h)...)
	if st := k.settle(h); st != ring.OK {
		return st
	}
	return c.decode(private, v)
}

// meetWants is how many receivers of one handle may have left a want at once. The
// others wait for one of these to end: they would take the slots from other processes,
// and all who have one look whenever something changes.
const meetWants = ring.MeetingSlots / 2

// takeToken takes one of the tokens, and waits for one if it is told to, else Full. It is
// given back by receiving it.
func (k *core) takeToken(ctx context.Context, tokens chan struct{}, wait bool) (ring.Status, error) {
	select {
	case tokens <- struct{}{}:
		return ring.OK, nil
	default:
	}
	if !wait {
		return ring.Full, nil
	}
	var done <-chan struct{}
	if ctx != nil {
		done = ctx.Done()
	}
	select {
	case tokens <- struct{}{}:
		return ring.OK, nil
	case <-done:
		return ring.OK, ctx.Err()
	case <-k.gone:
		return statusDetached, nil
	}
}

// meetHold waits for a value on a rendezvous and holds it. The caller is inside.
func (k *core) meetHold(ctx context.Context) (ring.Held, ring.Status, error) {
	if k.q.SPSC() {
		if st := k.claimSeat(ring.SeatReceiver); st != ring.OK {
			return ring.Held{}, st, nil
		}
	}
	if st, err := k.takeToken(ctx, k.meetWants, true); err != nil || st != ring.OK {
		return ring.Held{}, st, err
	}
	defer func() { <-k.meetWants }()
	w := want{k: k}
	var h ring.Held
	attempt := func() ring.Status {
		var st ring.Status
		h, st = w.meet(true)
		if st == ring.Empty && k.hangUp {
			k.watch.ensure(k)
			if k.peersLost(ring.SeatSender) {
				if h, st = w.meet(true); st == ring.Empty {
					return statusPeerLost
				}
			}
		}
		return st
	}
	st := attempt()
	var err error
	if st == ring.Empty {
		if st = k.spinOn(ctx, &k.recvSide, attempt); waits(st) {
			st, err = k.blockMeet(ctx, false, attempt)
		}
	}
	if w.made && !k.q.Withdraw(w.ticket) {
		// A sender gave us its value just now: take it after all.
		if got, found := k.q.Got(w.ticket); found == ring.OK {
			return got, ring.OK, nil
		}
	}
	return h, st, err
}

// meetRecv receives an element on a rendezvous, waiting.
func (c *Chan[T]) meetRecv(ctx context.Context, op string, v *T) error {
	k := c.core
	if !k.enter() {
		return opError(op, k.name, ErrDetached)
	}
	defer k.leave()
	h, st, err := k.meetHold(ctx)
	if err == nil && st == ring.OK {
		st = c.takeElem(&h, v)
	}
	return opError(op, k.name, orStatus(err, st))
}

// meetDecoded receives anything on a rendezvous, waiting.
func (c *Chan[T]) meetDecoded(ctx context.Context, op string, v *T) error {
	if c.codec == nil {
		return c.meetRecv(ctx, op, v)
	}
	k := c.core
	if !k.enter() {
		return opError(op, k.name, ErrDetached)
	}
	defer k.leave()
	h, st, err := k.meetHold(ctx)
	if err == nil && st == ring.OK {
		if st = c.takeMet(&h, v); st == statusDecode {
			return opError(op, k.name, c.decodeError())
		}
	}
	return opError(op, k.name, orStatus(err, st))
}
