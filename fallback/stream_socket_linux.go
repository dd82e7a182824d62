package fallback

import (
	"net"
	"os"
	"sync"
	"sync/atomic"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// SO_RCVTIMEO, SO_SNDTIMEO; the kernel rounds it up to its clock tick, 1 to 10 ms
const socketTick = time.Microsecond

// A netSocket is a *net.UnixConn or a *net.TCPConn.
type netSocket interface {
	net.Conn
	syscall.Conn
}

// A streamSocket is not in the poller to begin with. It enters it for a wait there, and leaves
// it when a call is to wait in the kernel (hurry_linux.go).
type streamSocket struct {
	// file is in blocking mode and not in the poller; calls that must not wait say
	// MSG_DONTWAIT. fd is its descriptor, open until both directions are ended.
	file  *os.File
	fd    int
	ended atomic.Int32 // directions
	// patient: SO_RCVTIMEO and SO_SNDTIMEO are set. Only from the first wait in the kernel
	// on, so that a socket that is just passed on is as it was.
	patient atomic.Bool

	polled    atomic.Bool // poller is there
	mu        sync.Mutex  // guards the rest
	poller    netSocket   // a duplicate, in the poller
	pollerRaw syscall.RawConn
	users     int // who wait there
	closed    bool
}

// newStreamSocket takes over c's socket, and closes c.
func newStreamSocket(c netSocket) (*streamSocket, error) {
	fd := -1
	err := controlSocket(c, func(old int) (err error) {
		fd, err = unix.FcntlInt(uintptr(old), unix.F_DUPFD_CLOEXEC, 0)
		return os.NewSyscallError("fcntl", err)
	})
	if err != nil {
		return nil, closedError(err)
	}
	// os.NewFile leaves a file in blocking mode out of the poller.
	if err := unix.SetNonblock(fd, false); err != nil {
		unix.Close(fd)
		return nil, os.NewSyscallError("fcntl", err)
	}
	_ = c.Close() // and out of the poller
	return &streamSocket{file: os.NewFile(uintptr(fd), "socket"), fd: fd}, nil
}

// sit takes a seat for a wait in the kernel; then rise gives it back.
func (s *streamSocket) sit() bool {
	if !takeKernelSeat() {
		return false
	}
	if !s.patient.Load() && !s.bePatient() {
		giveKernelSeat()
		return false
	}
	if s.polled.Load() {
		s.leavePoller()
	}
	return true
}

func (s *streamSocket) rise() { giveKernelSeat() }

func (s *streamSocket) bePatient() bool {
	if setTimeouts(s.fd, socketTick) != nil {
		return false
	}
	s.patient.Store(true)
	return true
}

func setTimeouts(fd int, d time.Duration) error {
	tv := unix.NsecToTimeval(d.Nanoseconds())
	for _, option := range []int{unix.SO_RCVTIMEO, unix.SO_SNDTIMEO} {
		if err := unix.SetsockoptTimeval(fd, unix.SOL_SOCKET, option, &tv); err != nil {
			return os.NewSyscallError("setsockopt", err)
		}
	}
	return nil
}

// enterPoller returns the socket in the poller; leave says that its user is done with it.
func (s *streamSocket) enterPoller() (syscall.RawConn, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closed {
		return nil, os.ErrClosed
	}
	if s.poller == nil {
		c, err := net.FileConn(s.file)
		if err != nil {
			return nil, err
		}
		poller := c.(netSocket)
		if s.pollerRaw, err = poller.SyscallConn(); err != nil {
			_ = poller.Close()
			return nil, err
		}
		s.poller = poller
		// FileConn has made it non-blocking, which holds for all duplicates. A call that was
		// about to wait in the kernel meanwhile has been told that there is nothing
		// yet, and comes here.
		if err := controlSocket(s.file, func(fd int) error {
			return os.NewSyscallError("fcntl", unix.SetNonblock(fd, false))
		}); err != nil {
			return nil, err
		}
	}
	s.users++
	s.polled.Store(true)
	return s.pollerRaw, nil
}

func (s *streamSocket) leave() {
	s.mu.Lock()
	s.users--
	s.mu.Unlock()
}

func (s *streamSocket) leavePoller() {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.users == 0 && s.poller != nil {
		s.polled.Store(false)
		_ = s.poller.Close()
		s.poller = nil
	}
}

// setReadDeadline stirs who waits in the poller; so does setWriteDeadline.
func (s *streamSocket) setReadDeadline(t time.Time) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.poller == nil {
		return nil
	}
	return s.poller.SetReadDeadline(t)
}

func (s *streamSocket) setWriteDeadline(t time.Time) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.poller == nil {
		return nil
	}
	return s.poller.SetWriteDeadline(t)
}

func (s *streamSocket) shutdownSend() error {
	return controlSocket(s.file, func(fd int) error {
		return os.NewSyscallError("shutdown", unix.Shutdown(fd, unix.SHUT_WR))
	})
}

// end is for the holder of a direction's turn, who uses fd no more. The second one lets go of
// the socket.
func (s *streamSocket) end() {
	if s.ended.Add(1) < 2 {
		return
	}
	s.mu.Lock()
	s.closed = true
	poller := s.poller
	s.poller = nil
	s.mu.Unlock()
	if poller != nil {
		_ = poller.Close()
	}
	s.file.Close()
}
