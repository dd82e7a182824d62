package fallback

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"strings"
	"sync"
	"syscall"

	"golang.org/x/sys/unix"
)

// Queue is a handle on a POSIX message queue, mq_overview(7): the kernel keeps messages
// with priorities under a name, until somebody takes them or the queue is unlinked and
// closed by all; no process needs to be there meanwhile. C programs meet it
// under the same name with mq_open(3).
//
// Blocked calls wait in the runtime's poller, and cost no thread. Any
// number of goroutines may call any method at once, any number of processes may have the
// queue open. A queue knows no peers, so the death of one is not noticed and takes
// nothing away: what it has sent stays.
//
// After Close every method returns os.ErrClosed.
type Queue struct {
	name        string // with its slash
	f           *mqFD
	access      int // unix.O_RDONLY, O_WRONLY, O_RDWR
	maxMessages int
	messageSize int

	buffers sync.Pool // *[]byte of messageSize: for receivers who bring less
	inCall  mqCall    // f.in's turn
	outCall mqCall    // f.out's turn

	mu    sync.Mutex
	notes map[*QueueNotification]struct{} // open ones
}

// OpenQueue opens the queue name, or makes it: mq_open(3). It does not block.
//
// A name has up to 255 bytes, one leading slash is allowed and makes no difference.
// flags are one of os.O_RDONLY, os.O_WRONLY and os.O_RDWR, with any of os.O_CREATE (make it if
// absent), os.O_EXCL (with os.O_CREATE: fail if it is there) and syscall.O_NONBLOCK (Send
// and Receive return ErrWouldBlock where they would wait; see SetNonblock).
//
// perm and attr are for a queue that is made here. perm is its mode exactly, whatever
// the umask; until OpenQueue returns it may be narrower. A nil attr, or a 0 in it, is
// the system's default. A queue that is there keeps what it has: ask Attr.
//
// Errors, tested with errors.Is: fs.ErrNotExist, fs.ErrExist, fs.ErrPermission,
// fs.ErrInvalid (arguments), errors.ErrUnsupported (a kernel without queues); with
// errors.As *QueueLimitError: a limit of the system, which it names.
func OpenQueue(name string, flags int, perm fs.FileMode, attr *QueueAttr) (*Queue, error) {
	q, err := openQueue(name, flags, perm, attr)
	return q, opError(KindMQ, "open", mqShorten(name), err)
}

func openQueue(name string, flags int, perm fs.FileMode, attr *QueueAttr) (*Queue, error) {
	clean, err := mqName(name)
	if err != nil {
		return nil, err
	}
	const known = unix.O_ACCMODE | os.O_CREATE | os.O_EXCL | unix.O_NONBLOCK
	if flags&^(known|unix.O_CLOEXEC) != 0 || flags&unix.O_ACCMODE == unix.O_ACCMODE {
		return nil, fmt.Errorf("flags %#x: %w", flags, fs.ErrInvalid)
	}
	if flags&os.O_CREATE != 0 && perm&^fs.ModePerm != 0 {
		return nil, fmt.Errorf("mode %v has more than permission bits: %w", perm, fs.ErrInvalid)
	}
	path := newMQPath(clean)
	var fd int
	for {
		if flags&os.O_CREATE != 0 {
			fd, err = mqCreate(path, flags, perm, attr)
			if flags&os.O_EXCL != 0 || !errors.Is(err, fs.ErrExist) {
				break
			}
		}
		fd, err = mqOpen(path, flags&^(os.O_CREATE|os.O_EXCL), 0, nil)
		if flags&os.O_CREATE == 0 || !errors.Is(err, fs.ErrNotExist) {
			break
		}
	}
	if err != nil {
		return nil, mqDescriptorLimit(err)
	}
	return newQueue(fd, "/"+clean, flags&unix.O_ACCMODE)
}

// mqCreate makes the queue, and gives it its mode: mq_open applies the umask, which is the
// whole process's and so cannot be changed for a moment.
func mqCreate(path mqPath, flags int, perm fs.FileMode, attr *QueueAttr) (int, error) {
	want, err := mqWanted(attr)
	if err != nil {
		return -1, err
	}
	fd, err := mqOpen(path, flags|os.O_CREATE|os.O_EXCL, uint32(perm), want)
	if err != nil {
		return -1, mqLimit(err, want)
	}
	if err := mqIgnoringEINTR("fchmod", func() error { return unix.Fchmod(fd, uint32(perm)) }); err != nil {
		_ = unix.Close(fd)
		_ = mqUnlink(path)
		return -1, err
	}
	return fd, nil
}

// newQueue takes over fd.
func newQueue(fd int, name string, access int) (*Queue, error) {
	var attr mqAttr
	if errno := mqGetSetAttr(fd, nil, &attr); errno != 0 { // EBADF: not a queue
		_ = unix.Close(fd)
		return nil, os.NewSyscallError("mq_getsetattr", errno)
	}
	q := &Queue{name: name, f: newMQFD(fd), access: access, maxMessages: attr.maxMessages, messageSize: attr.messageSize}
	q.buffers.New = func() any {
		b := make([]byte, q.messageSize)
		return &b
	}
	q.inCall.bindReceive()
	q.outCall.bindSend()
	return q, nil
}

// QueueFromFile makes a handle from an open queue: a descriptor that was inherited, or
// came over a socket. f stays the caller's, to close at any time; it shares the flag of
// SetNonblock with the handle. What is not a queue is unix.EBADF.
func QueueFromFile(f *os.File) (*Queue, error) {
	raw, err := f.SyscallConn()
	if err != nil {
		return nil, opError(KindMQ, "take over", f.Name(), err)
	}
	var q *Queue
	if ctlErr := raw.Control(func(fd uintptr) { q, err = queueFromFD(fd, f.Name()) }); ctlErr != nil {
		err = ctlErr
	}
	return q, opError(KindMQ, "take over", f.Name(), err)
}

func queueFromFD(fd uintptr, name string) (*Queue, error) {
	flags, err := unix.FcntlInt(fd, unix.F_GETFL, 0)
	if err != nil {
		return nil, os.NewSyscallError("fcntl", err)
	}
	own, err := unix.FcntlInt(fd, unix.F_DUPFD_CLOEXEC, 0)
	if err != nil {
		return nil, os.NewSyscallError("fcntl", err)
	}
	return newQueue(own, name, flags&unix.O_ACCMODE)
}

// UnlinkQueue removes the name, as mq_unlink(3): who has the queue open goes on with it,
// and the last Close removes it with what is in it. fs.ErrNotExist if there is none.
func UnlinkQueue(name string) error {
	clean, err := mqName(name)
	if err == nil {
		err = mqUnlink(newMQPath(clean))
	}
	return opError(KindMQ, "unlink", mqShorten(name), err)
}

// Name is the queue's name with a leading slash.
func (q *Queue) Name() string { return q.name }

// MaxMessages is how many messages fit into the queue.
func (q *Queue) MaxMessages() int { return q.maxMessages }

// MaxMessage is the longest message in bytes.
func (q *Queue) MaxMessage() int { return q.messageSize }

// Close lets go of the queue; calls that are blocked in this handle return os.ErrClosed
// at once. The queue stays, and its messages. This handle's notifications are closed.
func (q *Queue) Close() error {
	q.mu.Lock()
	notes := q.notes
	q.notes = nil
	q.mu.Unlock()
	err := q.f.close()
	for n := range notes {
		_ = n.shut()
	}
	return opError(KindMQ, "close", q.name, err)
}

// File is a duplicate of the descriptor, to pass to another process by exec or SCM_RIGHTS: a C
// program uses the number as its mqd_t. It shares the flag of SetNonblock with q. The caller
// closes it.
func (q *Queue) File() (*os.File, error) {
	if !q.f.hold() {
		return nil, opError(KindMQ, "duplicate", q.name, os.ErrClosed)
	}
	defer q.f.release()
	fd, err := unix.FcntlInt(uintptr(q.f.fd), unix.F_DUPFD_CLOEXEC, 0)
	if err != nil {
		return nil, opError(KindMQ, "duplicate", q.name, os.NewSyscallError("fcntl", err))
	}
	return os.NewFile(uintptr(fd), q.name), nil
}

// SyscallConn gives the descriptor, for poll(2), epoll(7) and select(2): it is readable while
// there is a message and writable while there is room (Linux only, mq_overview(7)). The
// functions given to Read and Write must not sleep.
func (q *Queue) SyscallConn() (syscall.RawConn, error) {
	if q.f.isClosed() {
		return nil, opError(KindMQ, "use", q.name, os.ErrClosed)
	}
	return mqRaw{q.f}, nil
}

// mqName checks a name, and takes its slash away.
func mqName(name string) (string, error) {
	clean := strings.TrimPrefix(name, "/")
	switch {
	case clean == "", clean == ".", clean == "..":
		return "", fmt.Errorf("not a name: %w", fs.ErrInvalid)
	case strings.ContainsAny(clean, "/\x00"):
		return "", fmt.Errorf("the name has a second slash or a NUL: %w", fs.ErrInvalid)
	case len(clean) > unix.NAME_MAX:
		return "", fmt.Errorf("the name has %d bytes, more than %d: %w", len(clean), unix.NAME_MAX, fs.ErrInvalid)
	}
	return clean, nil
}

func mqShorten(name string) string {
	if len(name) > unix.NAME_MAX+1 {
		return name[:unix.NAME_MAX+1] + "…"
	}
	return name
}

func mqIgnoringEINTR(call string, f func() error) error {
	for {
		if err := f(); err != unix.EINTR {
			return os.NewSyscallError(call, err)
		}
	}
}
