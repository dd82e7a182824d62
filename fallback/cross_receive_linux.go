package fallback

import (
	"context"
	"errors"
	"fmt"
	"os"
	"slices"
	"sync/atomic"

	"golang.org/x/sys/unix"
)

// Receive implements Conn.
func (c *CrossMemoryConn) Receive(ctx context.Context, dst []byte) ([]byte, error) {
	if err := memEnded(ctx); err != nil {
		return dst, opError(KindCrossMemory, "receive", "", err)
	}
	dst, err := c.receive(ctx, true, dst)
	return dst, opError(KindCrossMemory, "receive", "", err)
}

// TryReceive implements Conn. A large message is fetched, which takes as long as it takes
// to copy it.
func (c *CrossMemoryConn) TryReceive(dst []byte) ([]byte, error) {
	dst, err := c.receive(forever, false, dst)
	return dst, opError(KindCrossMemory, "try receive", "", err)
}

func (c *CrossMemoryConn) receive(ctx context.Context, wait bool, dst []byte) ([]byte, error) {
	for {
		if c.closed.Load() {
			return dst, os.ErrClosed
		}
		h, body, fds, err := c.data.receive(ctx, wait, dst, crossInlineMost)
		got, done := body, true
		switch {
		case err != nil:
		case h.kind == memInline && h.size == uint64(len(body)-len(dst)) && h.size <= uint64(c.max) && len(fds) == 0:
		case h.size > uint64(c.max), len(body) != len(dst):
			err = fmt.Errorf("%w: a packet of kind %d that says %d bytes", ErrFrame, h.kind, h.size)
		case h.kind == memOffer && len(fds) == 0:
			got, done, err = c.fetch(&h, dst)
		case h.kind == memCopy && len(fds) == 1:
			got, err = c.copied(&h, fds[0], dst)
		default:
			err = fmt.Errorf("%w: a packet of kind %d with %d descriptors", ErrFrame, h.kind, len(fds))
		}
		memCloseAll(fds)
		if err != nil {
			return dst, err // after ErrFrame the next packet is as good as any
		}
		if done {
			return got, nil
		}
	}
}

// fetch is the receiver's side of the handover; its invariants are in
// cross_send_linux.go. Not done: there is no message, go on with the next packet.
func (c *CrossMemoryConn) fetch(h *memHead, dst []byte) (_ []byte, done bool, err error) {
	if !c.enter() {
		return dst, false, nil
	}
	defer c.leave()
	offered := h.cookie<<crossStateBits | crossOffered
	if atomic.LoadUint64(c.recvWord) != offered {
		return dst, false, nil // withdrawn
	}
	got, err := c.pull(h, dst)
	if err != nil {
		switch {
		case atomic.LoadUint64(c.recvWord) != offered:
			return dst, false, nil // withdrawn meanwhile, and the memory given back
		case c.proc != nil && !c.proc.Alive():
			return dst, false, nil // the end of file comes next
		case errors.Is(err, unix.EFAULT):
			return dst, false, fmt.Errorf("%w: %w", ErrFrame, err)
		}
		return dst, false, c.refuse(h, err)
	}
	if !atomic.CompareAndSwapUint64(c.recvWord, offered, h.cookie<<crossStateBits|crossTaken) { // X1
		return dst, false, nil
	}
	answer := memHead{kind: memTaken, cookie: h.cookie}
	// It cannot fail but for a sender that is gone, or that does not read: X4.
	_ = c.ctl.send(forever, false, &answer, nil, nil)
	memRaceReceive()
	return got, true, nil
}

// refuse tells the sender that its memory cannot be read from here.
func (c *CrossMemoryConn) refuse(h *memHead, err error) error {
	errno := unix.EPERM
	if !errors.As(err, &errno) {
		errno = unix.EPERM
	}
	answer := memHead{kind: memRefused, code: uint32(errno), cookie: h.cookie}
	switch err := c.ctl.send(forever, false, &answer, nil, nil); {
	case errors.Is(err, ErrWouldBlock):
		return fmt.Errorf("%w: the sender does not read its answers", ErrFrame)
	default:
		return nil
	}
}

// crossPiece is how much is fetched at once where dst has to grow: memory is taken as
// bytes arrive, and not as the sender promises them.
const crossPiece = 1 << 20

// pull appends the message at the offer's address to dst.
func (c *CrossMemoryConn) pull(h *memHead, dst []byte) ([]byte, error) {
	addr := uintptr(h.addr)
	switch {
	case c.proc == nil:
		return dst, fmt.Errorf("pidfd_open: %w", unix.ENOSYS)
	case uint64(addr) != h.addr || uint64(addr+uintptr(h.size)) < uint64(addr):
		return dst, fmt.Errorf("address %#x: %w", h.addr, unix.EFAULT)
	}
	for left := int(h.size); left > 0; {
		room := cap(dst) - len(dst)
		if room < left && room < crossPiece {
			dst = slices.Grow(dst, min(left, max(crossPiece, len(dst))))
			room = cap(dst) - len(dst)
		}
		n := min(left, room)
		m, errno := attachCall(c.proc.pid, dst[len(dst):len(dst)+n], addr, false)
		if errno != 0 {
			return dst, attachError(c.proc.pid, errno, false)
		}
		dst, addr, left = dst[:len(dst)+m], addr+uintptr(m), left-m
	}
	if !c.proc.Alive() { // so that it was the peer's memory
		return dst, attachError(c.proc.pid, unix.ESRCH, false)
	}
	return dst, nil
}

// copied appends the message in the memfd to dst. Its seal says that it is memory, whose
// reading does not block; and it is read rather than mapped, so that it may be whatever
// else it likes.
func (c *CrossMemoryConn) copied(h *memHead, fd int, dst []byte) ([]byte, error) {
	seals, err := unix.FcntlInt(uintptr(fd), unix.F_GET_SEALS, 0)
	if err != nil || seals&unix.F_SEAL_SHRINK == 0 {
		return dst, fmt.Errorf("%w: a descriptor that is no sealed memfd", ErrFrame)
	}
	for at, size := int64(0), int64(h.size); at < size; {
		if cap(dst) == len(dst) {
			dst = slices.Grow(dst, int(min(size-at, int64(max(crossPiece, len(dst))))))
		}
		n, err := unix.Pread(fd, dst[len(dst):min(int64(cap(dst)), int64(len(dst))+size-at)], at)
		switch {
		case err == unix.EINTR:
			continue
		case err != nil:
			return dst, fmt.Errorf("%w: %w", ErrFrame, os.NewSyscallError("pread64", err))
		case n == 0:
			return dst, fmt.Errorf("%w: a memfd of %d bytes for a message of %d", ErrFrame, at, size)
		}
		dst, at = dst[:len(dst)+n], at+int64(n)
	}
	return dst, nil
}
