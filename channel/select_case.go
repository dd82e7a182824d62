package channel

import (
	"unsafe"

	"github.com/shmchan/shmchan/ring"
)

// What a Select needs of a handle's type.

func (c *Chan[T]) handle() *core { return c.core }

// tryRecvCase receives into memory that nobody sees unless a message has come: an attempt
// may copy one that another receiver then takes.
func (c *Chan[T]) tryRecvCase(cs *Case) (ring.Status, error) {
	v := c.borrow()
	defer c.giveBack(v)
	st := c.tryRecv(v)
	if st == ring.Empty {
		st = c.settleClosed(func() ring.Status { return c.tryRecv(v) })
	}
	switch st {
	case ring.OK:
		if cs.v != nil {
			*(*T)(cs.v) = *v
		}
	case statusDecode:
		return st, c.decodeError()
	case ring.Empty:
		c.core.cameEmpty()
	}
	return st, nil
}

// borrow is memory for one T.
func (c *Chan[T]) borrow() *T {
	if v := c.spare.Swap(nil); v != nil {
		return v
	}
	return new(T)
}

func (c *Chan[T]) giveBack(v *T) {
	if c.codec != nil {
		var zero T
		*v = zero // what it led to is its receiver's now
	}
	c.spare.Store(v)
}

func (c *Chan[T]) trySendCase(cs *Case) (ring.Status, error) {
	var st ring.Status
	if c.codec == nil {
		st = c.trySend(valueOf[T](cs))
	} else {
		st = c.core.tryBytes(cs.data)
	}
	return st, nil
}

// valueOf is the T that the case sends.
func valueOf[T any](cs *Case) *T {
	if cs.v != nil {
		return (*T)(cs.v)
	}
	return (*T)(unsafe.Pointer(&cs.inline))
}

// outgoingOf is what the case sends on a rendezvous.
func (c *Chan[T]) outgoingOf(cs *Case) outgoing {
	if c.codec == nil {
		return outgoing{elem: elemBytes(valueOf[T](cs))}
	}
	return outgoing{data: cs.data}
}

// takeCase takes what is held, on a rendezvous.
func (c *Chan[T]) takeCase(h *ring.Held, cs *Case) (ring.Status, error) {
	v := c.borrow()
	defer c.giveBack(v)
	st := c.takeAny(h, v)
	switch st {
	case ring.OK:
		if cs.v != nil {
			*(*T)(cs.v) = *v
		}
	case statusDecode:
		return st, c.decodeError()
	}
	return st, nil
}

func (c *Chan[T]) zeroCase(cs *Case) {
	if cs.v != nil {
		var zero T
		*(*T)(cs.v) = zero
	}
}

// overCase is the case of a handle that runs over a Conn.
func (c *Chan[T]) overCase(cs *Case) carrier {
	if cs.kind == caseSend {
		return overSendCase[T]{c, *valueOf[T](cs)}
	}
	v := (*T)(cs.v)
	if v == nil {
		v = new(T)
	}
	return overRecvCase[T]{c, v}
}
