//go:build !(386 || arm || mips || mipsle)

package futexsem

import (
	"encoding/binary"
	"sync/atomic"
	"unsafe"
)

// The layout of sem_t in the GNU C library on 64-bit systems: a wire format,
// shared with C programs. All numbers are in the machine's own byte order; the
// offsets drawn are those of little-endian ones.
//
//	 0        4        8        12       16                       32
//	+--------+--------+--------+--------+------------------------+
//	| value  | waiters| shared | 0      | not used               |
//	+--------+--------+--------+--------+------------------------+
//	 \_____ data ____/
//
//	data    the tokens that are there (low 32 bits) and the number of those who
//	        sleep or are about to (high 32 bits). Written by every operation of
//	        everybody, always as one atomic 64-bit word.
//	shared  128 if the semaphore is between processes, 0 if it is private to
//	        one. Written by the creator only, never changed.
//
// Who sleeps, sleeps on the 32 bits of value, while they are 0.
//
// Invariants, with (P) for a CAS that adds a token and (T) for one that takes it:
//
//  1. (P) releases, (T) acquires: what came before the Post happens before what
//     comes after the Wait. Go's atomics are sequentially consistent, which is
//     more than C's side asks for.
//  2. (P) sees in the same word whether there are waiters, and wakes one if so.
//     A waiter counts itself in before it looks at the value, and the kernel
//     looks again before it sleeps. So either the waiter sees the token or the
//     poster sees the waiter.
//  3. After (P) the poster touches the memory no more: whoever took the token
//     may have ended the semaphore's life. It only names the address to the kernel.
//  4. One token makes one wake-up, so a waiter that was woken and leaves without
//     taking hands the wake-up on (see leave).
type cell struct {
	data   atomic.Uint64
	shared atomic.Uint32
	pad    atomic.Uint32
	_      [16]byte
}

const (
	// SizeofSem is the size of sem_t in bytes: 32 on 64-bit systems, 16 on
	// 32-bit ones.
	SizeofSem = 32

	// alignofSem is what sem_t's address is a multiple of.
	alignofSem = 8

	// emptyWord is what the word that waiters sleep on holds while they do.
	emptyWord = 0

	oneToken  = 1
	oneWaiter = 1 << 32
	tokenMask = oneWaiter - 1
)

// wordIndex is where, in 32-bit words, that word stands in the cell: the low half of data.
var wordIndex = 1 - binary.NativeEndian.Uint32([]byte{1, 0, 0, 0})&1

// The layout, asserted at compile time: each line fails to compile if the two differ.
var (
	_ [SizeofSem]byte = [unsafe.Sizeof(cell{})]byte{}
	_ [0]byte         = [unsafe.Offsetof(cell{}.data)]byte{}
	_ [8]byte         = [unsafe.Offsetof(cell{}.shared)]byte{}
)

// reset makes the cell a new semaphore. Nobody else may use it meanwhile.
func (c *cell) reset(value uint32) {
	c.pad.Store(0)
	c.shared.Store(sharedMark)
	c.data.Store(uint64(value))
}

// tokens returns the value at some instant of the call.
func (c *cell) tokens() uint32 { return uint32(c.data.Load() & tokenMask) }

// waiters returns how many are counted as waiting.
func (c *cell) waiters() uint32 { return uint32(c.data.Load() >> 32) }

// post adds a token (P) and returns how many waiters to wake; not ok if the value is
// at its maximum. A value beyond it, which only a foreign hand can have
// written, counts as the maximum: it must not carry into the number of waiters.
func (c *cell) post() (wake int, ok bool) {
	for {
		d := c.data.Load()
		if d&tokenMask >= SemValueMax {
			return 0, false
		}
		if c.data.CompareAndSwap(d, d+oneToken) {
			if d >= oneWaiter {
				wake = 1
			}
			return wake, true
		}
	}
}

// tryTake takes a token (T) for somebody who is not counted as a waiter.
func (c *cell) tryTake() bool {
	for {
		d := c.data.Load()
		if d&tokenMask == 0 {
			return false
		}
		if c.data.CompareAndSwap(d, d-oneToken) {
			return true
		}
	}
}

// enlist counts the caller as a waiter until takeEnlisted or leave.
func (c *cell) enlist() { c.data.Add(oneWaiter) }

// arm says whether a waiter that saw no token may go to sleep. Here nothing needs preparing.
func (c *cell) arm() bool { return c.data.Load()&tokenMask == 0 }

// takeEnlisted takes a token (T) and ends the caller's being a waiter, in one step.
func (c *cell) takeEnlisted() (wake int, ok bool) {
	for {
		d := c.data.Load()
		if d&tokenMask == 0 {
			return 0, false
		}
		if c.data.CompareAndSwap(d, d-oneToken-oneWaiter) {
			return 0, true
		}
	}
}

// leave ends the caller's being a waiter without a token, and returns how many
// others to wake in its place: the caller may have been woken for a token that
// it now leaves there. What stands there after this step decides: the caller
// sleeps no more, so no later Post can waste its wake-up on it. (As sleep tries to
// take before it gives up, this is one wake-up too many at worst, and the
// invariant does not hang on that order.)
func (c *cell) leave() (wake int) {
	d := c.data.Add(^uint64(oneWaiter - 1)) // minus oneWaiter
	if d&tokenMask != 0 && d >= oneWaiter {
		return 1
	}
	return 0
}
