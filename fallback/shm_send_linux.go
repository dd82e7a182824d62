package fallback

import (
	"context"
	"fmt"
	"os"

	"github.com/shmchan/shmchan/futexsem"
	"github.com/shmchan/shmchan/ring"
)

// shmClosedHere is the status of attempts after Close, or CloseSend.
const shmClosedHere ring.Status = -1

// Send implements Conn. It returns when the message is in shared memory, where it stays
// if this process dies.
func (c *ShmConn) Send(ctx context.Context, msg []byte) error {
	if err := memEnded(ctx); err != nil {
		return opError(KindShm, "send", "", err)
	}
	if err := c.fits(msg); err != nil {
		return opError(KindShm, "send", "", err)
	}
	op := shmOp{msg: msg}
	st := c.put(&op)
	if shmWaits(st) {
		var err error
		if st, err = c.block(ctx, &c.out, &op); err != nil {
			return opError(KindShm, "send", "", err)
		}
	}
	return opError(KindShm, "send", "", c.shmError(true, st))
}

// TrySend implements Conn.
func (c *ShmConn) TrySend(msg []byte) error {
	if err := c.fits(msg); err != nil {
		return opError(KindShm, "try send", "", err)
	}
	op := shmOp{msg: msg}
	return opError(KindShm, "try send", "", c.shmError(true, c.put(&op)))
}

func (c *ShmConn) fits(msg []byte) error {
	switch {
	case c.closed.Load() || c.sendClosed.Load():
		return os.ErrClosed
	case len(msg) > c.max:
		return fmt.Errorf("%d bytes, of %d: %w", len(msg), c.max, ErrTooLarge)
	}
	return nil
}

// Receive implements Conn.
func (c *ShmConn) Receive(ctx context.Context, dst []byte) ([]byte, error) {
	if err := memEnded(ctx); err != nil {
		return dst, opError(KindShm, "receive", "", err)
	}
	op := shmOp{recv: true, dst: dst}
	st := c.get(&op)
	if shmWaits(st) {
		var err error
		if st, err = c.block(ctx, &c.in, &op); err != nil {
			return dst, opError(KindShm, "receive", "", err)
		}
	}
	return op.dst, opError(KindShm, "receive", "", c.shmError(false, st))
}

// TryReceive implements Conn.
func (c *ShmConn) TryReceive(dst []byte) ([]byte, error) {
	op := shmOp{recv: true, dst: dst}
	st := c.get(&op)
	return op.dst, opError(KindShm, "try receive", "", c.shmError(false, st))
}

// shmOp is what a call wants.
type shmOp struct {
	recv bool
	msg  []byte // to send
	dst  []byte // to append to
}

func (c *ShmConn) attempt(op *shmOp) ring.Status {
	if op.recv {
		return c.get(op)
	}
	return c.put(op)
}

// put tries once to send.
func (c *ShmConn) put(op *shmOp) ring.Status {
	c.out.mu.Lock()
	defer c.out.mu.Unlock()
	switch {
	case c.closed.Load() || c.sendClosed.Load():
		return shmClosedHere
	case c.lost.Load():
		return ring.Closed
	}
	s, q := c.out.s, c.out.q
	b, st := s.Bytes(len(op.msg))
	if st != ring.OK {
		if shmWaits(st) && q.Closing() {
			return ring.Closed
		}
		return st
	}
	memRaceSend()
	copy(b, op.msg)
	s.PublishBytes(len(op.msg))
	if c.fenced {
		futexsem.FullFence()
	}
	if a := q.RecvAttention(); a != 0 {
		if a&ring.EventWait != 0 && ring.Notify(q.RecvEvent()) {
			futexsem.FutexWakeAll(q.RecvEvent())
		}
		if a&ring.EventClosing != 0 && s.Sent(1) < 1 {
			if c.closed.Load() {
				return shmClosedHere
			}
			return ring.Closed
		}
	}
	return ring.OK
}

// get tries once to receive.
func (c *ShmConn) get(op *shmOp) ring.Status {
	c.in.mu.Lock()
	defer c.in.mu.Unlock()
	if c.closed.Load() {
		return shmClosedHere
	}
	lost := c.lost.Load() // before the look: what it had sent comes first
	r, q := c.in.r, c.in.q
	b, st := r.FrontBytes()
	if st != ring.OK {
		if st == ring.Empty && lost {
			st = ring.Closed
		}
		memRaceReceive()
		return st
	}
	op.dst = append(op.dst, b...)
	r.Advance()
	memRaceReceive()
	if c.fenced {
		futexsem.FullFence()
	}
	if q.SendAttention() != 0 && ring.Notify(q.SendEvent()) {
		futexsem.FutexWakeAll(q.SendEvent())
	}
	return ring.OK
}

func shmWaits(st ring.Status) bool {
	return st == ring.Full || st == ring.NoSpace || st == ring.Empty
}

// block spins, then sleeps, until an attempt comes to something or ctx ends.
func (c *ShmConn) block(ctx context.Context, s *shmSide, op *shmOp) (ring.Status, error) {
	if st := s.spin.try(func() ring.Status { return c.attempt(op) }); !shmWaits(st) {
		return st, nil
	}
	if err := s.turn.lock(ctx, c.gone); err != nil {
		return ring.OK, err
	}
	defer s.turn.unlock()
	if memDone(ctx) != nil {
		defer shmStirAtEnd(ctx, s.ev)()
	}
	for {
		if c.closed.Load() {
			return shmClosedHere, nil
		}
		// The order is everything: say that somebody sleeps, fence, look again. Either
		// this look finds what the other side did, or that one finds EventWait.
		val := ring.PrepareWait(s.ev)
		shmEnv{c}.Fence()
		if st := c.attempt(op); !shmWaits(st) {
			return st, nil
		}
		if err := memEnded(ctx); err != nil {
			return ring.OK, err
		}
		shmSleep(s.ev, val)
	}
}

// shmStirAtEnd makes the sleepers of the word look again when ctx ends. What it returns
// must be called before the word may be unmapped.
func shmStirAtEnd(ctx context.Context, ev *uint32) func() {
	finished := make(chan struct{})
	stop := context.AfterFunc(ctx, func() {
		defer close(finished)
		ring.Stir(ev)
		futexsem.FutexWakeAll(ev)
	})
	return func() {
		if !stop() {
			<-finished
		}
	}
}
