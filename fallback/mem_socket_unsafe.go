//go:build linux

package fallback

import (
	"unsafe"

	"golang.org/x/sys/unix"
)

// memSendmsg is sendmsg(2) with everything that h points to made by Go and kept alive by
// h itself, whose fields are pointers. It does not block: the socket is non-blocking.
func memSendmsg(fd uintptr, h *unix.Msghdr) (int, unix.Errno) {
	n, _, errno := unix.Syscall(unix.SYS_SENDMSG, fd, uintptr(unsafe.Pointer(h)), unix.MSG_NOSIGNAL|unix.MSG_DONTWAIT)
	return int(n), errno
}

// memRecvmsg is recvmsg(2), likewise. The kernel writes no more than the lengths in h say.
func memRecvmsg(fd uintptr, h *unix.Msghdr) (int, unix.Errno) {
	n, _, errno := unix.Syscall(unix.SYS_RECVMSG, fd, uintptr(unsafe.Pointer(h)), unix.MSG_CMSG_CLOEXEC|unix.MSG_DONTWAIT)
	return int(n), errno
}

// memAddress is where b lies, as a number for the other process. b must be on the heap,
// which does not move, and be kept alive as long as the number is used.
func memAddress(b []byte) uint64 { return uint64(uintptr(unsafe.Pointer(unsafe.SliceData(b)))) }

// memWord is the 64-bit word at the offset, which the caller has checked to lie in mem
// and to be aligned to 8 bytes from the page that mem begins with.
func memWord(mem []byte, off int) *uint64 { return (*uint64)(unsafe.Pointer(&mem[off : off+8][0])) }
