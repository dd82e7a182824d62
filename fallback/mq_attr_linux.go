package fallback

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"
)

// Attr asks for the queue's attributes: mq_getattr(3). Messages has changed perhaps by
// the time that it is looked at.
func (q *Queue) Attr() (QueueAttr, error) {
	a, err := q.getSetAttr(nil)
	return a, opError(KindMQ, "get attributes of", q.name, err)
}

// SetNonblock says whether Send and Receive wait (false) or return ErrWouldBlock where they
// would (true): the flag O_NONBLOCK of mq_setattr(3), the only attribute that can be set. It
// belongs to the open file description, so that a process which got the descriptor by File
// shares it. Calls that are blocked already stay so. A Conn over the
// queue and the Try calls do not look at it.
func (q *Queue) SetNonblock(nonblock bool) error {
	var set mqAttr
	if nonblock {
		set.flags = unix.O_NONBLOCK
	}
	_, err := q.getSetAttr(&set)
	return opError(KindMQ, "set attributes of", q.name, err)
}

func (q *Queue) getSetAttr(set *mqAttr) (QueueAttr, error) {
	if !q.f.hold() {
		return QueueAttr{}, os.ErrClosed
	}
	defer q.f.release()
	var old mqAttr
	if errno := mqGetSetAttr(q.f.fd, set, &old); errno != 0 {
		return QueueAttr{}, os.NewSyscallError("mq_getsetattr", errno)
	}
	return QueueAttr{
		MaxMessages: old.maxMessages,
		MessageSize: old.messageSize,
		Messages:    old.messages,
		Nonblock:    old.flags&unix.O_NONBLOCK != 0,
	}, nil
}

const mqProc = "/proc/sys/fs/mqueue/"

// What even CAP_SYS_RESOURCE cannot pass.
const (
	mqHardMessages    = 65536
	mqHardMessageSize = 16 << 20
)

// ReadQueueLimits reads the limits. It fails where /proc is not mounted, and with
// errors.ErrUnsupported if the kernel has no queues.
func ReadQueueLimits() (QueueLimits, error) {
	var l QueueLimits
	for name, to := range map[string]*int{
		"msg_max": &l.MaxMessages, "msgsize_max": &l.MaxMessageSize, "queues_max": &l.MaxQueues,
		"msg_default": &l.DefaultMessages, "msgsize_default": &l.DefaultMessageSize,
	} {
		n, err := mqReadLimit(name)
		if err != nil {
			return QueueLimits{}, opError(KindMQ, "read limit", name, err)
		}
		*to = n
	}
	l.DefaultMessages = min(l.DefaultMessages, l.MaxMessages)
	l.DefaultMessageSize = min(l.DefaultMessageSize, l.MaxMessageSize)
	var r unix.Rlimit
	if err := unix.Getrlimit(unix.RLIMIT_MSGQUEUE, &r); err != nil {
		return QueueLimits{}, opError(KindMQ, "read limit", "RLIMIT_MSGQUEUE", os.NewSyscallError("getrlimit", err))
	}
	l.Bytes, l.MaxBytes = r.Cur, r.Max
	return l, nil
}

func mqReadLimit(name string) (int, error) {
	text, err := os.ReadFile(mqProc + name)
	if errors.Is(err, fs.ErrNotExist) {
		if _, statErr := os.Stat("/proc/sys/fs"); statErr == nil {
			return 0, fmt.Errorf("%w (%w)", err, errors.ErrUnsupported)
		}
	}
	if err != nil {
		return 0, err
	}
	return strconv.Atoi(strings.TrimSpace(string(text)))
}

// mqWanted is attr for mq_open: nil leaves the defaults to the kernel.
func mqWanted(attr *QueueAttr) (*mqAttr, error) {
	if attr == nil || attr.MaxMessages == 0 && attr.MessageSize == 0 {
		return nil, nil
	}
	if attr.MaxMessages < 0 || attr.MessageSize < 0 {
		return nil, fmt.Errorf("%d messages of %d bytes: %w", attr.MaxMessages, attr.MessageSize, fs.ErrInvalid)
	}
	want := &mqAttr{maxMessages: attr.MaxMessages, messageSize: attr.MessageSize}
	if want.maxMessages == 0 || want.messageSize == 0 { // the kernel takes both or none
		l, err := ReadQueueLimits()
		if err != nil {
			return nil, err
		}
		if want.maxMessages == 0 {
			want.maxMessages = l.DefaultMessages
		}
		if want.messageSize == 0 {
			want.messageSize = l.DefaultMessageSize
		}
	}
	return want, nil
}

// mqLimit finds out which limit an error of mq_open, with O_CREAT, speaks of. One that
// speaks of none is returned as it is.
func mqLimit(err error, want *mqAttr) error {
	if limited := mqDescriptorLimit(err); errors.As(limited, new(*QueueLimitError)) {
		return limited // and nothing else can be opened to be read
	}
	l, limitErr := ReadQueueLimits()
	if limitErr != nil {
		return err
	}
	var a QueueAttr
	if want == nil {
		a = QueueAttr{MaxMessages: l.DefaultMessages, MessageSize: l.DefaultMessageSize}
	} else {
		a = QueueAttr{MaxMessages: want.maxMessages, MessageSize: want.messageSize}
	}
	over := func(name string, value, asked uint64) error {
		return &QueueLimitError{Limit: name, Value: value, Asked: asked, Err: err}
	}
	switch {
	case errors.Is(err, unix.ENOSPC):
		return over("queues_max", uint64(l.MaxQueues), 0)
	case errors.Is(err, unix.EMFILE):
		return over("RLIMIT_MSGQUEUE", l.Bytes, a.Bytes())
	case !errors.Is(err, unix.EINVAL) && !errors.Is(err, unix.EOVERFLOW):
		return err
	case a.MaxMessages > mqHardMessages && mqMayPass():
		return over("HARD_MSGMAX", mqHardMessages, uint64(a.MaxMessages))
	case a.MessageSize > mqHardMessageSize && mqMayPass():
		return over("HARD_MSGSIZEMAX", mqHardMessageSize, uint64(a.MessageSize))
	// Below those it is the configurable limit, also for who is capable, it seems, but in a
	// user namespace of its own: that does not count.
	case a.MaxMessages > l.MaxMessages:
		return over("msg_max", uint64(l.MaxMessages), uint64(a.MaxMessages))
	case a.MessageSize > l.MaxMessageSize:
		return over("msgsize_max", uint64(l.MaxMessageSize), uint64(a.MessageSize))
	}
	return err
}

// mqDescriptorLimit names the limit if this process cannot open anything at all, which
// mq_open has the same EMFILE for as for RLIMIT_MSGQUEUE. Else it returns err.
func mqDescriptorLimit(err error) error {
	if !errors.Is(err, unix.EMFILE) {
		return err
	}
	fd, other := unix.Eventfd(0, unix.EFD_CLOEXEC)
	if other == nil {
		_ = unix.Close(fd)
	}
	if other != unix.EMFILE {
		return err
	}
	var r unix.Rlimit
	_ = unix.Getrlimit(unix.RLIMIT_NOFILE, &r) // does not fail
	return &QueueLimitError{Limit: "RLIMIT_NOFILE", Value: r.Cur, Err: err}
}

// mqMayPass says whether this thread has CAP_SYS_RESOURCE.
func mqMayPass() bool {
	header := unix.CapUserHeader{Version: unix.LINUX_CAPABILITY_VERSION_3}
	var data [2]unix.CapUserData
	if err := unix.Capget(&header, &data[0]); err != nil {
		return false
	}
	return data[0].Effective&(1<<unix.CAP_SYS_RESOURCE) != 0
}
