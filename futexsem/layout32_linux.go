//go:build 386 || arm || mips || mipsle

package futexsem

import (
	"sync/atomic"
	"unsafe"
)

// The layout of sem_t in the GNU C library where its alignment is 4, which is on
// 32-bit systems: a wire format, shared with C programs. All numbers are in the machine's own byte order.
//
//	 0        4        8        12       16
//	+--------+--------+--------+--------+
//	| value  | shared | 0      | waiters|
//	+--------+--------+--------+--------+
//
//	value    twice the number of tokens that are there, plus 1 if there may be
//	         waiters. Written by every operation of everybody.
//	shared   128 if the semaphore is between processes, 0 if it is private to
//	         one. Written by the creator only, never changed.
//	waiters  the number of those who sleep or are about to. Written by waiters only.
//
// Who sleeps, sleeps on value, while it is 1: no token, waiters marked.
//
// Invariants, with (P) for a CAS that adds a token and (T) for one that takes it:
//
//  1. (P) releases, (T) acquires: what came before the Post happens before what
//     comes after the Wait. Go's atomics are sequentially consistent, which is
//     more than C's side asks for.
//  2. (P) sees the mark in the same word, and wakes one waiter if it is set.
//     Nobody sleeps while it is not: the kernel compares with 1.
//  3. A waiter is counted before it sets, or finds set, the mark (M), and it
//     clears the mark (C) only if the count was 1, that is nobody but itself, and
//     before it counts itself out (O). If it was mistaken, the other's
//     counting-in came before (O), so (O) sees it: the mark is set again,
//     and as many are woken as there are tokens that a poster may have added in between.
//  4. After (P) the poster touches the memory no more: whoever took the token
//     may have ended the semaphore's life. It only names the address to the kernel.
//  5. One token makes one wake-up, so a waiter that was woken and leaves without
//     taking hands the wake-up on (see leave).
type cell struct {
	value  atomic.Uint32
	shared atomic.Uint32
	pad    atomic.Uint32
	count  atomic.Uint32
}

const (
	// SizeofSem is the size of sem_t in bytes: 32 on 64-bit systems, 16 on
	// 32-bit ones.
	SizeofSem = 16

	// alignofSem is what sem_t's address is a multiple of.
	alignofSem = 4

	// emptyWord is what the word that waiters sleep on holds while they do.
	emptyWord = waitersMark

	// wordIndex is where, in 32-bit words, that word stands in the cell.
	wordIndex = 0

	waitersMark = 1
	oneToken    = 2
)

// The layout, asserted at compile time: each line fails to compile if the two differ.
var (
	_ [SizeofSem]byte = [unsafe.Sizeof(cell{})]byte{}
	_ [0]byte         = [unsafe.Offsetof(cell{}.value)]byte{}
	_ [4]byte         = [unsafe.Offsetof(cell{}.shared)]byte{}
	_ [12]byte        = [unsafe.Offsetof(cell{}.count)]byte{}
)

// reset makes the cell a new semaphore. Nobody else may use it meanwhile.
func (c *cell) reset(value uint32) {
	c.pad.Store(0)
	c.count.Store(0)
	c.shared.Store(sharedMark)
	c.value.Store(value * oneToken)
}

// tokens returns the value at some instant of the call.
func (c *cell) tokens() uint32 { return c.value.Load() / oneToken }

// waiters returns how many are counted as waiting.
func (c *cell) waiters() uint32 { return c.count.Load() }

// post adds a token (P) and returns how many waiters to wake; not ok if the
// value is at its maximum.
func (c *cell) post() (wake int, ok bool) {
	for {
		v := c.value.Load()
		if v/oneToken >= SemValueMax {
			return 0, false
		}
		if c.value.CompareAndSwap(v, v+oneToken) {
			return int(v & waitersMark), true
		}
	}
}

// tryTake takes a token (T).
func (c *cell) tryTake() bool {
	for {
		v := c.value.Load()
		if v < oneToken {
			return false
		}
		if c.value.CompareAndSwap(v, v-oneToken) {
			return true
		}
	}
}

// enlist counts the caller as a waiter until takeEnlisted or leave.
func (c *cell) enlist() { c.count.Add(1) }

// arm sets the waiters' mark (M) and says whether a waiter may go to sleep.
func (c *cell) arm() bool { return c.value.Or(waitersMark) < oneToken }

// takeEnlisted takes a token (T) and ends the caller's being a waiter. It
// returns how many others to wake.
func (c *cell) takeEnlisted() (wake int, ok bool) {
	if !c.tryTake() {
		return 0, false
	}
	return c.countOut(c.alone()), true
}

// leave ends the caller's being a waiter without a token, and returns how many
// others to wake in its place: the caller may have been woken for a token that
// it now leaves there. What stands there after this step decides: the caller
// sleeps no more, so no later Post can waste its wake-up on it. (As sleep tries to
// take before it gives up, this is one wake-up too many at worst, and the
// invariant does not hang on that order.)
func (c *cell) leave() (wake int) {
	wake = c.countOut(c.alone())
	if wake == 0 && c.value.Load() >= oneToken {
		wake = 1 // whatever the mark says: it may be between (C) and its repair
	}
	return wake
}

// alone says whether nobody but the caller is counted, as far as one can see.
func (c *cell) alone() bool { return c.count.Load() == 1 }

// countOut is (C), if the caller thinks that it is alone, and (O) of invariant 3.
func (c *cell) countOut(alone bool) (wake int) {
	if alone {
		c.value.And(^uint32(waitersMark)) // (C)
	}
	stillCounted := c.count.Add(^uint32(0)) // (O)
	if alone && stillCounted != 0 {
		return int(c.value.Or(waitersMark) / oneToken)
	}
	return 0
}
