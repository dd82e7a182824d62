package fallback

import (
	"context"
	"fmt"
	"io/fs"
	"os"
	"time"

	"golang.org/x/sys/unix"
)

// mqCall is a send or receive that waits. It belongs to who has the direction's turn, so
// that nothing is allocated for it.
type mqCall struct {
	q        *Queue
	buf      []byte
	priority uint32
	n        int
	errno    unix.Errno
	obey     bool // EAGAIN: the handle has been made non-blocking, and that is the answer
	send     func(uintptr) bool
	receive  func(uintptr) bool
}

func (c *mqCall) bind(q *Queue) { c.q, c.send, c.receive = q, c.trySend, c.tryReceive }

func (c *mqCall) trySend(fd uintptr) bool {
	c.errno = mqTimedSend(int(fd), c.buf, c.priority)
	return !mqWaits(c.errno, c.obey)
}

func (c *mqCall) tryReceive(fd uintptr) bool {
	c.n, c.errno = mqTimedReceive(int(fd), c.buf, &c.priority)
	return !mqWaits(c.errno, c.obey)
}

// mqWaits says whether an answer means to wait. See mqLongAgo.
func mqWaits(errno unix.Errno, obey bool) bool {
	return errno == unix.ETIMEDOUT || errno == unix.EAGAIN && !obey
}

// mqMode is what a call does where it would have to wait.
type mqMode uint8

const (
	mqTry  mqMode = iota // ErrWouldBlock
	mqObey               // as SetNonblock says
	mqWait               // wait
)

// Send puts msg into the queue: mq_send(3). While the queue is full it waits, unless
// SetNonblock: then ErrWouldBlock. The kernel has copied msg when Send returns. priority is
// 0 to MaxQueuePriority. ctx may be nil, and ends the wait at once with its error; unless
// the error is nil nothing was sent.
//
// Errors: ErrTooLarge; fs.ErrInvalid: priority; os.ErrClosed; errors.ErrUnsupported: opened
// for receiving only. A message without bytes is one.
func (q *Queue) Send(ctx context.Context, msg []byte, priority uint) error {
	return q.send(ctx, time.Time{}, mqObey, msg, priority)
}

// SendUntil is Send that waits until an instant: mq_timedsend(3). os.ErrDeadlineExceeded
// after it; if there is room it sends even then. It differs from the C function in that
// setting the clock does not move the instant, if it was made from time.Now: the
// wait is by the monotonic clock.
func (q *Queue) SendUntil(deadline time.Time, msg []byte, priority uint) error {
	return q.send(forever, deadline, mqObey, msg, priority)
}

// TrySend is Send that does not wait: ErrWouldBlock.
func (q *Queue) TrySend(msg []byte, priority uint) error {
	return q.send(forever, time.Time{}, mqTry, msg, priority)
}

// Receive takes the oldest message of the highest priority, and appends it to dst:
// mq_receive(3). While the queue is empty it waits, unless SetNonblock: then ErrWouldBlock. ctx
// may be nil, and ends the wait at once with its error; unless the error is nil nothing
// was taken. With room for MaxMessage bytes behind dst's length the message goes
// there directly; with less it is copied, and dst grows as by append.
//
// Errors: os.ErrClosed; errors.ErrUnsupported: opened for sending only.
func (q *Queue) Receive(ctx context.Context, dst []byte) (msg []byte, priority uint, err error) {
	return q.receive(ctx, time.Time{}, mqObey, dst)
}

// ReceiveUntil is Receive that waits until an instant, as SendUntil does.
func (q *Queue) ReceiveUntil(deadline time.Time, dst []byte) (msg []byte, priority uint, err error) {
	return q.receive(forever, deadline, mqObey, dst)
}

// TryReceive is Receive that does not wait: ErrWouldBlock.
func (q *Queue) TryReceive(dst []byte) (msg []byte, priority uint, err error) {
	return q.receive(forever, time.Time{}, mqTry, dst)
}

// WaitReadable waits until there is a message, and leaves it there; another receiver may
// be faster. ctx may be nil.
func (q *Queue) WaitReadable(ctx context.Context) error {
	err := q.await(ctx, &q.f.in, func(a *mqAttr) bool { return a.messages > 0 })
	return opError(KindMQ, "wait to receive from", q.name, err)
}

// WaitWritable waits until there is room for a message; another sender may be faster.
func (q *Queue) WaitWritable(ctx context.Context) error {
	err := q.await(ctx, &q.f.out, func(a *mqAttr) bool { return a.messages < a.maxMessages })
	return opError(KindMQ, "wait to send to", q.name, err)
}

func (q *Queue) await(ctx context.Context, t *mqTurn, ready func(*mqAttr) bool) error {
	if ctx != nil && ctx.Err() != nil {
		return ctx.Err()
	}
	if err := t.take(ctx, time.Time{}); err != nil {
		return err
	}
	defer t.pass()
	var errno unix.Errno
	err := t.until(ctx, time.Time{}, func(fd uintptr) bool {
		var a mqAttr
		errno = mqGetSetAttr(int(fd), nil, &a)
		return errno != 0 || ready(&a)
	})
	if err == nil && errno != 0 {
		err = os.NewSyscallError("mq_getsetattr", errno)
	}
	return err
}

func (q *Queue) send(ctx context.Context, deadline time.Time, mode mqMode, msg []byte, priority uint) error {
	switch {
	case q.access == unix.O_RDONLY:
		return opError(KindMQ, "send to", q.name, Refuse(KindMQ, "sending on a queue opened for receiving"))
	case len(msg) > q.messageSize:
		err := fmt.Errorf("%d bytes, at most %d: %w", len(msg), q.messageSize, ErrTooLarge)
		return opError(KindMQ, "send to", q.name, err)
	case priority > MaxQueuePriority:
		err := fmt.Errorf("priority %d, at most %d: %w", priority, MaxQueuePriority, fs.ErrInvalid)
		return opError(KindMQ, "send to", q.name, err)
	case ctx != nil && ctx.Err() != nil:
		return opError(KindMQ, "send to", q.name, ctx.Err())
	case !q.f.hold():
		return opError(KindMQ, "send to", q.name, os.ErrClosed)
	}
	errno := mqTimedSend(q.f.fd, msg, uint32(priority))
	q.f.release()
	var err error
	if mode != mqTry && mqWaits(errno, mode == mqObey) {
		errno, err = q.waitSend(ctx, deadline, mode, msg, priority)
	}
	if errno == 0 && err == nil {
		return nil
	}
	return q.failed("send to", "mq_timedsend", errno, err)
}

func (q *Queue) waitSend(ctx context.Context, deadline time.Time, mode mqMode, msg []byte, priority uint) (unix.Errno, error) {
	t, c := &q.f.out, &q.outCall
	if err := t.take(ctx, deadline); err != nil {
		return 0, err
	}
	defer t.pass()
	c.buf, c.priority, c.obey = msg, uint32(priority), mode == mqObey
	err := t.until(ctx, deadline, c.send)
	c.buf = nil
	if err != nil {
		return 0, err
	}
	return c.errno, nil
}

func (q *Queue) receive(ctx context.Context, deadline time.Time, mode mqMode, dst []byte) ([]byte, uint, error) {
	switch {
	case q.access == unix.O_WRONLY:
		return dst, 0, opError(KindMQ, "receive from", q.name, Refuse(KindMQ, "receiving on a queue opened for sending"))
	case ctx != nil && ctx.Err() != nil:
		return dst, 0, opError(KindMQ, "receive from", q.name, ctx.Err())
	}
	// The kernel refuses a buffer that is smaller than the queue's messages may be.
	if cap(dst)-len(dst) >= q.messageSize {
		n, priority, err := q.receiveInto(ctx, deadline, mode, dst[len(dst):len(dst)+q.messageSize])
		return dst[:len(dst)+n], priority, err
	}
	buf := q.buffers.Get().(*[]byte)
	n, priority, err := q.receiveInto(ctx, deadline, mode, *buf)
	if err == nil {
		dst = append(dst, (*buf)[:n]...)
	}
	q.buffers.Put(buf)
	return dst, priority, err
}

// receiveInto takes a message into buf, which is large enough for any.
func (q *Queue) receiveInto(ctx context.Context, deadline time.Time, mode mqMode, buf []byte) (int, uint, error) {
	if !q.f.hold() {
		return 0, 0, opError(KindMQ, "receive from", q.name, os.ErrClosed)
	}
	var priority uint32
	n, errno := mqTimedReceive(q.f.fd, buf, &priority)
	q.f.release()
	var err error
	if mode != mqTry && mqWaits(errno, mode == mqObey) {
		n, priority, errno, err = q.waitReceive(ctx, deadline, mode, buf)
	}
	if errno == 0 && err == nil {
		return n, uint(priority), nil
	}
	return 0, 0, q.failed("receive from", "mq_timedreceive", errno, err)
}

func (q *Queue) waitReceive(ctx context.Context, deadline time.Time, mode mqMode, buf []byte) (int, uint32, unix.Errno, error) {
	t, c := &q.f.in, &q.inCall
	if err := t.take(ctx, deadline); err != nil {
		return 0, 0, 0, err
	}
	defer t.pass()
	c.buf, c.obey = buf, mode == mqObey
	err := t.until(ctx, deadline, c.receive)
	c.buf = nil
	if err != nil {
		return 0, 0, 0, err
	}
	return c.n, c.priority, c.errno, nil
}

// failed is the error of a call: err, or what errno means.
func (q *Queue) failed(op, call string, errno unix.Errno, err error) error {
	switch {
	case err != nil:
	case errno == unix.EAGAIN, errno == unix.ETIMEDOUT:
		// Bare: Try calls end so all the time, and should not allocate.
		return ErrWouldBlock
	default:
		err = os.NewSyscallError(call, errno)
	}
	return opError(KindMQ, op, q.name, err)
}
