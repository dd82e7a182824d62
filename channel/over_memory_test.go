//go:build linux

package channel_test

import (
	"context"
	"errors"
	"io"
	"os"
	"slices"
	"sync"
	"syscall"

	"github.com/shmchan/shmchan/fallback"
)

// memQueue is the reference that the channel's own tests run over: messages in
// memory, exactly as many as it has room for.
type memQueue struct {
	mu       sync.Mutex
	changed  chan struct{} // closed at each change
	messages []memMessage
	room     int
	senders  int
	takers   int
	flag     bool // a channel over it was closed
}

type memMessage struct {
	data     []byte
	priority uint
}

func newMemQueue(room int) *memQueue {
	return &memQueue{room: room, changed: make(chan struct{})}
}

// stir wakes who waits. mu is held.
func (q *memQueue) stir() {
	close(q.changed)
	q.changed = make(chan struct{})
}

func (q *memQueue) data() int {
	n := 0
	for _, m := range q.messages {
		if m.priority > 0 {
			n++
		}
	}
	return n
}

// memConn is one end: of one queue (KindMQ), of two (a duplex pair), or of one direction.
type memConn struct {
	kind    fallback.Kind
	in, out *memQueue
	most    int
	gone    chan struct{}
	once    sync.Once
}

func newMemConn(kind fallback.Kind, in, out *memQueue, most int) *memConn {
	for q := range memSet(in, out) {
		q.mu.Lock()
		if q == out {
			q.senders++
		}
		if q == in {
			q.takers++
		}
		q.mu.Unlock()
	}
	return &memConn{kind: kind, in: in, out: out, most: most, gone: make(chan struct{})}
}

func memSet(qs ...*memQueue) map[*memQueue]bool {
	set := map[*memQueue]bool{}
	for _, q := range qs {
		if q != nil {
			set[q] = true
		}
	}
	return set
}

// memShared is n ends of one queue.
func memShared(n, room, most int) []*memConn {
	q := newMemQueue(room)
	var ends []*memConn
	for range n {
		ends = append(ends, newMemConn(fallback.KindMQ, q, q, most))
	}
	return ends
}

// memPair is two ends that send to each other.
func memPair(room, most int) (a, b *memConn) {
	x, y := newMemQueue(room), newMemQueue(room)
	return newMemConn(fallback.KindUnixSeqpacket, x, y, most), newMemConn(fallback.KindUnixSeqpacket, y, x, most)
}

// memOneWay is an end that sends and one that receives.
func memOneWay(room, most int) (tx, rx *memConn) {
	q := newMemQueue(room)
	return newMemConn(fallback.KindPipe, nil, q, most), newMemConn(fallback.KindPipe, q, nil, most)
}

func (c *memConn) Kind() fallback.Kind { return c.kind }
func (c *memConn) MaxMessage() int     { return c.most }
func (c *memConn) CloseSend() error    { return fallback.Refuse(c.kind, "half-close") }

func (c *memConn) Peer() (fallback.Credentials, error) {
	return fallback.Credentials{}, fallback.Refuse(c.kind, "credentials")
}

func (c *memConn) Capabilities() fallback.Capabilities {
	return fallback.Capabilities{
		Send: c.out != nil, Receive: c.in != nil, Ordered: true, Reliable: true, Boundaries: true,
		Priorities: c.kind == fallback.KindMQ, ManySenders: c.kind == fallback.KindMQ,
		ManyReceivers: c.kind == fallback.KindMQ, EndOfFile: c.kind != fallback.KindMQ,
	}
}

func (c *memConn) Close() error {
	err := os.ErrClosed
	c.once.Do(func() {
		err = nil
		close(c.gone)
		for q := range memSet(c.in, c.out) {
			q.mu.Lock()
			if q == c.out {
				q.senders--
			}
			if q == c.in {
				q.takers--
			}
			q.stir()
			q.mu.Unlock()
		}
	})
	return err
}

func (c *memConn) TrySend(msg []byte) error                   { return c.TrySendPriority(msg, 1) }
func (c *memConn) Send(ctx context.Context, msg []byte) error { return c.SendPriority(ctx, msg, 1) }

func (c *memConn) TryReceive(dst []byte) ([]byte, error) {
	msg, _, err := c.tryReceive(dst)
	return msg, err
}
func (c *memConn) isGone() bool { return isClosed(c.gone) }
func isClosed(done <-chan struct{}) bool {
	select {
	case <-done:
		return true
	default:
		return false
	}
}

func (c *memConn) TrySendPriority(msg []byte, priority uint) error {
	_, err := c.trySend(msg, priority)
	return err
}

// trySend also gives what to wait for.
func (c *memConn) trySend(msg []byte, priority uint) (<-chan struct{}, error) {
	if c.out == nil {
		return nil, fallback.Refuse(c.kind, "sending")
	}
	q := c.out
	q.mu.Lock()
	defer q.mu.Unlock()
	switch {
	case c.isGone():
		return nil, os.ErrClosed
	case len(msg) > c.most:
		return nil, fallback.ErrTooLarge
	case q.takers == 0:
		return nil, syscall.EPIPE
	case len(q.messages) >= q.room:
		return q.changed, fallback.ErrWouldBlock
	}
	i := len(q.messages)
	for i > 0 && q.messages[i-1].priority < priority {
		i--
	}
	q.messages = slices.Insert(q.messages, i, memMessage{slices.Clone(msg), priority})
	q.stir()
	return nil, nil
}

func (c *memConn) SendPriority(ctx context.Context, msg []byte, priority uint) error {
	return c.await(ctx, func() (<-chan struct{}, error) { return c.trySend(msg, priority) })
}

// await repeats try until it need not wait.
func (c *memConn) await(ctx context.Context, try func() (<-chan struct{}, error)) error {
	var done <-chan struct{}
	if ctx != nil {
		if done = ctx.Done(); ctx.Err() != nil {
			return ctx.Err()
		}
	}
	for {
		changed, err := try()
		if !errors.Is(err, fallback.ErrWouldBlock) {
			return err
		}
		select {
		case <-changed:
		case <-done:
			return ctx.Err()
		case <-c.gone:
			return os.ErrClosed
		}
	}
}

func (c *memConn) tryReceive(dst []byte) ([]byte, <-chan struct{}, error) {
	if c.in == nil {
		return dst, nil, fallback.Refuse(c.kind, "receiving")
	}
	q := c.in
	q.mu.Lock()
	defer q.mu.Unlock()
	switch {
	case c.isGone():
		return dst, nil, os.ErrClosed
	case len(q.messages) > 0:
		dst = append(dst, q.messages[0].data...)
		q.messages = slices.Delete(q.messages, 0, 1)
		q.stir()
		return dst, nil, nil
	case q.senders == 0:
		return dst, nil, io.EOF
	}
	return dst, q.changed, fallback.ErrWouldBlock
}

func (c *memConn) Receive(ctx context.Context, dst []byte) (msg []byte, err error) {
	err = c.await(ctx, func() (changed <-chan struct{}, err error) {
		msg, changed, err = c.tryReceive(dst)
		return changed, err
	})
	return msg, err
}

func (c *memConn) ReceivePriority(ctx context.Context, dst []byte) ([]byte, uint, error) {
	msg, err := c.Receive(ctx, dst)
	return msg, 0, err
}

// Shared, Queued and Capacity are what Over asks for where a Conn has it.
func (c *memConn) Shared() bool { return c.kind == fallback.KindMQ }

func (c *memConn) Queued() (int, bool) {
	if c.kind != fallback.KindMQ {
		return 0, false
	}
	c.in.mu.Lock()
	defer c.in.mu.Unlock()
	n := c.in.data()
	if c.in.flag {
		n++ // Over takes it that the mark is there
	}
	return n, true
}

func (c *memConn) Capacity() int {
	if c.out != nil {
		return c.out.room
	}
	return c.in.room
}

// ChannelClosed and CloseChannel keep that the channel was closed.
func (c *memConn) ChannelClosed() bool {
	if c.kind != fallback.KindMQ {
		return false
	}
	c.in.mu.Lock()
	defer c.in.mu.Unlock()
	return c.in.flag
}

func (c *memConn) CloseChannel() {
	if c.kind == fallback.KindMQ {
		c.in.mu.Lock()
		c.in.flag = true
		c.in.mu.Unlock()
	}
}
