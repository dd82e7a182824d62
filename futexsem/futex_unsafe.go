//go:build linux

package futexsem

import (
	"unsafe"

	"golang.org/x/sys/unix"
)

// futexWait is futex(2) for the operations that sleep. addr is 4 bytes, aligned
// by its type. Syscall6, not RawSyscall6: the scheduler has to know that this
// thread is away. timeout is relative for opWait; opWaitBitset must have none.
func futexWait(addr *uint32, op uintptr, val uint32, timeout *unix.Timespec, bits uint32) unix.Errno {
	_, _, errno := unix.Syscall6(unix.SYS_FUTEX, uintptr(unsafe.Pointer(addr)), op, uintptr(val),
		uintptr(unsafe.Pointer(timeout)), 0, uintptr(bits))
	return errno
}

// futexWake is futex(2) for the operations that wake; they never sleep, so the
// scheduler need not know. The kernel only reads the address, never through it.
func futexWake(addr *uint32, op uintptr, n, bits uint32) (int, unix.Errno) {
	woken, _, errno := unix.RawSyscall6(unix.SYS_FUTEX, uintptr(unsafe.Pointer(addr)), op, uintptr(n),
		0, 0, uintptr(bits))
	return int(woken), errno
}
