//go:build !linux

package fallback

import (
	"context"
	"io/fs"
	"os"
	"syscall"
	"time"
)

// Queue is a handle on a POSIX message queue. On this system none can be made.
type Queue struct{}

// QueueNotification is a registration for a notification. On this system none can be made.
type QueueNotification struct{}

// errNoQueue is what everything here returns.
func errNoQueue() error { return Refuse(KindMQ, "a queue on this system") }

// MQ returns errors.ErrUnsupported on this system.
func MQ(name string, flags int, perm fs.FileMode, attr *QueueAttr) (Conn, error) {
	return nil, errNoQueue()
}

// MQOver returns errors.ErrUnsupported on this system.
func MQOver(out, in *Queue) (Conn, error) { return nil, errNoQueue() }

// OpenQueue returns errors.ErrUnsupported on this system.
func OpenQueue(name string, flags int, perm fs.FileMode, attr *QueueAttr) (*Queue, error) {
	return nil, errNoQueue()
}

// QueueFromFile returns errors.ErrUnsupported on this system.
func QueueFromFile(f *os.File) (*Queue, error) { return nil, errNoQueue() }

// UnlinkQueue returns errors.ErrUnsupported on this system.
func UnlinkQueue(name string) error { return errNoQueue() }

// ReadQueueLimits returns errors.ErrUnsupported on this system.
func ReadQueueLimits() (QueueLimits, error) { return QueueLimits{}, errNoQueue() }

// QueueMount returns errors.ErrUnsupported on this system.
func QueueMount() (dir string, err error) { return "", errNoQueue() }

// ListQueues returns errors.ErrUnsupported on this system.
func ListQueues(dir string) ([]QueueInfo, error) { return nil, errNoQueue() }

// Name returns nothing on this system.
func (q *Queue) Name() string { return "" }

// MaxMessages returns 0 on this system.
func (q *Queue) MaxMessages() int { return 0 }

// MaxMessage returns 0 on this system.
func (q *Queue) MaxMessage() int { return 0 }

// Attr returns errors.ErrUnsupported on this system.
func (q *Queue) Attr() (QueueAttr, error) { return QueueAttr{}, errNoQueue() }

// SetNonblock returns errors.ErrUnsupported on this system.
func (q *Queue) SetNonblock(nonblock bool) error { return errNoQueue() }

// Send returns errors.ErrUnsupported on this system.
func (q *Queue) Send(ctx context.Context, msg []byte, priority uint) error { return errNoQueue() }

// SendUntil returns errors.ErrUnsupported on this system.
func (q *Queue) SendUntil(deadline time.Time, msg []byte, priority uint) error { return errNoQueue() }

// TrySend returns errors.ErrUnsupported on this system.
func (q *Queue) TrySend(msg []byte, priority uint) error { return errNoQueue() }

// Receive returns errors.ErrUnsupported on this system.
func (q *Queue) Receive(ctx context.Context, dst []byte) (msg []byte, priority uint, err error) {
	return dst, 0, errNoQueue()
}

// ReceiveUntil returns errors.ErrUnsupported on this system.
func (q *Queue) ReceiveUntil(deadline time.Time, dst []byte) (msg []byte, priority uint, err error) {
	return dst, 0, errNoQueue()
}

// TryReceive returns errors.ErrUnsupported on this system.
func (q *Queue) TryReceive(dst []byte) (msg []byte, priority uint, err error) {
	return dst, 0, errNoQueue()
}

// WaitReadable returns errors.ErrUnsupported on this system.
func (q *Queue) WaitReadable(ctx context.Context) error { return errNoQueue() }

// WaitWritable returns errors.ErrUnsupported on this system.
func (q *Queue) WaitWritable(ctx context.Context) error { return errNoQueue() }

// File returns errors.ErrUnsupported on this system.
func (q *Queue) File() (*os.File, error) { return nil, errNoQueue() }

// SyscallConn returns errors.ErrUnsupported on this system.
func (q *Queue) SyscallConn() (syscall.RawConn, error) { return nil, errNoQueue() }

// Notify returns errors.ErrUnsupported on this system.
func (q *Queue) Notify() (*QueueNotification, error) { return nil, errNoQueue() }

// Close returns errors.ErrUnsupported on this system.
func (q *Queue) Close() error { return errNoQueue() }

// Polled returns false on this system.
func (n *QueueNotification) Polled() bool { return false }

// Wait returns errors.ErrUnsupported on this system.
func (n *QueueNotification) Wait(ctx context.Context) error { return errNoQueue() }

// Rearm returns errors.ErrUnsupported on this system.
func (n *QueueNotification) Rearm() error { return errNoQueue() }

// Close returns errors.ErrUnsupported on this system.
func (n *QueueNotification) Close() error { return errNoQueue() }
