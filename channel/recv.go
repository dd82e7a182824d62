package channel

import (
	"context"
	"errors"
	"iter"

	"github.com/shmchan/shmchan/ring"
)

// get tries once to take an element, a []byte or a string into v.
func (c *Chan[T]) get(v *T) ring.Status {
	k := c.core
	switch {
	case k.kind == kindSPSC:
		return c.getSPSC(v)
	case c.raw:
		return c.getRaw(v)
	}
	d := k.recvDesk0.Load()
	if d == nil || !d.TryLock() {
		var st ring.Status
		if d, st = k.recvDesk(); st != ring.OK {
			return st
		}
	}
	var st ring.Status
	if k.kind == kindElems {
		for {
			p, found := d.Peek()
			if st = found; st != ring.OK {
				break
			}
			loadElem(v, p)
			if d.Take() {
				break
			}
		}
		if st == ring.Busy {
			st = c.getHeld(d, v)
		}
	} else {
		st = c.getHeld(d, v)
	}
	if st == ring.OK && ring.Attention(k.q.SendEvent()) {
		k.notifySend()
	}
	d.Unlock()
	return st
}

// getHeld takes a message that is large, or that came back, by holding it.
func (c *Chan[T]) getHeld(d *ring.Desk, v *T) ring.Status {
	h, st := d.Hold()
	if st != ring.OK {
		return st
	}
	loadElem(v, h.Data)
	return c.core.free(d, &h)
}

// free ends a hold; after Close receivers that wait for its outcome look again.
func (k *core) free(d *ring.Desk, h *ring.Held) ring.Status {
	st := d.Free(h)
	if k.hangUp || k.q.IsClosed() {
		k.notifyRecv()
	}
	return st
}

// getSPSC tries once to take an element of an SPSC channel.
func (c *Chan[T]) getSPSC(v *T) ring.Status {
	k := c.core
	r := k.spscRecv.Load()
	if r == nil {
		return k.claimRecv()
	}
	ring.StoreRelease32(&k.inRecv, 1)
	if k.recvStop.Load() != 0 {
		return k.outRecv(k.stopped(&k.recvStop))
	}
	p, st := r.Front()
	if st != ring.OK {
		return k.outRecv(st)
	}
	loadElem(v, p)
	r.Advance()
	if k.fenced || r.Attention() != 0 {
		k.freed()
	}
	ring.StoreRelease32(&k.inRecv, 0)
	return ring.OK
}

// getFast is getSPSC for what nearly every Recv comes to. False: nothing was taken.
func (c *Chan[T]) getFast(r *ring.Recver, v *T) bool {
	k := c.core
	ring.StoreRelease32(&k.inRecv, 1)
	if k.recvStop.Load() != 0 || !r.Ready() {
		ring.StoreRelease32(&k.inRecv, 0)
		return false
	}
	loadElem(v, r.Block())
	r.Advance()
	if r.Attention() != 0 {
		k.freed()
	}
	ring.StoreRelease32(&k.inRecv, 0)
	return true
}

// getElem is get for what nearly every Recv of a small element on MPMC comes to.
// False: nothing was taken.
func (c *Chan[T]) getElem(v *T) bool {
	k := c.core
	d := k.recvDesk0.Load()
	if d == nil || !d.TryLock() {
		return false
	}
	taken := false
	if p := d.PeekFast(); p != nil {
		loadElem(v, p)
		if taken = d.Take(); taken && ring.Attention(k.q.SendEvent()) {
			k.notifySend()
		}
	}
	d.Unlock()
	return taken
}

func (k *core) outRecv(st ring.Status) ring.Status {
	ring.StoreRelease32(&k.inRecv, 0)
	return st
}

// freed does what is needed after freeing on an SPSC channel when somebody sleeps.
func (k *core) freed() {
	if k.fenced {
		fullFence()
	}
	if k.q.SendAttention() != 0 {
		k.notifySend()
	}
}

// claimRecv takes the receiver's seat of an SPSC channel.
func (k *core) claimRecv() ring.Status {
	if !k.enter() {
		return statusDetached
	}
	defer k.leave()
	k.mu.Lock()
	defer k.mu.Unlock()
	if k.spscRecv.Load() != nil {
		return statusAgain
	}
	r, st := k.q.ClaimRecver()
	if st == ring.Busy {
		k.sweep() // or another process just has
		r, st = k.q.ClaimRecver()
	}
	if st != ring.OK {
		return st
	}
	k.becomeLocked(ring.SeatReceiver)
	k.spscRecv.Store(r)
	return statusAgain
}

// tryRecv tries once; with HangUp the end of the senders is an end. Like
// getAny and getPlain it comes in two kinds: see plain.
func (c *Chan[T]) tryRecv(v *T) ring.Status {
	if c.plain() {
		return c.tryPlain(v)
	}
	st := c.getOther(v)
	for st == statusAgain {
		st = c.getOther(v)
	}
	if st == ring.Empty && c.core.hangUp {
		if st = c.core.sendersGone(); st == statusPeerLost {
			if last := c.getOther(v); last != ring.Empty {
				return last
			}
		}
	}
	return st
}

func (c *Chan[T]) tryPlain(v *T) ring.Status {
	st := c.get(v)
	for st == statusAgain {
		st = c.get(v)
	}
	if st == ring.Empty && c.core.hangUp {
		if st = c.core.sendersGone(); st == statusPeerLost {
			if last := c.get(v); last != ring.Empty {
				return last // sent before they went
			}
		}
	}
	return st
}

// sendersGone is Empty, or says that with HangUp this is the end.
func (k *core) sendersGone() ring.Status {
	st := k.hungUp(ring.SeatReceiver, ring.SeatSender)
	if st == ring.OK || st == statusPeerLost && k.heldElsewhere() {
		return ring.Empty
	}
	return st
}

// heldElsewhere says whether a message that another receiver holds may still come
// back: then the end is not there yet.
func (k *core) heldElsewhere() bool {
	if !k.enter() {
		return false
	}
	defer k.leave()
	return k.q.Holds()
}

// settleClosed tries again for a moment when the channel is closed and a message
// is in another's hand: a Recv there is about to take it, and then this is the end.
func (c *Chan[T]) settleClosed(try func() ring.Status) ring.Status {
	st := ring.Empty
	for i := 0; st == ring.Empty && i < 200 && c.core.closedNow(); i++ {
		pause(i)
		st = try()
	}
	return st
}

func (k *core) closedNow() bool {
	if !k.enter() {
		return false
	}
	defer k.leave()
	return k.q.IsClosed()
}

// recvPlain takes an element, waiting if need be. ctx may be nil.
func (c *Chan[T]) recvPlain(ctx context.Context, op string, v *T) error {
	k := c.core
	st := c.tryPlain(v)
	if waits(st) {
		return k.await(ctx, op, false, func() ring.Status { return c.tryPlain(v) })
	}
	return opError(op, k.name, orStatus(nil, st))
}

// recvOther takes what is encoded, or comes by a rendezvous.
func (c *Chan[T]) recvOther(ctx context.Context, op string, v *T) error {
	k := c.core
	st := c.tryRecv(v)
	if waits(st) {
		if k.kind.meeting() {
			return c.meetDecoded(ctx, op, v)
		}
		var last ring.Status
		err := k.await(ctx, op, false, func() ring.Status {
			if last = c.tryRecv(v); last == statusDecode {
				return ring.OK
			}
			return last
		})
		if err != nil || last != statusDecode {
			return err
		}
		st = last
	}
	if st == statusDecode {
		return opError(op, k.name, c.decodeError())
	}
	return opError(op, k.name, orStatus(nil, st))
}

// recv takes a message into *v, which is on the heap.
func (c *Chan[T]) recv(ctx context.Context, op string, v *T) error {
	if ctx != nil && ctx.Err() != nil {
		return opError(op, c.core.name, ctx.Err())
	}
	if c.plain() {
		return c.recvPlain(ctx, op, v)
	}
	return c.recvOther(ctx, op, v)
}

// recvNew is recv into memory of its own.
func (c *Chan[T]) recvNew(ctx context.Context, op string) (v T, err error) {
	p := new(T)
	err = c.recv(ctx, op, p)
	return *p, err
}

// Recv takes the oldest message, waiting while there is none: v, ok := <-ch. When ok
// is false v is zero and Err says why: nil for a closed channel that is drained,
// else ErrDetached, ErrPeerLost (HangUp), ErrBusy (SPSC, another handle receives),
// ErrCorrupt, or an error of the codec (that message is gone). Any number of
// goroutines and processes may receive at once (SPSC: one goroutine of one handle);
// each message goes to one of them. A []byte is the receiver's own; short ones (up to
// 64 bytes), and strings, share one allocation of 512 bytes with a few neighbours.
func (c *Chan[T]) Recv() (v T, ok bool) {
	var err error
	if c.fast {
		if r := c.core.spscRecv.Load(); r != nil && c.getFast(r, &v) {
			return v, true
		}
		err = c.recvPlain(never, "receive", &v)
	} else if c.plain() {
		if c.elems && c.getElem(&v) || c.get(&v) == ring.OK {
			return v, true
		}
		err = c.recvPlain(never, "receive", &v)
	} else if c.core.over != nil {
		v, err = c.recvOver(never, "receive", true)
	} else if c.codec == nil {
		err = c.meetRecv(never, "receive", &v)
	} else {
		v, err = c.recvNew(never, "receive")
	}
	if err != nil {
		var zero T
		c.ended(err)
		return zero, false
	}
	return v, true
}

// ended remembers why Recv or All ended.
func (c *Chan[T]) ended(err error) {
	if errors.Is(err, ErrClosed) {
		err = nil
	}
	c.core.endErr.Store(&err)
}

// Err says why the last Recv, or All, of this handle ended: nil if the channel was
// closed and drained, or if none has ended yet.
func (c *Chan[T]) Err() error {
	if p := c.core.endErr.Load(); p != nil {
		return *p
	}
	return nil
}

// RecvContext is Recv that ends when ctx does, with ctx.Err(), and that says what it
// ended with: ErrClosed when the channel is closed and drained. A context that
// has ended already takes nothing.
func (c *Chan[T]) RecvContext(ctx context.Context) (v T, err error) {
	const op = "receive"
	var zero T
	if err = ctx.Err(); err != nil {
		return zero, opError(op, c.core.name, err)
	}
	if c.plain() {
		err = c.recvPlain(ctx, op, &v)
	} else if c.core.over != nil {
		v, err = c.recvOver(ctx, op, true)
	} else if c.codec == nil {
		err = c.meetRecv(ctx, op, &v)
	} else {
		v, err = c.recvNew(ctx, op)
	}
	if err != nil {
		if ctx.Err() != nil {
			c.core.cameEmpty()
		}
		return zero, err
	}
	return v, nil
}

// TryRecv takes the oldest message without waiting: ErrEmpty when there is none, or
// on a rendezvous no sender that waits; ErrClosed when closed and drained.
func (c *Chan[T]) TryRecv() (v T, err error) {
	const op = "try receive"
	var zero T
	if c.plain() {
		st := c.tryPlain(&v)
		if st == ring.Empty {
			c.core.lookAround()
			if st = c.tryPlain(&v); st == ring.Empty {
				st = c.settleClosed(func() ring.Status { return c.tryPlain(&v) })
			}
		}
		if st == ring.Empty {
			c.core.cameEmpty()
		}
		if st != ring.OK {
			return zero, opError(op, c.core.name, orStatus(nil, st))
		}
		return v, nil
	}
	if c.core.over != nil {
		if v, err = c.recvOver(never, op, false); err != nil {
			return zero, err
		}
		return v, nil
	}
	p := new(T)
	st := c.tryRecv(p)
	if st == ring.Empty {
		c.core.lookAround()
		if st = c.tryRecv(p); st == ring.Empty {
			st = c.settleClosed(func() ring.Status { return c.tryRecv(p) })
		}
		if st == ring.Empty && c.core.kind.meeting() {
			st = c.tryChosen(p)
		}
	}
	switch st {
	case ring.OK:
		return *p, nil
	case statusDecode:
		return zero, opError(op, c.core.name, c.decodeError())
	default:
		if st == ring.Empty {
			c.core.cameEmpty()
		}
		return zero, opError(op, c.core.name, orStatus(nil, st))
	}
}

// RecvBatch waits for one message and then takes what is there, up to len(buf), in
// order. n were taken; n is 0 beside an error, but for an error of the codec: then
// n messages before the one that cannot be decoded (it is gone) are good. An empty
// buf: 0, nil at once. Slices of bytes that buf holds already are written into.
func (c *Chan[T]) RecvBatch(buf []T) (n int, err error) {
	if len(buf) == 0 {
		return 0, nil
	}
	const op = "receive batch"
	if c.core.over != nil {
		return c.recvBatchOver(op, buf)
	}
	if err := c.recv(never, op, &buf[0]); err != nil {
		return 0, err
	}
	for n = 1; n < len(buf); n++ {
		if c.core.kind == kindSPSC {
			if n += c.recvRun(buf[n:]); n < len(buf) {
				c.core.cameEmpty()
			}
			return n, nil
		}
		switch st := c.tryRecv(&buf[n]); st {
		case ring.OK:
			continue
		case statusDecode:
			return n, opError(op, c.core.name, c.decodeError())
		case ring.Empty:
			c.core.cameEmpty()
		}
		break
	}
	return n, nil
}

// recvRun takes what waits on an SPSC channel and frees it in one go.
func (c *Chan[T]) recvRun(buf []T) int {
	k := c.core
	r := k.spscRecv.Load()
	ring.StoreRelease32(&k.inRecv, 1)
	if r == nil || k.recvStop.Load() != 0 {
		k.outRecv(ring.OK)
		return 0
	}
	n := 0
	for n < len(buf) {
		p, st := r.Further(uint64(n))
		if st != ring.OK {
			break
		}
		loadElem(&buf[n], p)
		n++
	}
	if n > 0 {
		r.AdvanceRun(uint64(n))
		if k.fenced || k.q.SendAttention() != 0 {
			k.freed()
		}
	}
	k.outRecv(ring.OK)
	return n
}

// All ranges over the messages until Recv would say that there are no more; then
// Err says why.
//
//	for v := range ch.All() { … }
func (c *Chan[T]) All() iter.Seq[T] {
	return func(yield func(T) bool) {
		for {
			v, ok := c.Recv()
			if !ok || !yield(v) {
				return
			}
		}
	}
}
