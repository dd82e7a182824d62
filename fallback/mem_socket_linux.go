package fallback

import (
	"context"
	"encoding/binary"
	"fmt"
	"io"
	"os"
	"sync"
	"sync/atomic"
	"syscall"

	"golang.org/x/sys/unix"
)

// A memSocket is one end of a SOCK_SEQPACKET pair in the netpoller, unix(7): packets of a
// fixed head and a body, one system call each way, and sometimes a descriptor.
//
// Any number of goroutines may send and receive at once: a packet is one for the kernel.
// Only those who must wait take turns.
type memSocket struct {
	f       *os.File
	rc      syscall.RawConn
	in, out memWay
	gone    chan struct{}
	closed  atomic.Bool
}

// memHead goes before each body, in the machine's byte order: both ends are on one.
type memHead struct {
	kind   uint32 // memInline …
	code   uint32 // an errno
	size   uint64 // of the message
	addr   uint64 // where it lies in the sender
	cookie uint64 // which offer
}

const memHeadSize = 32

func (h *memHead) put(b *[memHeadSize]byte) {
	binary.NativeEndian.PutUint32(b[0:], h.kind)
	binary.NativeEndian.PutUint32(b[4:], h.code)
	binary.NativeEndian.PutUint64(b[8:], h.size)
	binary.NativeEndian.PutUint64(b[16:], h.addr)
	binary.NativeEndian.PutUint64(b[24:], h.cookie)
}

func (h *memHead) get(b *[memHeadSize]byte) {
	h.kind = binary.NativeEndian.Uint32(b[0:])
	h.code = binary.NativeEndian.Uint32(b[4:])
	h.size = binary.NativeEndian.Uint64(b[8:])
	h.addr = binary.NativeEndian.Uint64(b[16:])
	h.cookie = binary.NativeEndian.Uint64(b[24:])
}

// newMemSocket takes over a non-blocking descriptor.
func newMemSocket(fd int) (*memSocket, error) {
	f := os.NewFile(uintptr(fd), "seqpacket")
	rc, err := f.SyscallConn()
	if err != nil {
		f.Close()
		return nil, err
	}
	s := &memSocket{f: f, rc: rc, gone: make(chan struct{})}
	s.in, s.out = memWays(f, rc)
	return s, nil
}

// memPair makes a pair of non-blocking descriptors with room for some packets of size
// bytes each way. What the system allows beyond its default it gives silently or not.
func memPair(size int) (fds [2]int, err error) {
	fds, err = unix.Socketpair(unix.AF_UNIX, unix.SOCK_SEQPACKET|unix.SOCK_CLOEXEC|unix.SOCK_NONBLOCK, 0)
	if err != nil {
		return fds, os.NewSyscallError("socketpair", err)
	}
	for _, fd := range fds {
		if err = unix.SetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_SNDBUF, max(8*size, 212992)); err != nil {
			unix.Close(fds[0])
			unix.Close(fds[1])
			return fds, os.NewSyscallError("setsockopt", err)
		}
	}
	return fds, nil
}

// A memCall is one send or receive under way: what the kernel reads and writes must not
// lie on a stack, and closures per call would be garbage.
type memCall struct {
	recv  bool
	head  [memHeadSize]byte
	iov   [3]unix.Iovec
	hdr   unix.Msghdr
	oob   []byte // for one descriptor
	rest  []byte // receiving: where a body goes that the caller has no room for
	n     int
	errno unix.Errno
	f     func(fd uintptr) bool
	once  func(fd uintptr)
}

var memCalls = sync.Pool{New: func() any {
	c := &memCall{oob: make([]byte, unix.CmsgSpace(4))}
	c.once = c.attempt
	c.f = func(fd uintptr) bool { c.attempt(fd); return c.errno != unix.EAGAIN }
	return c
}}

// release forgets whose memory it was about.
func (c *memCall) release() {
	c.iov, c.hdr = [3]unix.Iovec{}, unix.Msghdr{}
	memCalls.Put(c)
}

func (c *memCall) attempt(fd uintptr) {
	control := c.hdr.Controllen
	for {
		if c.recv {
			c.hdr.Controllen = control // the kernel has written to it
			c.n, c.errno = memRecvmsg(fd, &c.hdr)
		} else {
			c.n, c.errno = memSendmsg(fd, &c.hdr)
		}
		// ECONNRESET, told once: the other end was closed with packets unread. What
		// it had sent before is still there, or the end of file is.
		if c.errno != unix.EINTR && (!c.recv || c.errno != unix.ECONNRESET) {
			return
		}
	}
}

func (c *memCall) part(i int, b []byte) {
	if len(b) > 0 {
		c.iov[i].Base = &b[0]
		c.iov[i].SetLen(len(b))
	}
}

func (s *memSocket) do(ctx context.Context, wait bool, c *memCall) error {
	if err := s.rc.Control(c.once); err != nil {
		return os.ErrClosed
	}
	if c.errno != unix.EAGAIN {
		return nil
	}
	if !wait {
		return ErrWouldBlock
	}
	if c.recv {
		return s.in.until(ctx, s.gone, c.f)
	}
	return s.out.until(ctx, s.gone, c.f)
}

// send sends a packet, with the file if it is not nil. Errors: syscall.EPIPE, os.ErrClosed,
// ErrWouldBlock, the context's, or the system call's.
func (s *memSocket) send(ctx context.Context, wait bool, h *memHead, body []byte, file *os.File) error {
	c := memCalls.Get().(*memCall)
	defer c.release()
	c.recv = false
	h.put(&c.head)
	c.part(0, c.head[:])
	c.part(1, body)
	c.hdr.Iov = &c.iov[0]
	c.hdr.SetIovlen(2)
	if file != nil {
		rights := unix.UnixRights(int(file.Fd()))
		c.hdr.Control = &rights[0]
		c.hdr.SetControllen(len(rights))
	}
	memRaceSend()
	err := s.do(ctx, wait, c)
	switch {
	case err != nil:
		return err
	case c.errno == unix.EPIPE, c.errno == unix.ECONNRESET, c.errno == unix.ENOTCONN:
		return syscall.EPIPE
	case c.errno != 0:
		return os.NewSyscallError("sendmsg", c.errno)
	}
	return nil
}

// receive receives one packet and appends its body, of at most limit bytes, to dst. fds
// are the descriptors that came with it; the caller closes them. Errors: io.EOF, ErrFrame
// for what is no packet of ours, os.ErrClosed, ErrWouldBlock, the context's, or the system
// call's.
func (s *memSocket) receive(ctx context.Context, wait bool, dst []byte, limit int) (h memHead, _ []byte, fds []int, err error) {
	c := memCalls.Get().(*memCall)
	defer c.release()
	c.recv = true
	c.part(0, c.head[:])
	c.hdr.Iov = &c.iov[0]
	room := dst[len(dst):min(cap(dst), len(dst)+limit)]
	n := 1
	if len(room) > 0 {
		c.part(n, room)
		n++
	}
	if short := limit - len(room); short > 0 {
		if len(c.rest) < limit {
			c.rest = make([]byte, limit)
		}
		c.part(n, c.rest[:short])
		n++
	}
	c.hdr.SetIovlen(n)
	c.hdr.Control = &c.oob[0]
	c.hdr.SetControllen(len(c.oob))
	if err := s.do(ctx, wait, c); err != nil {
		return h, dst, nil, err
	}
	if c.errno != 0 {
		return h, dst, nil, os.NewSyscallError("recvmsg", c.errno)
	}
	if c.hdr.Controllen > 0 {
		fds = memRights(c.oob[:c.hdr.Controllen])
	}
	memRaceReceive()
	switch {
	case c.n == 0:
		return h, dst, fds, io.EOF
	case c.n < memHeadSize:
		return h, dst, fds, fmt.Errorf("%w: a packet of %d bytes", ErrFrame, c.n)
	case int(c.hdr.Flags)&unix.MSG_TRUNC != 0:
		return h, dst, fds, fmt.Errorf("%w: a packet of over %d bytes", ErrFrame, memHeadSize+limit)
	}
	h.get(&c.head)
	body := c.n - memHeadSize
	direct := min(body, len(room))
	dst = dst[:len(dst)+direct]
	if direct < body {
		dst = append(dst, c.rest[:body-direct]...)
	}
	return h, dst, fds, nil
}

// memRights are the descriptors in a control message, all of them close-on-exec.
func memRights(oob []byte) (fds []int) {
	msgs, err := unix.ParseSocketControlMessage(oob)
	if err != nil {
		return nil
	}
	for i := range msgs {
		if got, err := unix.ParseUnixRights(&msgs[i]); err == nil {
			fds = append(fds, got...)
		}
	}
	return fds
}

func memCloseAll(fds []int) {
	for _, fd := range fds {
		unix.Close(fd)
	}
}

// closeSend ends this direction: the other end receives what is there, then io.EOF.
func (s *memSocket) closeSend() error {
	var err error
	if cerr := s.rc.Control(func(fd uintptr) { err = unix.Shutdown(int(fd), unix.SHUT_WR) }); cerr != nil {
		return os.ErrClosed
	}
	return os.NewSyscallError("shutdown", err)
}

func (s *memSocket) close() {
	if s.closed.CompareAndSwap(false, true) {
		close(s.gone)
		s.f.Close()
	}
}
