package fallback

import (
	"errors"
	"fmt"
	"io/fs"
	"time"
)

// MaxQueuePriority is the highest priority of a message in a POSIX message queue:
// MQ_PRIO_MAX - 1. Messages of a higher priority are received first, those of one
// priority in the order in which they were sent (mq_overview(7)).
const MaxQueuePriority = 32767

// ErrNotArmed is that QueueNotification.Wait has nothing to wait for: the notification was used up, and
// Rearm not called.
var ErrNotArmed = errors.New("notification is not armed")

// QueueAttr are the attributes of a POSIX message queue: struct mq_attr of mq_getattr(3).
type QueueAttr struct {
	// MaxMessages and MessageSize (bytes) are fixed when the queue is made. 0 stands
	// for the system's default then: msg_default and msgsize_default of QueueLimits.
	MaxMessages int
	MessageSize int
	Messages    int  // in the queue at the moment; ignored when a queue is made
	Nonblock    bool // of the handle, not of the queue: see Queue.SetNonblock; ignored when a queue is made
}

// QueueLimits are what limits POSIX message queues on this system: mq_overview(7).
type QueueLimits struct {
	// From /proc/sys/fs/mqueue, those of the caller's IPC namespace. A process
	// with CAP_SYS_RESOURCE may pass the first three: up to 65536 messages
	// and 16 MiB a message (HARD_MSGMAX, HARD_MSGSIZEMAX, Linux 3.5).
	MaxMessages        int // msg_max: the most messages that a queue may be made for
	MaxMessageSize     int // msgsize_max: the most bytes that a queue's messages may be made for
	MaxQueues          int // queues_max
	DefaultMessages    int // msg_default, never more than msg_max
	DefaultMessageSize int // msgsize_default, never more than msgsize_max

	// RLIMIT_MSGQUEUE, getrlimit(2): the bytes that all queues together which were
	// made by the process's real user, in its user namespace, may take. Privilege
	// does not help. QueueAttr.Bytes is what one queue takes. ^uint64(0) is no limit.
	Bytes    uint64
	MaxBytes uint64 // what the process may raise it to
}

// The sizes of struct msg_msg and struct posix_msg_tree_node of a 64-bit kernel.
const (
	mqMessageOverhead  = 48
	mqPriorityOverhead = 48
)

// Bytes is what a queue with these attributes counts for against RLIMIT_MSGQUEUE on a
// 64-bit kernel: all its messages, though none is sent yet, and what the kernel needs
// to keep them in order (getrlimit(2)).
func (a QueueAttr) Bytes() uint64 {
	n := uint64(max(a.MaxMessages, 0))
	return n*(uint64(max(a.MessageSize, 0))+mqMessageOverhead) + min(n, MaxQueuePriority+1)*mqPriorityOverhead
}

// QueueLimitError says which limit kept a queue from being made. errors.Is the error
// of mq_open(2): unix.EINVAL, unix.EMFILE, unix.ENOSPC.
type QueueLimitError struct {
	Limit string // "msg_max", "RLIMIT_MSGQUEUE" …: as getrlimit(2) and mq_overview(7) name it
	Value uint64 // what it is
	Asked uint64 // what the call asked for; 0: no number belongs to it
	Err   error
}

func (e *QueueLimitError) Error() string {
	asked := ""
	if e.Asked > 0 {
		asked = fmt.Sprintf(", %d asked for", e.Asked)
	}
	return fmt.Sprintf("limit %s is %d%s: %v", e.Limit, e.Value, asked, e.Err)
}

// Unwrap is what mq_open returned.
func (e *QueueLimitError) Unwrap() error { return e.Err }

// QueueInfo is what the mqueue file system tells of a queue.
type QueueInfo struct {
	Name     string // with its leading slash, as mq_open(3) wants it
	Mode     fs.FileMode
	UID, GID int
	Modified time.Time // when a message came or went last

	// Bytes, Notify, Signal and NotifyPID are from the file's text, and are 0 unless the
	// caller may read the queue (then Readable).
	Readable  bool
	Bytes     int // QSIZE: of all the messages in the queue
	Notify    int // how NotifyPID is told: 0 by a signal, 1 not at all, 2 by a thread or a socket
	Signal    int // which signal
	NotifyPID int // who is registered for a notification; 0: nobody

	// Attr is the queue's, if it is Readable.
	Attr QueueAttr
}
