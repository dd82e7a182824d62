package fallback

import (
	"os"
	"sync/atomic"
	"syscall"
	"time"
	"unsafe"

	"golang.org/x/sys/unix"
)

// mqAttr is the kernel's struct mq_attr: longs, which are as wide as Go's int on
// every Linux that Go knows.
type mqAttr struct {
	flags, maxMessages, messageSize, messages int
	_                                         [4]int
}

// mqSigevent is struct sigevent (sigevent(3type)), 64 bytes.
type mqSigevent struct {
	value  unsafe.Pointer
	signo  int32
	notify int32
	_      [64 - 8 - unsafe.Sizeof(uintptr(0))]byte
}

var _ [64]byte = [unsafe.Sizeof(mqSigevent{})]byte{}

// Ways to be notified, sigev_notify.
const (
	mqSigevNone   = 1
	mqSigevThread = 2
)

// mqPath is a name as the mq_open and mq_unlink system calls want it: without its slash
// and ending in NUL. It is kept after a slash, because qemu's user mode takes a step
// back from the pointer to find the name that the C library has been given.
type mqPath []byte

func newMQPath(name string) mqPath {
	return append(append(make(mqPath, 0, len(name)+2), '/'), name+"\x00"...)
}

func (p mqPath) pointer() unsafe.Pointer { return unsafe.Pointer(&p[1]) }

// mqOpen is mq_open(2). The kernel sets O_CLOEXEC by itself.
func mqOpen(path mqPath, flags int, mode uint32, attr *mqAttr) (int, error) {
	for {
		fd, _, errno := unix.Syscall6(unix.SYS_MQ_OPEN, uintptr(path.pointer()), uintptr(flags), uintptr(mode),
			uintptr(unsafe.Pointer(attr)), 0, 0)
		if errno == 0 {
			return int(fd), nil
		}
		if errno != unix.EINTR {
			return -1, os.NewSyscallError("mq_open", errno)
		}
	}
}

// mqUnlink is mq_unlink(2).
func mqUnlink(path mqPath) error {
	for {
		_, _, errno := unix.Syscall(unix.SYS_MQ_UNLINK, uintptr(path.pointer()), 0, 0)
		if errno == 0 {
			return nil
		}
		if errno != unix.EINTR {
			return os.NewSyscallError("mq_unlink", errno)
		}
	}
}

// mqGetSetAttr is mq_getsetattr(2). Either may be nil. It never sleeps.
func mqGetSetAttr(fd int, set, old *mqAttr) unix.Errno {
	_, _, errno := unix.Syscall(unix.SYS_MQ_GETSETATTR, uintptr(fd), uintptr(unsafe.Pointer(set)),
		uintptr(unsafe.Pointer(old)))
	return errno
}

// mqNotify is mq_notify(2): registers this process, or with nil takes its
// registration back. What it points to is read during the call only.
func mqNotify(fd int, event *mqSigevent) error {
	for {
		_, _, errno := unix.Syscall(unix.SYS_MQ_NOTIFY, uintptr(fd), uintptr(unsafe.Pointer(event)), 0)
		if errno == 0 {
			return nil
		}
		if errno != unix.EINTR {
			return os.NewSyscallError("mq_notify", errno)
		}
	}
}

// mqLongAgo is the absolute time that every send and receive gives: 1970. A call with it does
// not sleep, whether the descriptor is non-blocking or not, and whoever changes that
// meanwhile: the flag belongs to the open file description, which other processes may share.
// What would have to wait is EAGAIN on a non-blocking descriptor and ETIMEDOUT on a blocking one.
// A clock set back has no say in it. 16 bytes of zeros are a timespec in every width.
var mqLongAgo [16]byte

// mqNothing is where a pointer to no bytes points.
var mqNothing byte

func mqPointer(b []byte) uintptr {
	if len(b) == 0 {
		return uintptr(unsafe.Pointer(&mqNothing))
	}
	return uintptr(unsafe.Pointer(&b[0]))
}

// mqQuick is the longest message for which the scheduler is not told of the system call
// (RawSyscall6): it does not sleep, and copies no more than this. A tenth of a
// small message's cost. It is package syscall's because unix's comes to it by way of two more
// functions, and each return after a system call is predicted wrongly on many machines. Longer ones, up to 16 MiB, would hold up the garbage collector.
const mqQuick = 8 << 10

// mqTimedSend tries mq_timedsend(2), without sleeping.
func mqTimedSend(fd int, msg []byte, priority uint32) unix.Errno {
	var errno unix.Errno
	if len(msg) <= mqQuick {
		_, _, errno = syscall.RawSyscall6(mqSysTimedSend, uintptr(fd), mqPointer(msg), uintptr(len(msg)),
			uintptr(priority), uintptr(unsafe.Pointer(&mqLongAgo)), 0)
	} else {
		_, _, errno = syscall.Syscall6(mqSysTimedSend, uintptr(fd), mqPointer(msg), uintptr(len(msg)),
			uintptr(priority), uintptr(unsafe.Pointer(&mqLongAgo)), 0)
	}
	for trap := uintptr(mqSysTimedSend); mqAgain(errno, &trap); {
		_, _, errno = syscall.Syscall6(trap, uintptr(fd), mqPointer(msg), uintptr(len(msg)),
			uintptr(priority), uintptr(unsafe.Pointer(&mqLongAgo)), 0)
	}
	return errno
}

// mqTimedReceive tries mq_timedreceive(2), without sleeping. buf takes the queue's longest
// message.
func mqTimedReceive(fd int, buf []byte, priority *uint32) (int, unix.Errno) {
	var n uintptr
	var errno unix.Errno
	if len(buf) <= mqQuick {
		n, _, errno = syscall.RawSyscall6(mqSysTimedReceive, uintptr(fd), mqPointer(buf), uintptr(len(buf)),
			uintptr(unsafe.Pointer(priority)), uintptr(unsafe.Pointer(&mqLongAgo)), 0)
	} else {
		n, _, errno = syscall.Syscall6(mqSysTimedReceive, uintptr(fd), mqPointer(buf), uintptr(len(buf)),
			uintptr(unsafe.Pointer(priority)), uintptr(unsafe.Pointer(&mqLongAgo)), 0)
	}
	for trap := uintptr(mqSysTimedReceive); mqAgain(errno, &trap); {
		n, _, errno = syscall.Syscall6(trap, uintptr(fd), mqPointer(buf), uintptr(len(buf)),
			uintptr(unsafe.Pointer(priority)), uintptr(unsafe.Pointer(&mqLongAgo)), 0)
	}
	return int(n), errno
}

// mqAgain says whether a call is to be made once more, and by which number.
func mqAgain(errno unix.Errno, trap *uintptr) bool {
	if errno == unix.ENOSYS && *trap == mqSysTimedSend && *trap != unix.SYS_MQ_TIMEDSEND {
		*trap = unix.SYS_MQ_TIMEDSEND
		return true
	}
	if errno == unix.ENOSYS && *trap == mqSysTimedReceive && *trap != unix.SYS_MQ_TIMEDRECEIVE {
		*trap = unix.SYS_MQ_TIMEDRECEIVE
		return true
	}
	return errno == unix.EINTR
}

// An mqAlarm is until when a call sleeps in the kernel, which reads it as the call begins, and
// again if a signal has interrupted it: struct __kernel_timespec, by CLOCK_REALTIME.
type mqAlarm struct {
	sec  atomic.Int64
	nsec int64
}

func (a *mqAlarm) set(t time.Time) {
	a.nsec = int64(t.Nanosecond())
	a.sec.Store(t.Unix())
}

// mqSleepSend is mq_timedsend(2) that sleeps. On a non-blocking descriptor it does not: EAGAIN.
func mqSleepSend(fd int, msg []byte, priority uint32, until *mqAlarm) unix.Errno {
	for {
		_, _, errno := syscall.Syscall6(mqSysTimedSend, uintptr(fd), mqPointer(msg), uintptr(len(msg)),
			uintptr(priority), uintptr(unsafe.Pointer(until)), 0)
		if errno != unix.EINTR {
			return errno
		}
	}
}

// mqSleepReceive is mq_timedreceive(2) that sleeps.
func mqSleepReceive(fd int, buf []byte, priority *uint32, until *mqAlarm) (int, unix.Errno) {
	for {
		n, _, errno := syscall.Syscall6(mqSysTimedReceive, uintptr(fd), mqPointer(buf), uintptr(len(buf)),
			uintptr(unsafe.Pointer(priority)), uintptr(unsafe.Pointer(until)), 0)
		if errno != unix.EINTR {
			return int(n), errno
		}
	}
}
