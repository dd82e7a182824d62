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

// There are two ways to wait for the other side. A thread that sits in recvmsg is woken by
// the kernel itself. The runtime's poller takes no thread, but the goroutine that it wakes
// comes by way of epoll and the scheduler; and a descriptor that it watches wakes one more
// thread at every message, whether anybody waits or not. Between two processes that
// answer each other at once that is two to four switches of threads in place of one.
//
// So a streamSocket is not in the poller to begin with. A call first waits in the kernel, for
// a clock tick; if nothing has come by then there is no hurry, and it goes on waiting in
// the poller, which the socket enters for that, and so do the next calls (hurry). It
// leaves the poller when a call is to wait in the kernel again.
//
// Neither contexts nor Close end a wait in the kernel, other than by its tick. So calls whose
// context can end wait in the poller only, and Close is felt within a tick or two. No
// more than socketThreads wait in the kernel at once, in a process.
const (
	socketTick    = time.Microsecond // SO_RCVTIMEO, SO_SNDTIMEO; the kernel rounds it up to its clock tick, 1 to 10 ms
	socketThreads = 16
)

var socketSeats atomic.Int32 // threads that wait in the kernel

// A netSocket is a *net.UnixConn or a *net.TCPConn.
type netSocket interface {
	net.Conn
	syscall.Conn
}

type streamSocket struct {
	// file keeps the descriptor open for as long as a call uses it. It is in blocking
	// mode and not in the poller; calls that must not wait say MSG_DONTWAIT.
	file *os.File
	raw  syscall.RawConn
	// patient: SO_RCVTIMEO and SO_SNDTIMEO are set. Only from the first wait in the kernel
	// on, so that a socket that is just passed on is as it was.
	patient atomic.Bool

	polled atomic.Bool // poller is there, and not pinned
	mu     sync.Mutex  // guards the rest
	poller netSocket   // a duplicate, in the poller
	users  int         // who wait there
	pinned bool        // it stays there
	closed bool
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
	s := &streamSocket{file: os.NewFile(uintptr(fd), "socket")}
	if s.raw, err = s.file.SyscallConn(); err != nil {
		s.file.Close()
		return nil, err
	}
	c.Close() // and out of the poller
	return s, nil
}

// hurry is one direction's memory of how its waits in the kernel ended. If in vain, as those do
// that stand in the way of the very goroutine they wait for where there is one processor, it
// is some time until the next one, then twice that.
type hurry struct {
	rest  int // so many waits go to the poller
	pause int
	hits  int
}

const (
	hurryPause = 32
	hurryLong  = 1 << 16
)

func (h *hurry) ended(inVain bool) {
	if !inVain {
		if h.hits++; h.hits == hurryPause {
			h.pause = 0
		}
		return
	}
	h.pause = min(max(2*h.pause, hurryPause), hurryLong)
	h.rest, h.hits = h.pause, 0
}

// sit takes a seat for a wait in the kernel; then rise gives it back.
func (s *streamSocket) sit(fd int) bool {
	if socketSeats.Add(1) > socketThreads || !s.patient.Load() && !s.bePatient(fd) {
		socketSeats.Add(-1)
		return false
	}
	if s.polled.Load() {
		s.leavePoller()
	}
	return true
}

func (s *streamSocket) rise() { socketSeats.Add(-1) }

func (s *streamSocket) bePatient(fd int) bool {
	if setTimeouts(fd, socketTick) != nil {
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
func (s *streamSocket) enterPoller(pin bool) (syscall.RawConn, error) {
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
		s.poller = c.(netSocket)
		// FileConn has made it non-blocking, which holds for all duplicates. A call that was
		// about to wait in the kernel meanwhile has been told that there is nothing
		// yet, and comes here.
		if err := controlSocket(s.file, func(fd int) error {
			return os.NewSyscallError("fcntl", unix.SetNonblock(fd, false))
		}); err != nil {
			return nil, err
		}
	}
	raw, err := s.poller.SyscallConn()
	if err != nil {
		return nil, err
	}
	if pin {
		s.pinned = true
	} else {
		s.users++
	}
	s.polled.Store(!s.pinned)
	return raw, nil
}

func (s *streamSocket) leave() {
	s.mu.Lock()
	s.users--
	s.mu.Unlock()
}

func (s *streamSocket) leavePoller() {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.users == 0 && !s.pinned && s.poller != nil {
		s.polled.Store(false)
		s.poller.Close()
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

// close lets go of the socket when the calls that use it have returned.
func (s *streamSocket) close() {
	s.mu.Lock()
	s.closed = true
	poller := s.poller
	s.poller = nil
	s.mu.Unlock()
	if poller != nil {
		poller.Close()
	}
	s.file.Close()
}
