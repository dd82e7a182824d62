//go:build linux

package fallback

import (
	"unsafe"

	"golang.org/x/sys/unix"
)

// A vector is a prepared sendmsg(2) or recvmsg(2): up to three pieces of memory and
// control data. It stays where it is (the kernel gets pointers into it) and is used
// again, so that no call allocates. It keeps what it points to alive until clear.
type vector struct {
	msg unix.Msghdr
	iov [3]unix.Iovec
	n   int
}

// add appends a piece of memory; the pieces are valid until the vector is cleared. It
// must not be called more often than there is room.
func (v *vector) add(b []byte) {
	if len(b) > 0 {
		v.iov[v.n].Base = unsafe.SliceData(b)
		v.iov[v.n].SetLen(len(b))
		v.n++
	}
}

func (v *vector) clear() {
	v.iov = [3]unix.Iovec{}
	v.n = 0
	v.msg.Control = nil
	v.msg.SetControllen(0)
}

// control sets the control data to be sent, or the room for what comes.
func (v *vector) control(b []byte) {
	v.msg.Control = unsafe.SliceData(b)
	v.msg.SetControllen(len(b))
}

// controlLen is how much control data came.
func (v *vector) controlLen() int { return int(v.msg.Controllen) }

func (v *vector) send(fd, flags int) (int, unix.Errno) {
	v.msg.Iov = &v.iov[0]
	v.msg.SetIovlen(v.n)
	n, _, errno := unix.Syscall(unix.SYS_SENDMSG, uintptr(fd), uintptr(unsafe.Pointer(&v.msg)), uintptr(flags))
	return int(n), errno
}

func (v *vector) receive(fd, flags int) (int, unix.Errno) {
	if v.n == 1 && v.msg.Control == nil { // recv(2) has less to do
		n, _, errno := unix.Syscall6(unix.SYS_RECVFROM, uintptr(fd), uintptr(unsafe.Pointer(v.iov[0].Base)), uintptr(v.iov[0].Len),
			uintptr(flags), 0, 0)
		return int(n), errno
	}
	v.msg.Iov = &v.iov[0]
	v.msg.SetIovlen(v.n)
	n, _, errno := unix.Syscall(unix.SYS_RECVMSG, uintptr(fd), uintptr(unsafe.Pointer(&v.msg)), uintptr(flags))
	return int(n), errno
}

// sendBytes is send(2). b is not empty.
func sendBytes(fd int, b []byte, flags int) (int, unix.Errno) {
	n, _, errno := unix.Syscall6(unix.SYS_SENDTO, uintptr(fd), uintptr(unsafe.Pointer(unsafe.SliceData(b))), uintptr(len(b)),
		uintptr(flags), 0, 0)
	return int(n), errno
}

// flags are what recvmsg said of the message.
func (v *vector) flags() int { return int(v.msg.Flags) }
