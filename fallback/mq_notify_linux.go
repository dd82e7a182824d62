package fallback

import (
	"bytes"
	"context"
	"crypto/rand"
	"encoding/binary"
	"errors"
	"fmt"
	"os"
	"sync"
	"time"
	"unsafe"

	"golang.org/x/sys/unix"
)

// QueueNotification is this process's registration to be told when a message comes into
// the empty queue: mq_notify(3). It is used up by one notification, and then made again with
// Rearm: before the queue is emptied, or a message that comes between would be missed:
//
//	n, err := q.Notify()
//	for … {
//		for { msg, priority, err := q.TryReceive(buf); errors.Is(err, ErrWouldBlock) ends it }
//		err = n.Wait(ctx)
//		err = n.Rearm()
//	}
//
// How it is delivered. The kernel would start a thread (SIGEV_THREAD), which is the C
// library's doing: in truth it sends a few bytes to a netlink socket whose
// descriptor comes with the registration. So does this package, and waits for them in the
// runtime's poller: no thread, no signal. Where netlink sockets are refused, the
// registration is made with SIGEV_NONE, and Wait waits for the queue to be readable; where
// mq_notify is missing altogether (qemu's user mode), without a registration: see Polled.
//
// mq_notify's traps, and what becomes of them here:
//
//   - One process can be registered per queue: for another one, and for a second
//     time in this one, Notify and Rearm return unix.EBUSY.
//   - A message that a receiver is already blocked for, inside the kernel, notifies nobody: it
//     does not come into the queue. A Receive of this package is blocked there for a clock tick
//     at most, and then waits outside, in the poller, which does not keep the notification
//     away; one of the same Queue does so from the beginning.
//   - When this process closes any descriptor of the queue, another Queue's for instance, or
//     reads the queue's file in /dev/mqueue, the kernel forgets the registration. Wait is told
//     so, and registers again; if there are messages by then, it returns.
//
// So Wait may return though the queue is empty, or has been emptied meanwhile.
// Any number of goroutines may call any method at once; a notification goes to one of them.
type QueueNotification struct {
	q      *Queue
	socket *mqFD // nil: polled

	closing context.Context // ends with Close, for who polls
	end     context.CancelFunc

	mu     sync.Mutex
	armed  bool // as far as is known: it may be used up, and not be read yet
	kept   bool // polled, and has registered before
	silent bool // polled, and mq_notify is missing
	closed bool
	cookie [mqCookieLen]byte // of the last registration
}

// mqCookieLen is NOTIFY_COOKIE_LEN of the kernel's ipc/mqueue.c: what it sends back, with the
// last byte changed to what has happened.
const mqCookieLen = 32

const (
	mqWoken   = 1 // NOTIFY_WOKENUP
	mqRemoved = 2 // NOTIFY_REMOVED
)

// Notify registers this process for a notification. It does not block. If there are messages
// already, nothing comes until the queue has been emptied: take them first, after Notify.
//
// unix.EBUSY: some process is registered, this one perhaps. os.ErrClosed.
func (q *Queue) Notify() (*QueueNotification, error) {
	n, err := q.notify(mqNotifySocket)
	return n, opError(KindMQ, "get notified of", q.name, err)
}

// notify is Notify with a way to make the socket.
func (q *Queue) notify(socket func() (*mqFD, error)) (*QueueNotification, error) {
	n := &QueueNotification{q: q}
	n.closing, n.end = context.WithCancel(context.Background())
	_, _ = rand.Read(n.cookie[:]) // never fails
	var err error
	if n.socket, err = socket(); err != nil && !mqRefusal(err) {
		return nil, err
	}
	err = n.register()
	if errors.Is(err, unix.ENOSYS) {
		if n.socket != nil {
			_ = n.socket.close()
		}
		n.socket, n.silent, n.armed, err = nil, true, true, nil
	}
	q.mu.Lock()
	defer q.mu.Unlock()
	if err == nil && q.f.isClosed() {
		err = os.ErrClosed
	}
	if err != nil {
		_ = n.shut()
		return nil, err
	}
	if q.notes == nil {
		q.notes = map[*QueueNotification]struct{}{}
	}
	q.notes[n] = struct{}{}
	q.f.in.hurried.never.Store(true)
	return n, nil
}

// mqNotifySocket makes a netlink socket. It is bound to nothing, so nobody but the kernel
// can reach it.
func mqNotifySocket() (*mqFD, error) {
	fd, err := unix.Socket(unix.AF_NETLINK, unix.SOCK_RAW|unix.SOCK_CLOEXEC|unix.SOCK_NONBLOCK, unix.NETLINK_ROUTE)
	if err != nil {
		return nil, os.NewSyscallError("socket", err)
	}
	return newMQFD(fd), nil
}

// mqRefusal says whether netlink sockets are not to be had here, as opposed to: not now.
func mqRefusal(err error) bool {
	for _, errno := range []error{
		unix.EPERM, unix.EACCES, unix.EAFNOSUPPORT, unix.EPROTONOSUPPORT, unix.ENOSYS, unix.EINVAL,
	} {
		if errors.Is(err, errno) {
			return true
		}
	}
	return false
}

// Polled reports that netlink or mq_notify cannot be had here, and Wait waits for
// the queue to be readable: it then also returns for messages that were there before. If
// mq_notify is what is missing, two processes can be notified of one queue.
func (n *QueueNotification) Polled() bool { return n.socket == nil }

// Rearm registers again after a notification; while the registration is unused it does
// nothing. Call it before emptying the queue. unix.EBUSY: another was faster.
func (n *QueueNotification) Rearm() error {
	n.mu.Lock()
	defer n.mu.Unlock()
	err := error(nil)
	switch {
	case n.closed:
		err = os.ErrClosed
	case !n.armed:
		err = n.register()
	}
	return opError(KindMQ, "get notified of", n.q.name, err)
}

// register is called with n.mu, or before anybody knows n.
func (n *QueueNotification) register() error {
	if !n.q.f.hold() {
		return os.ErrClosed
	}
	defer n.q.f.release()
	if n.socket == nil {
		return n.registerSilently()
	}
	if !n.socket.hold() {
		return os.ErrClosed
	}
	defer n.socket.release()
	// Each registration has a number, so that a late word on an old one is known as such.
	number := binary.NativeEndian.Uint64(n.cookie[:])
	binary.NativeEndian.PutUint64(n.cookie[:], number+1)
	n.cookie[mqCookieLen-1] = 0
	err := mqNotify(n.q.f.fd, &mqSigevent{
		value: unsafe.Pointer(&n.cookie), signo: int32(n.socket.fd), notify: mqSigevThread,
	})
	n.armed = err == nil
	return err
}

// registerSilently keeps others from registering, as far as that goes.
func (n *QueueNotification) registerSilently() error {
	if n.silent {
		n.armed = true
		return nil
	}
	event := &mqSigevent{notify: mqSigevNone}
	err := mqNotify(n.q.f.fd, event)
	if n.kept && errors.Is(err, unix.EBUSY) {
		// It may be our own, unused because Wait found messages that were there before. This
		// takes back no other process's.
		if err = mqNotify(n.q.f.fd, nil); err == nil {
			err = mqNotify(n.q.f.fd, event)
		}
	}
	n.armed = err == nil
	n.kept = n.kept || n.armed
	return err
}

// Wait waits for the notification, which is used up then. ctx may be nil, and ends the
// wait at once. Errors: ErrNotArmed; os.ErrClosed, after the queue's Close too; unix.EBUSY: the
// registration was lost (see the type's comment) and another process has it now.
func (n *QueueNotification) Wait(ctx context.Context) error {
	return opError(KindMQ, "wait for a notification of", n.q.name, n.wait(ctx))
}

func (n *QueueNotification) wait(ctx context.Context) error {
	if ctx != nil && ctx.Err() != nil {
		return ctx.Err()
	}
	n.mu.Lock()
	closed, armed := n.closed, n.armed
	n.mu.Unlock()
	switch {
	case closed:
		return os.ErrClosed
	case !armed:
		return ErrNotArmed
	case n.socket == nil:
		return n.poll(ctx)
	}
	var got [mqCookieLen + 1]byte
	var size int
	var sockErr error
	if err := n.socket.in.take(ctx, time.Time{}); err != nil {
		return err
	}
	defer n.socket.in.pass()
	for {
		err := n.socket.in.until(ctx, time.Time{}, func(fd uintptr) bool {
			size, _, sockErr = unix.Recvfrom(int(fd), got[:], 0)
			return sockErr != unix.EAGAIN && sockErr != unix.EINTR
		})
		if err == nil {
			err = os.NewSyscallError("recvfrom", sockErr)
		}
		if err != nil {
			return err
		}
		if done, err := n.told(got[:size]); done || err != nil {
			return err
		}
	}
}

// told looks at what the kernel has sent. true: it is the notification.
func (n *QueueNotification) told(msg []byte) (bool, error) {
	n.mu.Lock()
	defer n.mu.Unlock()
	const last = mqCookieLen - 1
	switch {
	case n.closed:
		return false, os.ErrClosed
	case len(msg) != mqCookieLen || !bytes.Equal(msg[:last], n.cookie[:last]):
		return false, nil // of an earlier registration
	case msg[last] == mqWoken:
		n.armed = false
		return true, nil
	case msg[last] != mqRemoved:
		return false, fmt.Errorf("code %d: %w", msg[last], ErrFrame)
	}
	n.armed = false
	if err := n.register(); err != nil {
		return false, err
	}
	a, err := n.q.getSetAttr(nil)
	return a.Messages > 0, err
}

// poll is wait without a socket.
func (n *QueueNotification) poll(ctx context.Context) error {
	both := n.closing
	if ctx != nil && ctx.Done() != nil {
		var cancel context.CancelFunc
		both, cancel = context.WithCancel(ctx)
		defer cancel()
		defer context.AfterFunc(n.closing, cancel)()
	}
	err := n.q.await(both, &n.q.f.in, func(a *mqAttr) bool { return a.messages > 0 })
	n.mu.Lock()
	defer n.mu.Unlock()
	switch {
	case n.closed:
		return os.ErrClosed
	case err == nil:
		n.armed = false
	case ctx != nil && ctx.Err() != nil:
		return ctx.Err()
	}
	return err
}

// Close takes the registration back; a Wait that is blocked returns os.ErrClosed at once. A second
// one, or one after the queue's, is os.ErrClosed.
func (n *QueueNotification) Close() error {
	n.q.mu.Lock()
	delete(n.q.notes, n)
	n.q.f.in.hurried.never.Store(len(n.q.notes) > 0)
	n.q.mu.Unlock()
	return opError(KindMQ, "end the notification of", n.q.name, n.shut())
}

func (n *QueueNotification) shut() error {
	n.mu.Lock()
	defer n.mu.Unlock()
	if n.closed {
		return os.ErrClosed
	}
	n.closed = true
	n.end()
	if (n.armed || n.kept) && n.q.f.hold() {
		_ = mqNotify(n.q.f.fd, nil)
		n.q.f.release()
	}
	if n.socket != nil {
		_ = n.socket.close()
	}
	return nil
}
