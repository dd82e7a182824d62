package channel

import (
	"context"
	"sync/atomic"

	"github.com/shmchan/shmchan/ring"
)

// put tries once to send an element, a []byte or a string. The plain paths of MPMC and SPSC; what they
// cost beyond the ring is a desk's lock or two plain stores (core).
func (c *Chan[T]) put(v *T) ring.Status {
	k := c.core
	switch {
	case k.kind == kindSPSC:
		return c.putSPSC(v)
	case c.raw:
		return c.putRaw(v)
	}
	d := k.sendDesk0.Load()
	if d == nil || !d.TryLock() {
		var st ring.Status
		if d, st = k.sendDesk(); st != ring.OK {
			return st
		}
	}
	if k.hangUp {
		if st := k.hung(ring.SeatReceiver); st != ring.OK {
			d.Unlock()
			return st
		}
	}
	storeElem(d.Block(), v)
	st := d.Publish()
	if st == ring.OK && ring.Attention(k.q.RecvEvent()) {
		k.notifyRecv()
	}
	d.Unlock()
	return st
}

// putSPSC tries once to send an element on an SPSC channel.
func (c *Chan[T]) putSPSC(v *T) ring.Status {
	k := c.core
	s := k.spscSend.Load()
	if s == nil {
		return k.claimSend()
	}
	ring.StoreRelease32(&k.inSend, 1)
	if k.sendStop.Load() != 0 {
		return k.outSend(k.stopped(&k.sendStop))
	}
	if k.hangUp {
		if st := k.hung(ring.SeatReceiver); st != ring.OK {
			return k.outSend(st)
		}
	}
	p, st := s.Slot()
	if st != ring.OK {
		return k.outSend(k.fullOrClosed(st))
	}
	storeElem(p, v)
	s.Publish()
	if k.fenced || s.Attention() != 0 {
		return k.outSend(k.published(s, 1))
	}
	ring.StoreRelease32(&k.inSend, 0)
	return ring.OK
}

// putFast is putSPSC for what nearly every Send comes to, all in one function: there
// is room, and nobody sleeps. False: nothing was sent.
func (c *Chan[T]) putFast(s *ring.Sender, v *T) bool {
	k := c.core
	ring.StoreRelease32(&k.inSend, 1)
	if k.sendStop.Load() != 0 || !s.Ready() {
		ring.StoreRelease32(&k.inSend, 0)
		return false
	}
	storeElem(s.Block(), v)
	s.Publish()
	if s.Attention() != 0 {
		return k.outSend(k.published(s, 1)) == ring.OK
	}
	ring.StoreRelease32(&k.inSend, 0)
	return true
}

// putElem is put for what nearly every Send of a small element on MPMC comes to.
// False: nothing was sent.
func (c *Chan[T]) putElem(v *T) bool {
	k := c.core
	d := k.sendDesk0.Load()
	if d == nil || !d.TryLock() {
		return false
	}
	storeElem(d.Block(), v)
	sent := d.PublishFast()
	if sent && ring.Attention(k.q.RecvEvent()) {
		k.notifyRecv()
	}
	d.Unlock()
	return sent
}

// outSend ends the guard of the SPSC fast path.
func (k *core) outSend(st ring.Status) ring.Status {
	ring.StoreRelease32(&k.inSend, 0)
	return st
}

// Why an SPSC side may not go on.
const (
	stopDetached = 1 << iota
	stopClosed
	stopInUse // a loan, or RecvFunc
)

func (k *core) stopped(why *atomic.Uint32) ring.Status {
	switch w := why.Load(); {
	case w&stopDetached != 0:
		return statusDetached
	case w&stopInUse != 0 && (why != &k.sendStop || !k.q.Closing()):
		return ring.Busy
	}
	return ring.Closed
}

// fullOrClosed looks whether a full SPSC channel is closed as well.
func (k *core) fullOrClosed(st ring.Status) ring.Status {
	if waits(st) && k.q.Closing() {
		return ring.Closed
	}
	return st
}

// published does what is needed after publishing n messages on an SPSC channel
// when somebody sleeps or closes.
func (k *core) published(s *ring.Sender, n uint64) ring.Status {
	if k.fenced {
		fullFence()
	}
	a := k.q.RecvAttention()
	if a&ring.EventWait != 0 {
		k.notifyRecv()
	}
	if a&ring.EventClosing != 0 {
		k.sendStop.Or(stopClosed)
		if s.Sent(n) < n {
			return ring.Closed
		}
	}
	return ring.OK
}

// claimSend takes the sender's seat of an SPSC channel. OK is Empty here: try again.
func (k *core) claimSend() ring.Status {
	if !k.enter() {
		return statusDetached
	}
	defer k.leave()
	k.mu.Lock()
	defer k.mu.Unlock()
	if k.spscSend.Load() != nil {
		return statusAgain
	}
	s, st := k.q.ClaimSender()
	if st == ring.Busy {
		k.sweep() // or another process just has
		s, st = k.q.ClaimSender()
	}
	if st != ring.OK {
		return st
	}
	k.becomeLocked(ring.SeatSender)
	k.spscSend.Store(s)
	return statusAgain
}

// trySend tries once, with everything that goes before and after.
func (c *Chan[T]) trySend(v *T) ring.Status {
	for {
		st := c.put(v)
		if st == statusLook {
			st = c.core.hungUp(ring.SeatSender, ring.SeatReceiver)
			if st == ring.OK {
				st = statusAgain
			}
		}
		if st != statusAgain {
			return st
		}
	}
}

// hung is the cheap half of hungUp, for a caller that is inside: statusLook when
// members have come or gone since hungUp looked.
func (k *core) hung(peer uint64) ring.Status {
	if k.q.Membership() != k.members.Load() {
		return statusLook
	}
	if k.lost.Load()&peer != 0 {
		return statusPeerLost
	}
	return ring.OK
}

// hungUp says, with HangUp, whether the other side has gone; it counts this handle
// as a member of its own side first, and sees to it that its peers are watched.
func (k *core) hungUp(own, peer uint64) ring.Status {
	if !k.enter() {
		return statusDetached
	}
	defer k.leave()
	if k.became.Load()&own == 0 && !k.kind.spsc() {
		k.become(own)
	}
	if st := k.hung(peer); st != statusLook {
		return st
	}
	if k.became.Load() != 0 {
		k.watch.ensure(k)
	}
	if k.peersLost(peer) {
		return statusPeerLost
	}
	return ring.OK
}

// plain says that T crosses as it is, bytes and strings too, and through a ring: the
// paths on which nothing may move to the heap. (An interface's method, or a closure
// that is kept, would make the compiler move v there for every call.)
func (c *Chan[T]) plain() bool { return (c.codec == nil || c.raw) && !c.core.kind.meeting() }

// sendPlain sends an element, waiting if need be. ctx may be nil.
func (c *Chan[T]) sendPlain(ctx context.Context, op string, v *T) error {
	k := c.core
	st := c.trySend(v)
	if waits(st) {
		return k.await(ctx, op, true, func() ring.Status { return c.trySend(v) })
	}
	return c.sendError(op, v, st)
}

// sendError is the error for a status that is not to be waited for.
func (c *Chan[T]) sendError(op string, v *T, st ring.Status) error {
	if st == statusTooLarge && c.raw {
		return opError(op, c.core.name, tooLarge(len(c.rawBytes(v)), c.core.q.MaxMessage))
	}
	return opError(op, c.core.name, orStatus(nil, st))
}

// sendOther sends what is encoded, or on a rendezvous, or over a Conn.
func (c *Chan[T]) sendOther(ctx context.Context, op string, v *T, wait bool) error {
	if c.core.over != nil {
		return c.sendOver(ctx, op, v, wait)
	}
	if c.codec != nil {
		return c.sendCopy(ctx, op, *v, wait)
	}
	return c.core.meetSend(ctx, op, outgoing{elem: elemBytes(v)}, wait)
}

// sendCopy moves v to the heap, where codecs may see it.
func (c *Chan[T]) sendCopy(ctx context.Context, op string, v T, wait bool) error {
	return c.sendEncoded(ctx, op, &v, wait)
}

// await spins, then sleeps, until attempt has done it.
func (k *core) await(ctx context.Context, op string, send bool, attempt func() ring.Status) error {
	if !k.enter() {
		return opError(op, k.name, ErrDetached)
	}
	defer k.leave()
	s := &k.recvSide
	if send {
		s = &k.sendSide
	}
	st := k.spinOn(ctx, s, attempt)
	var err error
	if waits(st) {
		st, err = k.block(ctx, send, attempt)
	}
	if err == nil && st != ring.OK {
		err = failure(st, ErrFull, ErrEmpty)
	}
	return opError(op, k.name, err)
}

// Send sends v, waiting while the channel is full. See the package comment for
// what sent means. Any number of goroutines and processes may send at once (SPSC:
// one goroutine of one handle). Errors: ErrClosed, ErrDetached, ErrPeerLost with
// HangUp, ErrTooLarge or the codec's error for a message that cannot be encoded,
// ErrBusy on an SPSC channel that another handle sends on, ErrCorrupt. With an
// error nothing was sent.
func (c *Chan[T]) Send(v T) error {
	if c.fast {
		if s := c.core.spscSend.Load(); s != nil && c.putFast(s, &v) {
			return nil
		}
		return c.sendPlain(never, "send", &v)
	}
	if c.elems && c.putElem(&v) {
		return nil
	}
	if !c.plain() {
		return c.sendOther(never, "send", &v, true)
	}
	if c.put(&v) == ring.OK {
		return nil
	}
	return c.sendPlain(never, "send", &v)
}

// SendContext is Send that ends when ctx does: with ctx.Err(), and then nothing was
// sent. A context that has ended already sends nothing.
func (c *Chan[T]) SendContext(ctx context.Context, v T) error {
	const op = "send"
	if err := ctx.Err(); err != nil {
		return opError(op, c.core.name, err)
	}
	if !c.plain() {
		return c.sendOther(ctx, op, &v, true)
	}
	return c.sendPlain(ctx, op, &v)
}

// TrySend sends v without waiting: ErrFull when there is no place, or on a
// rendezvous no receiver that waits. The other errors are Send's.
func (c *Chan[T]) TrySend(v T) error {
	const op = "try send"
	if !c.plain() {
		return c.sendOther(never, op, &v, false)
	}
	st := c.trySend(&v)
	if waits(st) {
		c.core.lookAround()
		st = c.trySend(&v)
	}
	return c.sendError(op, &v, st)
}

// SendBatch sends all of vs, in order, waiting whenever the channel is full. n says
// how many were sent; it is less than len(vs) only beside an error. What several
// senders send may lie between the messages of a batch. An empty batch: 0, nil.
func (c *Chan[T]) SendBatch(vs []T) (n int, err error) {
	const op = "send batch"
	k := c.core
	if len(vs) > 0 && k.kind == kindSPSC && !k.hangUp {
		if n, err = c.sendRun(vs); err != nil || n == len(vs) {
			return n, err
		}
	}
	for n < len(vs) {
		if !c.plain() {
			err = c.sendOther(never, op, &vs[n], true)
		} else {
			err = c.sendPlain(never, op, &vs[n])
		}
		if err != nil {
			return n, err
		}
		n++
		if k.kind == kindSPSC && !k.hangUp && n < len(vs) {
			m, err := c.sendRun(vs[n:])
			if n += m; err != nil {
				return n, err
			}
		}
	}
	return n, nil
}

// sendRun publishes as many of vs as there is room for, in one go.
func (c *Chan[T]) sendRun(vs []T) (int, error) {
	k := c.core
	s := k.spscSend.Load()
	if s == nil {
		return 0, nil
	}
	ring.StoreRelease32(&k.inSend, 1)
	defer atomic.StoreUint32(&k.inSend, 0)
	if k.sendStop.Load() != 0 || k.q.Closing() {
		return 0, nil // the single send says why
	}
	n := 0
	for n < len(vs) {
		p, st := s.Ahead(uint64(n))
		if st != ring.OK {
			break
		}
		storeElem(p, &vs[n])
		n++
	}
	if n == 0 {
		return 0, nil
	}
	s.PublishRun(uint64(n))
	if k.fenced || k.q.RecvAttention() != 0 {
		if k.published(s, uint64(n)) == ring.Closed {
			return int(s.Sent(uint64(n))), opError("send batch", k.name, ErrClosed)
		}
	}
	return n, nil
}
