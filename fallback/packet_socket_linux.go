package fallback

import (
	"os"
	"sync"
	"sync/atomic"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// A packetSocket is a socket's descriptor, and who uses it.
//
//   - fd is open as long as users is not packetLeaving. Who has entered uses it, and leaves
//     in an instant, or within packetPatience if it waits in the kernel; Close waits for that.
//   - Who waits longer does so in the runtime's poller, which knows a duplicate. It is there
//     while somebody waits, and until the next wait in the kernel (hurry_linux.go).
//   - O_NONBLOCK belongs to the open file description, which other processes may share. No call
//     here depends on it, and it stays as it was found.
type packetSocket struct {
	fd    uintptr
	users atomic.Int64
	left  chan struct{} // capacity 1: the last user has left

	timing sync.Mutex // held during a wait that SO_RCVTIMEO ends
	timed  bool       // it is set
	shared bool       // it must not be

	polled atomic.Bool // poller is there
	mu     sync.Mutex  // guards the rest
	poller *os.File
	raw    syscall.RawConn // poller's
	waits  int             // there
	closed bool
}

// packetPatience is how long a call waits in the kernel.
const packetPatience = 4 * time.Millisecond

// packetGrace is how long Close waits for who waits in the kernel. Beyond that, another process
// that shares the socket has taken the timeout away; the last one then closes.
const packetGrace = time.Second

// packetLeaving is added to users by Close. From then on nobody enters.
const packetLeaving = -1 << 32

func newPacketSocket(fd int) *packetSocket {
	return &packetSocket{fd: uintptr(fd), left: make(chan struct{}, 1)}
}

// enter keeps the descriptor open until leave.
func (s *packetSocket) enter() bool {
	if s.users.Add(1) > 0 {
		return true
	}
	s.leave()
	return false
}

func (s *packetSocket) leave() {
	if s.users.Add(-1) == packetLeaving {
		select {
		case s.left <- struct{}{}:
		default:
		}
	}
}

// Close waits for those who have entered, and ends the waits in the poller.
func (s *packetSocket) Close() error {
	s.mu.Lock()
	if s.closed {
		s.mu.Unlock()
		return os.ErrClosed
	}
	s.closed = true
	poller := s.poller
	s.poller = nil
	s.mu.Unlock()
	if poller != nil {
		_ = poller.Close()
	}
	s.users.Add(packetLeaving)
	done := make(chan error, 1)
	if s.users.Load() == packetLeaving {
		return s.closeUnused()
	}
	go func() { done <- s.closeUnused() }()
	select {
	case err := <-done:
		return err
	case <-time.After(packetGrace):
		return nil
	}
}

// closeUnused waits until the last user has left.
func (s *packetSocket) closeUnused() error {
	for s.users.Load() != packetLeaving {
		<-s.left
	}
	return os.NewSyscallError("close", unix.Close(int(s.fd)))
}

// waitInKernel waits until the socket polls for one of these events, or an error, or not
// any longer. The caller has entered.
func (s *packetSocket) waitInKernel(events int16) (came bool) {
	poll := [1]unix.PollFd{{Fd: int32(s.fd), Events: events}}
	patience := unix.NsecToTimespec(packetPatience.Nanoseconds())
	n, err := unix.Ppoll(poll[:], &patience, nil)
	return err == nil && n > 0
}

// withTimeout runs f, in which a system call may wait as long as SO_RCVTIMEO says, a clock
// tick. False: it may not. (ppoll(2) would do without. But its timer is of the exact kind, which
// on a virtual machine costs some 2 µs to set, as measured; that of a socket, next to nothing.)
//
// Who shares the socket would feel the timeout. So there is none until the first wait, nor
// from share on.
func (s *packetSocket) withTimeout(f func()) bool {
	s.timing.Lock()
	defer s.timing.Unlock()
	if !s.timed {
		if s.shared || setTimeouts(int(s.fd), socketTick) != nil {
			return false
		}
		s.timed = true
		_ = unix.SetNonblock(int(s.fd), false) // else the call does not wait, which will be seen
	}
	f()
	return true
}

// share: another process may get the socket.
func (s *packetSocket) share() error {
	s.timing.Lock()
	defer s.timing.Unlock()
	s.shared = true
	if !s.timed {
		return nil
	}
	s.timed = false
	return setTimeouts(int(s.fd), 0)
}

// enterPoller returns the socket in the poller; exitPoller says that its user is done with it.
func (s *packetSocket) enterPoller() (syscall.RawConn, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closed {
		return nil, os.ErrClosed
	}
	if s.poller == nil {
		poller, err := pollDuplicate(int(s.fd))
		if err != nil {
			return nil, err
		}
		if s.raw, err = poller.SyscallConn(); err != nil {
			poller.Close()
			return nil, err
		}
		s.poller = poller
		s.polled.Store(true)
	}
	s.waits++
	return s.raw, nil
}

func (s *packetSocket) exitPoller() {
	s.mu.Lock()
	s.waits--
	s.mu.Unlock()
}

// leavePoller takes the socket out of the poller, unless somebody waits there.
func (s *packetSocket) leavePoller() {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.waits == 0 && s.poller != nil {
		s.polled.Store(false)
		_ = s.poller.Close()
		s.poller = nil
	}
}

// pollDuplicate is a duplicate of fd in the poller. Package os takes for the poller what it
// finds non-blocking, and another process may change that just now.
func pollDuplicate(fd int) (f *os.File, err error) {
	for range 100 {
		if f, err = nonblockingDuplicate(fd); err != nil {
			return nil, err
		}
		if err = f.SetDeadline(time.Time{}); err == nil {
			return f, nil
		}
		f.Close()
	}
	return nil, err
}

func nonblockingDuplicate(fd int) (*os.File, error) {
	flags, err := unix.FcntlInt(uintptr(fd), unix.F_GETFL, 0)
	if err != nil {
		return nil, os.NewSyscallError("fcntl", err)
	}
	dup, err := unix.FcntlInt(uintptr(fd), unix.F_DUPFD_CLOEXEC, 0)
	if err != nil {
		return nil, os.NewSyscallError("fcntl", err)
	}
	if flags&unix.O_NONBLOCK == 0 {
		if err := unix.SetNonblock(dup, true); err != nil {
			unix.Close(dup)
			return nil, os.NewSyscallError("fcntl", err)
		}
		defer unix.SetNonblock(fd, false) //nolint:errcheck // as above, where it was no error
	}
	return os.NewFile(uintptr(dup), "socket"), nil
}

// setDeadline stirs who waits in the poller for these events.
func (s *packetSocket) setDeadline(events int16, t time.Time) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	switch {
	case s.poller == nil:
		return nil
	case events == unix.POLLOUT:
		return s.poller.SetWriteDeadline(t)
	}
	return s.poller.SetReadDeadline(t)
}

// SyscallConn, Control, Read and Write are syscall.Conn's and syscall.RawConn's.
func (s *packetSocket) SyscallConn() (syscall.RawConn, error) { return s, nil }

func (s *packetSocket) Control(f func(fd uintptr)) error {
	if !s.enter() {
		return os.ErrClosed
	}
	defer s.leave()
	f(s.fd)
	return nil
}

func (s *packetSocket) Read(f func(fd uintptr) bool) error {
	return s.whilePolled(func(raw syscall.RawConn) error { return raw.Read(f) })
}

func (s *packetSocket) Write(f func(fd uintptr) bool) error {
	return s.whilePolled(func(raw syscall.RawConn) error { return raw.Write(f) })
}

func (s *packetSocket) whilePolled(wait func(syscall.RawConn) error) error {
	raw, err := s.enterPoller()
	if err != nil {
		return err
	}
	defer s.exitPoller()
	return wait(raw)
}
