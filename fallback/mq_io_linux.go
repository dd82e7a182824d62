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
	buf      []byte
	priority uint32
	n        int
	errno    unix.Errno
	obey     bool // EAGAIN: the handle has been made non-blocking, and that is the answer

	mqWays
}

// mqWays are the ways in which one call is made.
type mqWays struct {
	try   func(fd uintptr) bool                 // without sleeping; false: it would have had to
	sleep func(fd uintptr, until *mqAlarm) bool // in the kernel; false: in vain
}

func (c *mqCall) bindSend() {
	c.try = func(fd uintptr) bool {
		c.errno = mqTimedSend(int(fd), c.buf, c.priority)
		return !mqWaits(c.errno, c.obey)
	}
	c.sleep = func(fd uintptr, until *mqAlarm) bool {
		c.errno = mqSleepSend(int(fd), c.buf, c.priority, until)
		return !mqWaits(c.errno, c.obey)
	}
}

func (c *mqCall) bindReceive() {
	c.try = func(fd uintptr) bool {
		c.n, c.errno = mqTimedReceive(int(fd), c.buf, &c.priority)
		return !mqWaits(c.errno, c.obey)
	}
	c.sleep = func(fd uintptr, until *mqAlarm) bool {
		c.n, c.errno = mqSleepReceive(int(fd), c.buf, &c.priority, until)
		return !mqWaits(c.errno, c.obey)
	}
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
	if q.access == unix.O_RDONLY || len(msg) > q.messageSize || priority > MaxQueuePriority || ctx != nil && ctx.Err() != nil {
		return opError(KindMQ, "send to", q.name, q.refuseSend(ctx, msg, priority))
	}
	f := q.f
	tries := mode == mqTry || !f.out.sleepsFirst(ctx, deadline)
	if tries {
		if !f.hold() {
			return opError(KindMQ, "send to", q.name, os.ErrClosed)
		}
		errno := mqTimedSend(f.fd, msg, uint32(priority))
		f.release()
		if errno == 0 {
			f.out.hurried.tried()
			return nil
		}
		if mode == mqTry || !mqWaits(errno, mode == mqObey) {
			return q.failed("send to", "mq_timedsend", errno, nil)
		}
	}
	errno, err := q.waitSend(ctx, deadline, mode, tries, msg, priority)
	if errno == 0 && err == nil {
		return nil
	}
	return q.failed("send to", "mq_timedsend", errno, err)
}

// refuseSend says what is wrong with the arguments.
func (q *Queue) refuseSend(ctx context.Context, msg []byte, priority uint) error {
	switch {
	case q.access == unix.O_RDONLY:
		return Refuse(KindMQ, "sending on a queue opened for receiving")
	case len(msg) > q.messageSize:
		return fmt.Errorf("%d bytes, at most %d: %w", len(msg), q.messageSize, ErrTooLarge)
	case priority > MaxQueuePriority:
		return fmt.Errorf("priority %d, at most %d: %w", priority, MaxQueuePriority, fs.ErrInvalid)
	}
	return ctx.Err()
}

func (q *Queue) waitSend(ctx context.Context, deadline time.Time, mode mqMode, tried bool, msg []byte, priority uint) (unix.Errno, error) {
	t, c := &q.f.out, &q.outCall
	if err := t.take(ctx, deadline); err != nil {
		return 0, err
	}
	defer t.pass()
	c.buf, c.priority, c.obey = msg, uint32(priority), mode == mqObey
	err := t.wait(ctx, deadline, tried, &c.mqWays)
	c.buf = nil
	if err != nil {
		return 0, err
	}
	return c.errno, nil
}

func (q *Queue) receive(ctx context.Context, deadline time.Time, mode mqMode, dst []byte) ([]byte, uint, error) {
	if q.access == unix.O_WRONLY || ctx != nil && ctx.Err() != nil {
		return dst, 0, opError(KindMQ, "receive from", q.name, q.refuseReceive(ctx))
	}
	// The kernel refuses a buffer that is smaller than the queue's messages may be.
	if cap(dst)-len(dst) < q.messageSize {
		return q.receiveAside(ctx, deadline, mode, dst)
	}
	f, buf := q.f, dst[len(dst):len(dst)+q.messageSize]
	tries := mode == mqTry || !f.in.sleepsFirst(ctx, deadline)
	if tries {
		if !f.hold() {
			return dst, 0, opError(KindMQ, "receive from", q.name, os.ErrClosed)
		}
		var priority uint32
		n, errno := mqTimedReceive(f.fd, buf, &priority)
		f.release()
		if errno == 0 {
			f.in.hurried.tried()
			return dst[:len(dst)+n], uint(priority), nil
		}
		if mode == mqTry || !mqWaits(errno, mode == mqObey) {
			return dst, 0, q.failed("receive from", "mq_timedreceive", errno, nil)
		}
	}
	n, priority, errno, err := q.waitReceive(ctx, deadline, mode, tries, buf)
	if errno == 0 && err == nil {
		return dst[:len(dst)+n], uint(priority), nil
	}
	return dst, 0, q.failed("receive from", "mq_timedreceive", errno, err)
}

// refuseReceive says why nothing can be received.
func (q *Queue) refuseReceive(ctx context.Context) error {
	if q.access == unix.O_WRONLY {
		return Refuse(KindMQ, "receiving on a queue opened for sending")
	}
	return ctx.Err()
}

// receiveAside receives into memory of its own, and copies.
func (q *Queue) receiveAside(ctx context.Context, deadline time.Time, mode mqMode, dst []byte) ([]byte, uint, error) {
	buf := q.buffers.Get().(*[]byte)
	msg, priority, err := q.receive(ctx, deadline, mode, (*buf)[:0])
	if err == nil {
		dst = append(dst, msg...)
	}
	q.buffers.Put(buf)
	return dst, priority, err
}

func (q *Queue) waitReceive(ctx context.Context, deadline time.Time, mode mqMode, tried bool, buf []byte) (int, uint32, unix.Errno, error) {
	t, c := &q.f.in, &q.inCall
	if err := t.take(ctx, deadline); err != nil {
		return 0, 0, 0, err
	}
	defer t.pass()
	c.buf, c.obey = buf, mode == mqObey
	err := t.wait(ctx, deadline, tried, &c.mqWays)
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
