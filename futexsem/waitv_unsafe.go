//go:build linux

package futexsem

import (
	"unsafe"

	"golang.org/x/sys/unix"
)

// The size that the kernel expects, asserted at compile time.
var _ [24]byte = [unsafe.Sizeof(waitv{})]byte{}

// futexWaitv is futex_waitv(2); deadline, of CLOCK_MONOTONIC, may be nil. The
// addresses in vec are names to the kernel: a wrong one is EFAULT. vec and deadline
// are in the heap or on this stack, which does not move during the call.
func futexWaitv(vec []waitv, deadline *kernelTimespec) (index int, errno unix.Errno) {
	i, _, errno := unix.Syscall6(unix.SYS_FUTEX_WAITV, uintptr(unsafe.Pointer(unsafe.SliceData(vec))),
		uintptr(len(vec)), 0, uintptr(unsafe.Pointer(deadline)), unix.CLOCK_MONOTONIC, 0)
	return int(i), errno
}

// entry is what vec holds for a word.
func entry(addr *uint32, val, flags uint32) waitv {
	return waitv{val: uint64(val), uaddr: uint64(uintptr(unsafe.Pointer(addr))), flags: futex2U32 | flags}
}

// futexCompare returns EAGAIN if *addr is not val, EFAULT if it is not mapped. It is
// FUTEX_CMP_REQUEUE of nobody: other than a FUTEX_WAIT that is over at once it cannot
// take a wake-up away from somebody.
func futexCompare(addr *uint32, val uint32) unix.Errno {
	_, _, errno := unix.RawSyscall6(unix.SYS_FUTEX, uintptr(unsafe.Pointer(addr)), opCmpRequeue, 0, 0,
		uintptr(unsafe.Pointer(addr)), uintptr(val))
	return errno
}

// futexWaitUntil is FUTEX_WAIT_BITSET; deadline, of CLOCK_MONOTONIC, may be nil.
func futexWaitUntil(addr *uint32, val uint32, deadline *unix.Timespec, bits uint32) unix.Errno {
	return futexWait(addr, opWaitBitset, val, deadline, bits)
}
