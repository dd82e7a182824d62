package channel

import (
	"context"
	"sync"
	"unsafe"

	"github.com/shmchan/shmchan/ring"
)

// Encoded messages. A []byte or string goes from and to shared memory as it is.
// Everything else is encoded into private memory first and sent then, and copied
// out, taken, and decoded last: no user's code runs while the ring waits for it.

var scratches = sync.Pool{New: func() any { return new([]byte) }}

// encoded returns the bytes of v. scratch, if not nil, is to be given back with
// scratches.Put when they have been copied.
func (c *Chan[T]) encoded(v *T) (data []byte, scratch *[]byte, err error) {
	if c.raw {
		return c.rawBytes(v), nil, nil
	}
	scratch = scratches.Get().(*[]byte)
	out, err := c.codec.Append((*scratch)[:0], *v)
	*scratch = out[:0]
	if err != nil {
		scratches.Put(scratch)
		return nil, nil, err
	}
	return out, scratch, nil
}

// rawBytes are the bytes of a []byte or string.
func (c *Chan[T]) rawBytes(v *T) []byte {
	if c.transfer == transferBytes {
		return *asBytes(v)
	}
	s := *asString(v)
	return unsafe.Slice(unsafe.StringData(s), len(s))
}

// loadRaw makes *v the receiver's own copy of b, out of the slab if v has no memory
// yet. Like Decode it reads b once; but it is no method of an interface, so v may
// stay on the stack.
func (c *Chan[T]) loadRaw(v *T, b []byte, slab *[]byte) {
	if c.transfer == transferBytes && *asBytes(v) != nil {
		loadBytes(asBytes(v), b)
		return
	}
	var own []byte
	own, *slab = slabCopy(*slab, b)
	c.setRaw(v, own)
}

// setRaw makes own, which nobody else has, what *v is.
func (c *Chan[T]) setRaw(v *T, own []byte) {
	if c.transfer == transferBytes {
		*asBytes(v) = own
	} else {
		*asString(v) = unsafe.String(unsafe.SliceData(own), len(own))
	}
}

// putRaw tries once to send a []byte or string.
func (c *Chan[T]) putRaw(v *T) ring.Status {
	k, data := c.core, c.rawBytes(v)
	switch {
	case uint64(len(data)) > k.q.MaxMessage:
		return statusTooLarge
	case k.kind == kindPacked:
		return k.putPacked(data)
	}
	return k.putSPSCPacked(data)
}

func (c *Chan[T]) sendEncoded(ctx context.Context, op string, v *T, wait bool) error {
	k := c.core
	data, scratch, err := c.encoded(v)
	if err != nil {
		return opError(op, k.name, err)
	}
	if scratch != nil {
		defer scratches.Put(scratch)
	}
	if uint64(len(data)) > k.q.MaxMessage {
		return opError(op, k.name, tooLarge(len(data), k.q.MaxMessage))
	}
	if k.kind == kindMeetPacked {
		return k.meetSend(ctx, op, outgoing{data: data}, wait)
	}
	st := k.tryBytes(data)
	if st == ring.OK {
		return nil
	}
	if waits(st) && wait {
		return k.bytesWait(ctx, op, data)
	}
	if waits(st) {
		k.lookAround()
		st = k.tryBytes(data)
	}
	return opError(op, k.name, orStatus(nil, st))
}

func (k *core) bytesWait(ctx context.Context, op string, data []byte) error {
	return k.await(ctx, op, true, func() ring.Status { return k.tryBytes(data) })
}

// tryBytes tries once to send an encoded message.
func (k *core) tryBytes(data []byte) ring.Status {
	for {
		var st ring.Status
		if k.kind == kindPacked {
			st = k.putPacked(data)
		} else {
			st = k.putSPSCPacked(data)
		}
		if st == statusLook {
			if st = k.hungUp(ring.SeatSender, ring.SeatReceiver); st == ring.OK {
				st = statusAgain
			}
		}
		if st != statusAgain {
			return st
		}
	}
}

func (k *core) putPacked(data []byte) ring.Status {
	d, st := k.sendDesk()
	if st != ring.OK {
		return st
	}
	if st = k.putAt(d, data); st == ring.OK && ring.Attention(k.q.RecvEvent()) {
		k.notifyRecv()
	}
	d.Unlock()
	return st
}

func (k *core) putAt(d *ring.Desk, data []byte) ring.Status {
	if k.hangUp {
		if st := k.hung(ring.SeatReceiver); st != ring.OK {
			return st
		}
	}
	if st := d.Room(); st != ring.OK {
		return st
	}
	u, st := d.Alloc(len(data))
	if st != ring.OK {
		return k.spaceOrClosed(st)
	}
	copy(k.q.Extent(u, len(data)), data)
	if st = d.PublishExtent(u, len(data)); st != ring.OK {
		k.q.Release(u)
	}
	return st
}

// spaceOrClosed looks whether the channel without space is closed as well.
func (k *core) spaceOrClosed(st ring.Status) ring.Status {
	if st == ring.NoSpace && k.q.IsClosed() {
		return ring.Closed
	}
	return st
}

func (k *core) putSPSCPacked(data []byte) ring.Status {
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
	b, st := s.Bytes(len(data))
	if st != ring.OK {
		return k.outSend(k.fullOrClosed(st))
	}
	copy(b, data)
	s.PublishBytes(len(data))
	if k.fenced || k.q.RecvAttention() != 0 {
		return k.outSend(k.published(s, 1))
	}
	return k.outSend(ring.OK)
}

// getDecoded tries once to take an encoded message.
func (c *Chan[T]) getDecoded(v *T) ring.Status {
	k := c.core
	scratch := scratches.Get().(*[]byte)
	defer scratches.Put(scratch)
	st := k.getBytes(scratch)
	if st != ring.OK {
		return st
	}
	return c.decode(*scratch, v)
}

// decode sets *v from private bytes.
func (c *Chan[T]) decode(src []byte, v *T) ring.Status {
	if err := c.codec.Decode(src, v); err != nil {
		c.core.decodeErr.Store(&err)
		return statusDecode
	}
	return ring.OK
}

func (c *Chan[T]) decodeError() error {
	if p := c.core.decodeErr.Load(); p != nil {
		return *p
	}
	return ErrCorrupt
}

// getRaw tries once to take a []byte or string straight out of shared memory.
func (c *Chan[T]) getRaw(v *T) ring.Status {
	k := c.core
	if k.kind == kindSPSCPacked {
		r := k.spscRecv.Load()
		if r == nil {
			return k.claimRecv()
		}
		ring.StoreRelease32(&k.inRecv, 1)
		if k.recvStop.Load() != 0 {
			return k.outRecv(k.stopped(&k.recvStop))
		}
		b, st := r.FrontBytes()
		if st == ring.OK {
			c.loadRaw(v, b, &r.Spare)
			r.Advance()
			if k.fenced || r.Attention() != 0 {
				k.freed()
			}
		}
		return k.outRecv(st)
	}
	d, st := k.recvDesk()
	if st != ring.OK {
		return st
	}
	if st = c.copyRaw(d, v); st == ring.Busy {
		st = c.holdRaw(d, v)
	}
	if st == ring.OK && ring.Attention(k.q.SendEvent()) {
		k.notifySend()
	}
	d.Unlock()
	return st
}

// copyRaw copies a small message first and takes it then. Busy: holdRaw must.
func (c *Chan[T]) copyRaw(d *ring.Desk, v *T) ring.Status {
	if c.transfer == transferBytes && *asBytes(v) != nil {
		return ring.Busy // what is in the caller's memory stays unless a message comes
	}
	var own, rest []byte
	for {
		b, st := d.PeekBytes()
		if st != ring.OK {
			return st
		}
		if len(b) > bigElem {
			return ring.Busy
		}
		own, rest = slabCopy(d.Spare, b)
		if d.TakeBytes() {
			break
		}
	}
	d.Spare = rest
	c.setRaw(v, own)
	return ring.OK
}

func (c *Chan[T]) holdRaw(d *ring.Desk, v *T) ring.Status {
	h, st := d.Hold()
	if st != ring.OK {
		return st
	}
	c.loadRaw(v, bytesOf(&h), &d.Spare)
	return c.core.free(d, &h)
}

// getBytes takes an encoded message as a private copy.
func (k *core) getBytes(into *[]byte) ring.Status {
	if k.kind == kindSPSCPacked {
		r := k.spscRecv.Load()
		if r == nil {
			return k.claimRecv()
		}
		ring.StoreRelease32(&k.inRecv, 1)
		if k.recvStop.Load() != 0 {
			return k.outRecv(k.stopped(&k.recvStop))
		}
		b, st := r.FrontBytes()
		if st == ring.OK {
			*into = append((*into)[:0], b...)
			r.Advance()
			if k.fenced || k.q.SendAttention() != 0 {
				k.freed()
			}
		}
		return k.outRecv(st)
	}
	d, st := k.recvDesk()
	if st != ring.OK {
		return st
	}
	defer d.Unlock()
	h, st := d.Hold()
	if st != ring.OK {
		return st
	}
	*into = append((*into)[:0], bytesOf(&h)...)
	return k.freeHeld(d, &h)
}

func (k *core) freeHeld(d *ring.Desk, h *ring.Held) ring.Status {
	st := k.free(d, h)
	if st == ring.OK && ring.Attention(k.q.SendEvent()) {
		k.notifySend()
	}
	return st
}
