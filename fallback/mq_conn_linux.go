package fallback

import (
	"context"
	"fmt"
	"io/fs"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// mqConn is a Conn over queues: one for both directions, or one for each.
type mqConn struct {
	out, in *Queue // nil: not this direction
	max     int
}

var (
	_ Conn           = (*mqConn)(nil)
	_ prioritySender = (*mqConn)(nil)
	_ syscall.Conn   = (*mqConn)(nil)
)

// MQ opens or makes a POSIX message queue, as OpenQueue does, and returns a Conn over it. Whoever
// opens the same name shares its messages, any number of processes: what is sent goes to
// one receiver. With os.O_RDWR this Conn may receive what it has sent itself; for a
// conversation of two take a queue for each direction, and MQOver.
//
// SendPriority sends with a priority, Send with 0. Messages outlive all processes, until
// somebody calls UnlinkQueue: Close does not.
//
// A queue knows no peers: there is no end of file, no EPIPE and no half-close, and Peer is
// refused. One system call per message that need not be waited for, nothing allocated.
func MQ(name string, flags int, perm fs.FileMode, attr *QueueAttr) (Conn, error) {
	q, err := OpenQueue(name, flags, perm, attr)
	if err != nil {
		return nil, err
	}
	out, in := q, q
	switch q.access {
	case unix.O_RDONLY:
		out = nil
	case unix.O_WRONLY:
		in = nil
	}
	return MQOver(out, in)
}

// MQOver makes a Conn that sends to one queue and receives from another. Either may be nil,
// then that direction is refused; both may be the same. The Conn's Close closes the queues;
// apart from that they may go on being used. SetNonblock has no effect on the Conn.
//
// fs.ErrInvalid: both are nil, or one is not open for its direction. The queues stay
// the caller's then.
func MQOver(out, in *Queue) (Conn, error) {
	c := &mqConn{out: out, in: in}
	switch {
	case out == nil && in == nil:
		return nil, opError(KindMQ, "connect", "", fmt.Errorf("no queue: %w", fs.ErrInvalid))
	case out != nil && out.access == unix.O_RDONLY:
		return nil, opError(KindMQ, "connect", out.name, fmt.Errorf("not open for sending: %w", fs.ErrInvalid))
	case in != nil && in.access == unix.O_WRONLY:
		return nil, opError(KindMQ, "connect", in.name, fmt.Errorf("not open for receiving: %w", fs.ErrInvalid))
	case out != nil:
		c.max = out.messageSize
	default:
		c.max = in.messageSize
	}
	return c, nil
}

// Send and Receive go straight to the queue, since each call between costs a few nanoseconds
// (mqQuick).

func (c *mqConn) Send(ctx context.Context, msg []byte) error {
	if c.out == nil {
		return Refuse(KindMQ, "sending")
	}
	return c.out.send(ctx, time.Time{}, mqWait, msg, 0)
}

func (c *mqConn) TrySend(msg []byte) error { return c.send(forever, mqTry, msg, 0) }

func (c *mqConn) SendPriority(ctx context.Context, msg []byte, priority uint) error {
	return c.send(ctx, mqWait, msg, priority)
}

func (c *mqConn) send(ctx context.Context, mode mqMode, msg []byte, priority uint) error {
	if c.out == nil {
		return Refuse(KindMQ, "sending")
	}
	return c.out.send(ctx, time.Time{}, mode, msg, priority)
}

func (c *mqConn) Receive(ctx context.Context, dst []byte) ([]byte, error) {
	if c.in == nil {
		return dst, Refuse(KindMQ, "receiving")
	}
	msg, _, err := c.in.receive(ctx, time.Time{}, mqWait, dst)
	return msg, err
}

func (c *mqConn) TryReceive(dst []byte) ([]byte, error) {
	if c.in == nil {
		return dst, Refuse(KindMQ, "receiving")
	}
	msg, _, err := c.in.receive(forever, time.Time{}, mqTry, dst)
	return msg, err
}

func (c *mqConn) ReceivePriority(ctx context.Context, dst []byte) ([]byte, uint, error) {
	if c.in == nil {
		return dst, 0, Refuse(KindMQ, "receiving")
	}
	return c.in.receive(ctx, time.Time{}, mqWait, dst)
}

func (c *mqConn) CloseSend() error { return Refuse(KindMQ, "half-close") }

func (c *mqConn) Close() error {
	if c.out == nil || c.out == c.in {
		return c.in.Close()
	}
	err := c.out.Close()
	if c.in != nil {
		if inErr := c.in.Close(); err == nil {
			err = inErr
		}
	}
	return err
}

func (c *mqConn) MaxMessage() int { return c.max }

func (c *mqConn) Kind() Kind { return KindMQ }

func (c *mqConn) Capabilities() Capabilities {
	return Capabilities{
		Send:          c.out != nil,
		Receive:       c.in != nil,
		Ordered:       true,
		Reliable:      true,
		ManySenders:   true,
		ManyReceivers: true,
		Priorities:    true,
		Boundaries:    true,
		Outlives:      true,
		Pollable:      c.in != nil,
	}
}

func (c *mqConn) Peer() (Credentials, error) {
	return Credentials{}, Refuse(KindMQ, "the peer's identity")
}

// SyscallConn is the descriptor of the queue that is received from.
func (c *mqConn) SyscallConn() (syscall.RawConn, error) {
	if c.in == nil {
		return nil, Refuse(KindMQ, "polling for messages")
	}
	return c.in.SyscallConn()
}
