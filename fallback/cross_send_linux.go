package fallback

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"sync/atomic"
	"syscall"

	"golang.org/x/sys/unix"

	"github.com/shmchan/shmchan/shm"
)

// The sender's side of the handover.
//
// Invariants. The direction's word is cookie<<2 | state, and only the sender begins an
// offer.
//
//	X1  offered → taken is the receiver's CAS, after it has all the bytes; offered →
//	    withdrawn is the sender's. One of them succeeds, and that decides.
//	X2  The sender returns nil only if the word says taken, and an error only after its
//	    own CAS has succeeded; until then msg stays as it is, where it is.
//	X3  Cookies of one direction rise; answers with an older one are of offers that
//	    were withdrawn, and are thrown away.
//	X4  The receiver answers each offer at most once, so that the answers to one offer,
//	    and to those withdrawn before, fit the socket. A peer that sends more fills it,
//	    and hurts itself.

// Send implements Conn. A message longer than Inline is a rendezvous: it waits until
// the other side has received it.
func (c *CrossMemoryConn) Send(ctx context.Context, msg []byte) error {
	const op = "send"
	if err := memEnded(ctx); err != nil {
		return opError(KindCrossMemory, op, "", err)
	}
	return opError(KindCrossMemory, op, "", c.sendError(c.send(ctx, msg)))
}

// TrySend implements Conn. A message longer than Inline goes as a copy in a memfd, and
// Send's rendezvous does not take place.
func (c *CrossMemoryConn) TrySend(msg []byte) error {
	const op = "try send"
	if err := c.sendable(msg); err != nil {
		return opError(KindCrossMemory, op, "", err)
	}
	var err error
	if len(msg) <= c.inline {
		h := memHead{kind: memInline, size: uint64(len(msg))}
		err = c.data.send(forever, false, &h, msg, nil)
	} else {
		err = c.sendCopy(forever, false, msg)
	}
	return opError(KindCrossMemory, op, "", c.sendError(err))
}

func (c *CrossMemoryConn) sendable(msg []byte) error {
	switch {
	case c.closed.Load() || c.sendClosed.Load():
		return os.ErrClosed
	case len(msg) > c.max:
		return fmt.Errorf("%d bytes, of %d: %w", len(msg), c.max, ErrTooLarge)
	}
	return nil
}

// sendError: what the kernel says of a direction that was closed here.
func (c *CrossMemoryConn) sendError(err error) error {
	if c.sendClosed.Load() && (errors.Is(err, syscall.EPIPE) || errors.Is(err, os.ErrDeadlineExceeded)) {
		return os.ErrClosed
	}
	return err
}

func (c *CrossMemoryConn) send(ctx context.Context, msg []byte) error {
	if err := c.sendable(msg); err != nil {
		return err
	}
	if len(msg) <= c.inline {
		h := memHead{kind: memInline, size: uint64(len(msg))}
		return c.data.send(ctx, true, &h, msg, nil)
	}
	if c.refused.Load() == 0 {
		err := c.offer(ctx, msg)
		if !errors.Is(err, errCrossRefused) {
			return err
		}
	}
	if !c.copies {
		return c.refusal(unix.Errno(c.refused.Load()))
	}
	return c.sendCopy(ctx, true, msg)
}

// errCrossRefused: the receiver is not allowed to fetch, and has not.
var errCrossRefused = errors.New("refused")

// offer has the message fetched, and waits for that.
func (c *CrossMemoryConn) offer(ctx context.Context, msg []byte) error {
	if err := c.offers.lock(ctx, c.data.gone); err != nil {
		return err
	}
	defer c.offers.unlock()
	if !c.enter() {
		return os.ErrClosed
	}
	defer c.leave()
	c.cookie++
	c.lent = msg
	defer func() { c.lent = nil }()
	memRaceSend()
	offered := c.cookie<<crossStateBits | crossOffered
	atomic.StoreUint64(c.sendWord, offered)
	h := memHead{kind: memOffer, size: uint64(len(msg)), addr: memAddress(c.lent), cookie: c.cookie}
	if err := c.data.send(ctx, true, &h, nil, nil); err != nil {
		c.withdraw() // nobody knows of it
		return err
	}
	err := c.answer(ctx)
	if err == nil {
		if atomic.LoadUint64(c.sendWord) == c.cookie<<crossStateBits|crossTaken {
			return nil
		}
		err = fmt.Errorf("%w: an answer to what was not taken", ErrFrame)
	}
	switch w := c.withdraw(); {
	case w == offered: // withdrawn now: X2
		return err
	case w == c.cookie<<crossStateBits|crossTaken:
		return nil
	}
	return fmt.Errorf("%w: no state of an offer", ErrFrame)
}

// withdraw makes the offer void unless it is taken, and returns what the word was.
func (c *CrossMemoryConn) withdraw() uint64 {
	offered := c.cookie<<crossStateBits | crossOffered
	if atomic.CompareAndSwapUint64(c.sendWord, offered, c.cookie<<crossStateBits|crossWithdrawn) {
		return offered
	}
	return atomic.LoadUint64(c.sendWord)
}

// answer waits for the receiver's word about the offer under way. nil: it says that
// it has taken it.
func (c *CrossMemoryConn) answer(ctx context.Context) error {
	for {
		h, _, fds, err := c.ctl.receive(ctx, true, nil, 0)
		memCloseAll(fds)
		switch {
		case errors.Is(err, io.EOF):
			return syscall.EPIPE
		case err != nil:
			return err
		case h.cookie != c.cookie: // X3
			continue
		case h.kind == memTaken:
			return nil
		case h.kind == memRefused && h.code != 0:
			c.refused.Store(h.code)
			return errCrossRefused
		}
		return fmt.Errorf("%w: answer %d", ErrFrame, h.kind)
	}
}

// sendCopy sends the message in a sealed memfd.
func (c *CrossMemoryConn) sendCopy(ctx context.Context, wait bool, msg []byte) error {
	obj, err := shm.Memfd("shmchan-message", int64(len(msg)), func(mem []byte) error {
		copy(mem, msg)
		return nil
	})
	if err != nil {
		return err
	}
	defer func() { _ = obj.Close() }()
	f, err := obj.File()
	if err != nil {
		return err
	}
	defer f.Close()
	h := memHead{kind: memCopy, size: uint64(len(msg))}
	return c.data.send(ctx, wait, &h, nil, f)
}
