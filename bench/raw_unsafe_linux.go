package main

import (
	"sync/atomic"
	"unsafe"

	"golang.org/x/sys/unix"
)

// System calls for which x/sys/unix has no function. Buffers are not empty.

func mqSend(fd int, msg []byte) unix.Errno {
	_, _, errno := unix.Syscall6(unix.SYS_MQ_TIMEDSEND, uintptr(fd), uintptr(unsafe.Pointer(&msg[0])), uintptr(len(msg)), 0, 0, 0)
	return errno
}

func mqReceive(fd int, buf []byte) (int, unix.Errno) {
	n, _, errno := unix.Syscall6(unix.SYS_MQ_TIMEDRECEIVE, uintptr(fd), uintptr(unsafe.Pointer(&buf[0])), uintptr(len(buf)), 0, 0, 0)
	return int(n), errno
}

const (
	futexWaitOp = 0 // FUTEX_WAIT, futex(2): not private, another process waits there
	futexWakeOp = 1 // FUTEX_WAKE
)

// futexWait sleeps as long as the word has that value; it may return early.
func futexWait(word *atomic.Uint32, value uint32) {
	_, _, _ = unix.Syscall6(unix.SYS_FUTEX, uintptr(unsafe.Pointer(word)), futexWaitOp, uintptr(value), 0, 0, 0)
}

func futexWake(word *atomic.Uint32) {
	_, _, _ = unix.Syscall6(unix.SYS_FUTEX, uintptr(unsafe.Pointer(word)), futexWakeOp, 1, 0, 0, 0)
}

// wordAt is the 32-bit word at the head of mem, which is 4-aligned and has at least 4 bytes.
func wordAt(mem []byte) *atomic.Uint32 { return (*atomic.Uint32)(unsafe.Pointer(&mem[0])) }

// addressOf is where a buffer on the heap lies: the heap does not move.
func addressOf(b []byte) uintptr { return uintptr(unsafe.Pointer(&b[0])) }
