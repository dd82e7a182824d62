package channel

import (
	"context"
	"time"
	"unsafe"

	"github.com/shmchan/shmchan/ring"
)

// RecvFunc waits for a message as Recv does and calls f with it, in place: a T
// without pointers, or the bytes of a []byte, lie in shared memory while f runs
// (other encoded T are decoded first). f must not keep the pointer, nor what it
// leads to. The message keeps its place until f returns, and holds up nobody
// else meanwhile.
//
// When f returns nil the message is taken. If f returns an error, panics or ends
// its goroutine, or the process dies in f, the message is delivered again, to whichever
// receiver comes next, before younger ones. RecvFunc returns f's error as it is.
// Its other errors are RecvContext's. f may use the channel; on an SPSC channel it
// may not receive from it (ErrBusy). Detach within f lets f's own message go.
//
// The memory may be written to by any process that has the channel: check what
// you read, and read once what you check.
func (c *Chan[T]) RecvFunc(f func(*T) error) error { return c.recvFunc(never, f) }

// RecvFuncContext is RecvFunc whose wait for a message ends when ctx does, with ctx.Err().
// It does not end f.
func (c *Chan[T]) RecvFuncContext(ctx context.Context, f func(*T) error) error {
	if err := ctx.Err(); err != nil {
		return opError("receive", c.core.name, err)
	}
	return c.recvFunc(ctx, f)
}

func (c *Chan[T]) recvFunc(ctx context.Context, f func(*T) error) error {
	const op = "receive"
	k := c.core
	if !k.enter() {
		return opError(op, k.name, ErrDetached)
	}
	defer k.leave()
	switch {
	case k.over != nil:
		return c.recvFuncOver(ctx, op, f)
	case k.kind.spsc():
		return c.recvFuncSPSC(ctx, op, f)
	}
	h, st, err := c.hold(ctx, op)
	if err != nil {
		return err
	}
	if st != ring.OK {
		return opError(op, k.name, failure(st, ErrFull, ErrEmpty))
	}
	done := false
	if !k.kind.meeting() {
		k.q.Counted(1)
	}
	defer func() {
		if !k.kind.meeting() {
			k.q.Counted(-1)
		}
		if e := k.release(&h, done); e != ring.OK && err == nil {
			err = opError(op, k.name, failure(e, ErrFull, ErrEmpty))
		}
	}()
	if err = c.callWith(&h, f); err == nil {
		done = true
	}
	return err
}

// hold waits for a message and holds it.
func (c *Chan[T]) hold(ctx context.Context, op string) (h ring.Held, st ring.Status, err error) {
	k := c.core
	if k.kind.meeting() {
		h, st, err = k.meetHold(ctx)
		return h, st, opError(op, k.name, err)
	}
	if h, st = k.tryHold(); waits(st) {
		err = k.await(ctx, op, false, func() ring.Status {
			h, st = k.tryHold()
			return st
		})
		st = ring.OK
	}
	return h, st, err
}

func (k *core) tryHold() (ring.Held, ring.Status) {
	d, st := k.recvDesk()
	if st != ring.OK {
		return ring.Held{}, st
	}
	h, st := d.Hold()
	d.Unlock()
	if st == ring.Empty && k.hangUp {
		if up := k.sendersGone(); up != ring.Empty {
			if d, st = k.recvDesk(); st == ring.OK {
				h, st = d.Hold()
				d.Unlock()
			}
			if st == ring.Empty {
				st = up
			}
		}
	}
	return h, st
}

// release ends a hold, well or not, and wakes who may go on.
func (k *core) release(h *ring.Held, done bool) ring.Status {
	if k.kind.meeting() {
		if done {
			return k.settle(h)
		}
		st := k.q.GiveBack(h)
		k.stirAll()
		return st
	}
	d, st := k.heldDesk()
	if st != ring.OK {
		return st
	}
	defer d.Unlock()
	if done {
		return k.freeHeld(d, h)
	}
	for st = d.Return(h); st == ring.Full; st = d.Return(h) {
		time.Sleep(time.Millisecond) // over a thousand places are out: wait for one
	}
	k.notifyRecv()
	return st
}

// heldDesk locks a receiving desk even when the handle is being detached: what is
// held must be let go of.
func (k *core) heldDesk() (*ring.Desk, ring.Status) {
	d, st := k.recvDesk()
	if st != statusDetached {
		return d, st
	}
	d = k.q.NewDesk()
	if k.kind == kindPacked && d.Open() != ring.OK {
		return nil, ring.Corrupt
	}
	d.TryLock()
	return d, ring.OK
}

// callWith calls f with the message of a hold.
func (c *Chan[T]) callWith(h *ring.Held, f func(*T) error) error {
	if c.codec == nil {
		return f((*T)(h.Data))
	}
	if c.transfer == transferBytes {
		return c.callInPlace(bytesOf(h), f)
	}
	return c.callDecoded(bytesOf(h), f)
}

// callInPlace gives f a []byte that lies in shared memory.
func (c *Chan[T]) callInPlace(b []byte, f func(*T) error) error {
	p := c.headers.Get().(*T)
	*(*[]byte)(unsafe.Pointer(p)) = b
	defer func() {
		var zero T
		*p = zero
		c.headers.Put(p)
	}()
	return f(p)
}

func (c *Chan[T]) callDecoded(b []byte, f func(*T) error) error {
	var v T
	if !c.raw {
		b = append([]byte(nil), b...)
	}
	if err := c.codec.Decode(b, &v); err != nil {
		return opError("receive", c.core.name, err)
	}
	return f(&v)
}

// recvFuncSPSC needs no hold: the message stays at the head until Advance.
func (c *Chan[T]) recvFuncSPSC(ctx context.Context, op string, f func(*T) error) error {
	k := c.core
	var h ring.Held
	attempt := func() ring.Status { return c.frontSPSC(&h) }
	st := attempt()
	if waits(st) {
		if err := k.await(ctx, op, false, attempt); err != nil {
			return err
		}
		st = ring.OK
	}
	if st != ring.OK {
		return opError(op, k.name, failure(st, ErrFull, ErrEmpty))
	}
	k.recvStop.Or(stopInUse)
	defer k.recvStop.And(^uint32(stopInUse))
	k.q.Counted(1)
	defer k.q.Counted(-1)
	r := k.spscRecv.Load()
	r.Received()
	done := false
	defer func() {
		if !done {
			k.q.Again()
		}
	}()
	if err := c.callWith(&h, f); err != nil {
		return err
	}
	done = true
	r.Advance()
	k.freed()
	return nil
}

// frontSPSC looks at the oldest message of an SPSC channel.
func (c *Chan[T]) frontSPSC(h *ring.Held) ring.Status {
	k := c.core
	r := k.spscRecv.Load()
	for ; r == nil; r = k.spscRecv.Load() {
		if st := k.claimRecv(); st != statusAgain {
			return st
		}
	}
	if k.recvStop.Load() != 0 {
		return k.stopped(&k.recvStop)
	}
	st := k.look(r, h)
	if st == ring.Empty && k.hangUp {
		if up := k.hungUp(ring.SeatReceiver, ring.SeatSender); up != ring.OK {
			if st = k.look(r, h); st == ring.Empty { // nothing sent before they went
				st = up
			}
		}
	}
	return st
}

// look points h at the oldest message of an SPSC channel.
func (k *core) look(r *ring.Recver, h *ring.Held) (st ring.Status) {
	if k.kind == kindSPSC {
		h.Data, st = r.Front()
		return st
	}
	b, st := r.FrontBytes()
	h.Data, h.Size = unsafe.Pointer(unsafe.SliceData(b)), len(b)
	return st
}
