package fallback

import (
	"context"
	"encoding/binary"
	"io"
	"os"
	"sync"
	"syscall"
	"testing"

	"golang.org/x/sys/unix"
)

// The reference is a Conn within one process, as plain as can be: what the suite is
// tried on, and what the broken ones of conformance_broken_linux_test.go are made of.

func init() {
	carriers = append(carriers, carrier{
		name: "reference",
		open: func(t testing.TB) (a, b Conn) { return openReference(t) },
	})
}

const (
	refRoom  = 64      // messages that a queue holds
	refMax   = 1 << 18 // bytes in one
	refFiles = 253     // files with one; what the kernel permits, too
)

type refMessage struct {
	data     []byte
	priority uint
	files    []*os.File
}

// A refQueue is one direction.
type refQueue struct {
	mu     sync.Mutex
	moved  *sync.Cond // anything below has changed
	msgs   []refMessage
	spare  [][]byte // buffers of messages that were taken
	ended  bool     // the sender sends no more
	gone   bool     // the receiver receives no more
	signal *os.File // an eventfd, readable while there is something to receive
	word   [8]byte
}

func newRefQueue(t testing.TB) *refQueue {
	fd, err := unix.Eventfd(0, unix.EFD_SEMAPHORE|unix.EFD_NONBLOCK|unix.EFD_CLOEXEC)
	if err != nil {
		t.Fatalf("eventfd: %v", err)
	}
	q := &refQueue{signal: os.NewFile(uintptr(fd), "reference")}
	q.moved = sync.NewCond(&q.mu)
	return q
}

// raise makes the eventfd's count n larger.
func (q *refQueue) raise(n uint64) {
	binary.NativeEndian.PutUint64(q.word[:], n)
	q.signal.Write(q.word[:])
}

// wait waits for a change, or for ctx. Whoever calls it looks again.
func (q *refQueue) wait(ctx context.Context) error {
	if ctx == nil || ctx.Done() == nil {
		q.moved.Wait()
		return nil
	}
	stop := context.AfterFunc(ctx, func() {
		q.mu.Lock()
		defer q.mu.Unlock()
		q.moved.Broadcast()
	})
	defer stop()
	q.moved.Wait()
	return ctx.Err()
}

type refConn struct {
	in, out *refQueue
	closed  bool // under in.mu
	noSend  bool // under out.mu
}

func openReference(t testing.TB) (a, b *refConn) {
	p, q := newRefQueue(t), newRefQueue(t)
	a, b = &refConn{in: p, out: q}, &refConn{in: q, out: p}
	t.Cleanup(func() {
		a.Close()
		b.Close()
		for _, q := range []*refQueue{p, q} {
			q.mu.Lock()
			q.drop()
			q.signal.Close()
			q.mu.Unlock()
		}
	})
	return a, b
}

func (q *refQueue) drop() {
	for _, m := range q.msgs {
		closeFiles(m.files)
	}
	q.msgs = nil
}

func closeFiles(files []*os.File) {
	for _, f := range files {
		f.Close()
	}
}

func (c *refConn) put(ctx context.Context, m refMessage, wait bool) error {
	q := c.out
	if len(m.data) > refMax {
		return ErrTooLarge
	}
	q.mu.Lock()
	defer q.mu.Unlock()
	for {
		switch {
		case c.noSend:
			return os.ErrClosed
		case ctx != nil && ctx.Err() != nil:
			return ctx.Err()
		case q.gone:
			return syscall.EPIPE
		case len(q.msgs) < refRoom:
			var buf []byte
			if n := len(q.spare); n > 0 {
				buf, q.spare = q.spare[n-1], q.spare[:n-1]
			}
			m.data = append(buf[:0], m.data...)
			i := len(q.msgs)
			q.msgs = append(q.msgs, m)
			for ; i > 0 && q.msgs[i-1].priority < m.priority; i-- {
				q.msgs[i] = q.msgs[i-1]
			}
			q.msgs[i] = m
			q.raise(1)
			q.moved.Broadcast()
			return nil
		case !wait:
			return ErrWouldBlock
		}
		if err := q.wait(ctx); err != nil {
			return err
		}
	}
}

func (c *refConn) take(ctx context.Context, dst []byte, wait bool) ([]byte, refMessage, error) {
	q := c.in
	q.mu.Lock()
	defer q.mu.Unlock()
	for {
		switch {
		case c.closed:
			return dst, refMessage{}, os.ErrClosed
		case ctx != nil && ctx.Err() != nil:
			return dst, refMessage{}, ctx.Err()
		case len(q.msgs) > 0:
			m := q.msgs[0]
			q.msgs = q.msgs[:copy(q.msgs, q.msgs[1:])]
			dst = append(dst, m.data...)
			q.spare = append(q.spare, m.data)
			m.data = nil
			q.signal.Read(q.word[:])
			q.moved.Broadcast()
			return dst, m, nil
		case q.ended:
			return dst, refMessage{}, io.EOF
		case !wait:
			return dst, refMessage{}, ErrWouldBlock
		}
		if err := q.wait(ctx); err != nil {
			return dst, refMessage{}, err
		}
	}
}

func (c *refConn) Send(ctx context.Context, msg []byte) error {
	return c.put(ctx, refMessage{data: msg}, true)
}

func (c *refConn) TrySend(msg []byte) error { return c.put(forever, refMessage{data: msg}, false) }

func (c *refConn) Receive(ctx context.Context, dst []byte) ([]byte, error) {
	dst, m, err := c.take(ctx, dst, true)
	closeFiles(m.files)
	return dst, err
}

func (c *refConn) TryReceive(dst []byte) ([]byte, error) {
	dst, m, err := c.take(forever, dst, false)
	closeFiles(m.files)
	return dst, err
}

func (c *refConn) SendPriority(ctx context.Context, msg []byte, priority uint) error {
	return c.put(ctx, refMessage{data: msg, priority: priority}, true)
}

func (c *refConn) ReceivePriority(ctx context.Context, dst []byte) ([]byte, uint, error) {
	dst, m, err := c.take(ctx, dst, true)
	closeFiles(m.files)
	return dst, m.priority, err
}

func (c *refConn) SendFiles(ctx context.Context, msg []byte, files ...*os.File) error {
	if len(files) > refFiles {
		return syscall.EINVAL
	}
	m := refMessage{data: msg}
	for _, f := range files {
		fd, err := unix.FcntlInt(f.Fd(), unix.F_DUPFD_CLOEXEC, 0)
		if err != nil {
			closeFiles(m.files)
			return os.NewSyscallError("fcntl", err)
		}
		m.files = append(m.files, os.NewFile(uintptr(fd), f.Name()))
	}
	err := c.put(ctx, m, true)
	if err != nil {
		closeFiles(m.files)
	}
	return err
}

func (c *refConn) ReceiveFiles(ctx context.Context, dst []byte) ([]byte, []*os.File, error) {
	dst, m, err := c.take(ctx, dst, true)
	return dst, m.files, err
}

func (c *refConn) endSending() error {
	q := c.out
	q.mu.Lock()
	defer q.mu.Unlock()
	if c.noSend {
		return os.ErrClosed
	}
	c.noSend, q.ended = true, true
	q.raise(1 << 32) // from now on there is an end to receive
	q.moved.Broadcast()
	return nil
}

func (c *refConn) CloseSend() error { return c.endSending() }

func (c *refConn) Close() error {
	q := c.in
	q.mu.Lock()
	if c.closed {
		q.mu.Unlock()
		return os.ErrClosed
	}
	c.closed, q.gone = true, true
	q.drop()
	q.moved.Broadcast()
	q.mu.Unlock()
	c.endSending()
	return nil
}

func (c *refConn) MaxMessage() int { return refMax }
func (c *refConn) Kind() Kind      { return KindShared }

func (c *refConn) Capabilities() Capabilities {
	return Capabilities{
		Send: true, Receive: true, Ordered: true, Reliable: true, Priorities: true, Boundaries: true,
		Pollable: true, Descriptors: true, HalfClose: true, EndOfFile: true, Credentials: true,
	}
}

func (c *refConn) Peer() (Credentials, error) {
	return Credentials{PID: os.Getpid(), UID: os.Getuid(), GID: os.Getgid()}, nil
}

func (c *refConn) SyscallConn() (syscall.RawConn, error) { return c.in.signal.SyscallConn() }
