package fallback

import (
	"bytes"
	"encoding/binary"
	"net/netip"
	"strconv"
	"syscall"
	"unsafe"

	"golang.org/x/sys/unix"
)

// The system calls of one packet, without the allocations of x/sys/unix. Unless they are told to wait
// they have MSG_DONTWAIT, since O_NONBLOCK belongs to the open file description, which another
// process may share and change.

var packetZero byte // where a message of no bytes points

func packetBase(b []byte) *byte {
	if len(b) == 0 {
		return &packetZero
	}
	return unsafe.SliceData(b)
}

// A packetHeader is recvmsg's and sendmsg's argument with all that it points to. It lies in
// a pooled packetCall: in the heap, where the stack's moving does not reach it.
type packetHeader struct {
	iov  [2]unix.Iovec
	msg  unix.Msghdr
	name packetAddress
}

// A packetAddress is a socket's, as the kernel writes it. None: size is 0.
type packetAddress struct {
	raw  unix.RawSockaddrAny
	size uint32
}

const packetNameSize = uint32(unsafe.Sizeof(unix.RawSockaddrAny{}))

// packetRecvfrom is recvfrom(2) with the sender's name. MSG_TRUNC gives the message's true
// length even if it does not fit. If wait, it waits as long as SO_RCVTIMEO says.
func packetRecvfrom(fd uintptr, buf []byte, h *packetHeader, wait bool) (n int, errno syscall.Errno) {
	h.name.size = packetNameSize
	var r uintptr
	if wait {
		r, _, errno = syscall.Syscall6(unix.SYS_RECVFROM, fd, uintptr(unsafe.Pointer(packetBase(buf))), uintptr(len(buf)),
			unix.MSG_TRUNC, uintptr(unsafe.Pointer(&h.name.raw)), uintptr(unsafe.Pointer(&h.name.size)))
	} else {
		r, _, errno = syscall.RawSyscall6(unix.SYS_RECVFROM, fd, uintptr(unsafe.Pointer(packetBase(buf))), uintptr(len(buf)),
			unix.MSG_DONTWAIT|unix.MSG_TRUNC, uintptr(unsafe.Pointer(&h.name.raw)), uintptr(unsafe.Pointer(&h.name.size)))
	}
	if errno != 0 {
		return 0, errno
	}
	packetCame(buf[:min(int(r), len(buf))])
	return int(r), 0
}

// packetReceive is packetRecvfrom that tells only whether the sender has a name.
func packetReceive(fd uintptr, buf []byte) (n int, named bool, errno syscall.Errno) {
	var family uint16
	size := uint32(unsafe.Sizeof(family))
	r, _, errno := syscall.RawSyscall6(unix.SYS_RECVFROM, fd, uintptr(unsafe.Pointer(packetBase(buf))), uintptr(len(buf)),
		unix.MSG_DONTWAIT|unix.MSG_TRUNC, uintptr(unsafe.Pointer(&family)), uintptr(unsafe.Pointer(&size)))
	if errno != 0 {
		return 0, false, errno
	}
	packetCame(buf[:min(int(r), len(buf))])
	return int(r), size > 0, 0
}

// packetPeek says whether there is a message (no errno), and leaves it where it is.
func packetPeek(fd uintptr) syscall.Errno {
	_, _, errno := syscall.RawSyscall6(unix.SYS_RECVFROM, fd, uintptr(unsafe.Pointer(&packetZero)), 0,
		unix.MSG_PEEK|unix.MSG_DONTWAIT, 0, 0)
	return errno
}

// packetRecvmsg is recvmsg(2) into two buffers and, if control is not nil, with control
// messages.
func packetRecvmsg(fd uintptr, first, second, control []byte, h *packetHeader, wait bool) (n, controlLen, flags int, errno syscall.Errno) {
	h.prepare(first, second, control)
	h.msg.Name = (*byte)(unsafe.Pointer(&h.name.raw))
	h.msg.Namelen = packetNameSize
	dontWait := uintptr(unix.MSG_DONTWAIT)
	if wait {
		dontWait = 0
	}
	r, _, errno := syscall.Syscall(unix.SYS_RECVMSG, fd, uintptr(unsafe.Pointer(&h.msg)),
		dontWait|unix.MSG_TRUNC|unix.MSG_CMSG_CLOEXEC)
	h.name.size = h.msg.Namelen
	controlLen, flags = int(h.msg.Controllen), int(h.msg.Flags)
	h.forget()
	if errno != 0 {
		return 0, 0, 0, errno
	}
	packetCame(first[:min(int(r), len(first))])
	packetCame(second[:max(0, min(int(r)-len(first), len(second)))])
	return int(r), controlLen, flags, 0
}

// packetSendto is sendto(2) to whom the socket is connected to.
func packetSendto(fd uintptr, msg []byte) syscall.Errno {
	packetGoes(msg)
	if len(msg) > packetCopied {
		_, _, errno := syscall.Syscall6(unix.SYS_SENDTO, fd, uintptr(unsafe.Pointer(packetBase(msg))), uintptr(len(msg)),
			unix.MSG_DONTWAIT|unix.MSG_NOSIGNAL, 0, 0)
		return errno
	}
	_, _, errno := syscall.RawSyscall6(unix.SYS_SENDTO, fd, uintptr(unsafe.Pointer(packetBase(msg))), uintptr(len(msg)),
		unix.MSG_DONTWAIT|unix.MSG_NOSIGNAL, 0, 0)
	return errno
}

// packetSendmsg is sendmsg(2) of two buffers with control messages; h.name is
// whom to, none: whom the socket is connected to.
func packetSendmsg(fd uintptr, first, second, control []byte, h *packetHeader) syscall.Errno {
	packetGoes(first)
	packetGoes(second)
	h.prepare(first, second, control)
	if h.name.size > 0 {
		h.msg.Name = (*byte)(unsafe.Pointer(&h.name.raw))
		h.msg.Namelen = h.name.size
	}
	_, _, errno := syscall.Syscall(unix.SYS_SENDMSG, fd, uintptr(unsafe.Pointer(&h.msg)), unix.MSG_DONTWAIT|unix.MSG_NOSIGNAL)
	h.forget()
	return errno
}

func (h *packetHeader) prepare(first, second, control []byte) {
	h.iov[0].Base = packetBase(first)
	h.iov[0].SetLen(len(first))
	h.iov[1].Base = packetBase(second)
	h.iov[1].SetLen(len(second))
	h.msg = unix.Msghdr{Iov: &h.iov[0]}
	h.msg.SetIovlen(2)
	if len(second) == 0 {
		h.msg.SetIovlen(1)
	}
	if len(control) > 0 {
		h.msg.Control = unsafe.SliceData(control)
		h.msg.SetControllen(len(control))
	}
}

// forget lets go of the caller's memory.
func (h *packetHeader) forget() {
	h.iov = [2]unix.Iovec{}
	h.msg = unix.Msghdr{}
}

// unixAddress is the address of path (@ for an abstract one).
func unixAddress(path string) (to packetAddress, err error) {
	if err := checkUnixName(path); err != nil {
		return to, err
	}
	a := (*unix.RawSockaddrUnix)(unsafe.Pointer(&to.raw))
	a.Family = unix.AF_UNIX
	for i := range len(path) {
		a.Path[i] = int8(path[i])
	}
	to.size = uint32(unsafe.Offsetof(a.Path)) + uint32(len(path))
	if path[0] == '@' {
		a.Path[0] = 0
	} else {
		to.size++ // and its NUL
	}
	return to, nil
}

// unixName is a's path (@ for an abstract one), "" if it has none.
func (a *packetAddress) unixName() string {
	u := (*unix.RawSockaddrUnix)(unsafe.Pointer(&a.raw))
	n := int(a.size) - int(unsafe.Offsetof(u.Path))
	if n <= 0 || n > len(u.Path) || u.Family != unix.AF_UNIX {
		return ""
	}
	name := unsafe.Slice((*byte)(unsafe.Pointer(&u.Path)), n)
	if name[0] == 0 {
		return "@" + string(name[1:])
	}
	if i := bytes.IndexByte(name, 0); i >= 0 {
		name = name[:i]
	}
	return string(name)
}

// ipAddress is the address of a for an IPv4 socket or, with six, an IPv6 one.
func ipAddress(a netip.AddrPort, six bool) (to packetAddress) {
	if !six {
		r := (*unix.RawSockaddrInet4)(unsafe.Pointer(&to.raw))
		*r = unix.RawSockaddrInet4{Family: unix.AF_INET, Addr: a.Addr().Unmap().As4()}
		binary.BigEndian.PutUint16((*[2]byte)(unsafe.Pointer(&r.Port))[:], a.Port())
		to.size = uint32(unsafe.Sizeof(*r))
		return to
	}
	r := (*unix.RawSockaddrInet6)(unsafe.Pointer(&to.raw))
	scope, _ := strconv.ParseUint(a.Addr().Zone(), 10, 32)
	*r = unix.RawSockaddrInet6{Family: unix.AF_INET6, Addr: a.Addr().As16(), Scope_id: uint32(scope)}
	binary.BigEndian.PutUint16((*[2]byte)(unsafe.Pointer(&r.Port))[:], a.Port())
	to.size = uint32(unsafe.Sizeof(*r))
	return to
}

// addrPort is a as an Internet address, or the zero value. A zone is a number.
func (a *packetAddress) addrPort() netip.AddrPort {
	switch {
	case a.size >= uint32(unsafe.Sizeof(unix.RawSockaddrInet4{})) && a.raw.Addr.Family == unix.AF_INET:
		r := (*unix.RawSockaddrInet4)(unsafe.Pointer(&a.raw))
		return netip.AddrPortFrom(netip.AddrFrom4(r.Addr), binary.BigEndian.Uint16((*[2]byte)(unsafe.Pointer(&r.Port))[:]))
	case a.size >= uint32(unsafe.Sizeof(unix.RawSockaddrInet6{})) && a.raw.Addr.Family == unix.AF_INET6:
		r := (*unix.RawSockaddrInet6)(unsafe.Pointer(&a.raw))
		addr := netip.AddrFrom16(r.Addr).Unmap()
		if r.Scope_id != 0 {
			addr = addr.WithZone(strconv.FormatUint(uint64(r.Scope_id), 10))
		}
		return netip.AddrPortFrom(addr, binary.BigEndian.Uint16((*[2]byte)(unsafe.Pointer(&r.Port))[:]))
	}
	return netip.AddrPort{}
}

// packetMeminfo is SO_MEMINFO: the socket's counters, by SK_MEMINFO_… as index.
func packetMeminfo(fd uintptr) (counters [16]uint32) {
	size := uint32(unsafe.Sizeof(counters))
	_, _, _ = syscall.Syscall6(unix.SYS_GETSOCKOPT, fd, unix.SOL_SOCKET, unix.SO_MEMINFO,
		uintptr(unsafe.Pointer(&counters)), uintptr(unsafe.Pointer(&size)), 0)
	return counters
}
