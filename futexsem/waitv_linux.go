package futexsem

import (
	"sync"
	"sync/atomic"
	"time"

	"golang.org/x/sys/unix"
)

// futex_waitv(2): one sleep on up to 128 words. Linux 5.16.
//
// The kernel copies the vector, queues on one word after the other and compares
// each, and sleeps if all are as expected; from then on it touches no word,
// unless it is woken for nothing or restarts after a signal: then it begins again. It
// answers with the last index of those that were woken, which need not be the only one.

const (
	waitvMost = 128 // FUTEX_WAITV_MAX

	futex2U32     = 2   // FUTEX2_SIZE_U32
	futex2Private = 128 // FUTEX2_PRIVATE
)

// waitv is struct futex_waitv. The address is a number there, so whoever fills one in
// keeps the word reachable in another way.
type waitv struct {
	val      uint64
	uaddr    uint64
	flags    uint32
	reserved uint32
}

// kernelTimespec is struct __kernel_timespec: 64 bits on every CPU.
type kernelTimespec struct{ sec, nsec int64 }

// waitvGone is set when the kernel refuses futex_waitv, though the probe had it: a seccomp
// filter has come since.
var waitvGone atomic.Bool

// probeWaitv asks once. A vector of none is EINVAL where the call is there; ENOSYS says that
// the kernel is too old, or that an emulator or a seccomp filter does not know it, EPERM that
// a filter forbids it.
var probeWaitv = sync.OnceValue(func() bool {
	_, errno := futexWaitv(nil, nil)
	return errno == unix.EINVAL
})

// haveWaitv says whether this process may call futex_waitv.
func haveWaitv() bool { return probeWaitv() && !waitvGone.Load() }

// refused says whether errno means that futex_waitv is not there. It does not return that
// for any fault of a vector.
func refused(errno unix.Errno) bool {
	return errno == unix.ENOSYS || errno == unix.EPERM || errno == unix.EACCES
}

// monotonicAfter is the time of CLOCK_MONOTONIC in d from now, d being at most maxSleep.
func monotonicAfter(d time.Duration) kernelTimespec {
	var now unix.Timespec
	_ = unix.ClockGettime(unix.CLOCK_MONOTONIC, &now) // cannot fail: the clock exists, now is ours
	ns := int64(now.Nsec) + int64(d)
	return kernelTimespec{int64(now.Sec) + ns/1e9, ns % 1e9}
}
