package futexsem

import (
	"math"
	"time"

	"golang.org/x/sys/unix"
)

// Operations and constants of <linux/futex.h> that x/sys does not name.
const (
	opWait       = 0
	opWake       = 1
	opCmpRequeue = 4
	opWaitBitset = 9
	opWakeBitset = 10

	opPrivate = 128 // FUTEX_PRIVATE_FLAG

	matchAny = math.MaxUint32 // FUTEX_BITSET_MATCH_ANY: what plain WAIT and WAKE use

	wakeAll = math.MaxInt32
)

// maxSleep is the longest single sleep asked of the kernel. It fits the seconds
// of a 32-bit timespec; a longer wait ends early, as if woken for no reason.
const maxSleep = 1 << 30 * time.Second

// FutexWait puts the calling goroutine, and its thread, to sleep while *addr is
// val, until [FutexWake] is called on the same word by any goroutine of any
// process that maps it (futex(2), FUTEX_WAIT without FUTEX_PRIVATE_FLAG). The
// kernel compares and falls asleep as one step, so a waker that changes the
// word first and calls FutexWake after that is never missed.
//
// A timeout below 0 waits forever; any other is relative and measured on
// CLOCK_MONOTONIC.
//
// It returns
//
//   - nil when woken, and also when nothing happened: a signal came, or the
//     wake-up was meant for a former use of the word. Callers look at the word
//     again and call again, with what is left of their timeout;
//   - unix.EAGAIN, at once, when *addr was not val;
//   - unix.ETIMEDOUT when the timeout has passed;
//   - any other errno as it is, for a caller's mistake: unix.EFAULT when addr is not mapped.
//
// Compare with == or errors.Is. Any number of goroutines and processes may wait
// on one word. addr must be mapped, not merely valid when the call begins: who
// unmaps it first makes sure that nobody sleeps there.
func FutexWait(addr *uint32, val uint32, timeout time.Duration) error {
	if timeout < 0 {
		return spuriousIfInterrupted(futexWait(addr, opWait, val, nil, 0))
	}
	capped := timeout > maxSleep
	if capped {
		timeout = maxSleep
	}
	ts := unix.NsecToTimespec(int64(timeout))
	errno := futexWait(addr, opWait, val, &ts, 0)
	if capped && errno == unix.ETIMEDOUT {
		return nil
	}
	return spuriousIfInterrupted(errno)
}

// futexWaitBits is FutexWait without a timeout that only a wake with one of
// the same bits ends. FUTEX_WAKE, and so every sem_post, carries all bits.
func futexWaitBits(addr *uint32, val, bits uint32) error {
	return spuriousIfInterrupted(futexWait(addr, opWaitBitset, val, nil, bits))
}

// spuriousIfInterrupted is the one place where EINTR is dealt with. Retrying
// here would restart a relative timeout from the beginning, so the sleep ends
// as a spurious wake-up, which every caller has to expect anyway. No wake-up is
// lost by it: the kernel reports EINTR only to a sleeper that was not woken.
func spuriousIfInterrupted(errno unix.Errno) error {
	if errno == 0 || errno == unix.EINTR {
		return nil
	}
	return errno
}

// FutexWake wakes at most n of those who sleep on the word (futex(2),
// FUTEX_WAKE without FUTEX_PRIVATE_FLAG), in whichever process, and returns how
// many it woke. It never blocks. An n below 1 wakes nobody.
//
// It may be called by any number of goroutines and processes at once. The
// error is the errno as it is: unix.EFAULT when addr is not mapped.
//
// A wake-up is not remembered: who is about to sleep but does not yet do so
// is not woken. Change the word first.
func FutexWake(addr *uint32, n int) (int, error) {
	if n < 1 {
		return 0, nil
	}
	woken, errno := futexWake(addr, opWake, uint32(min(n, wakeAll)), 0)
	if errno != 0 {
		return 0, errno
	}
	return woken, nil
}

// FutexWakeAll is [FutexWake] of all who sleep on the word, for words that must be mapped:
// EFAULT, the only error there is, would mean that nobody can sleep there.
func FutexWakeAll(addr *uint32) { _, _ = futexWake(addr, opWake, wakeAll, 0) }

// futexWakeBits wakes all who sleep on the word with one of the bits.
func futexWakeBits(addr *uint32, bits uint32) {
	// EFAULT, the only failure, would mean that nobody can sleep there.
	_, _ = futexWake(addr, opWakeBitset, wakeAll, bits)
}
