package fallback

import (
	"net"
	"os"
	"runtime"
	"sync"
	"sync/atomic"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// There are three ways to wait for the other side. To ask again and again costs processor
// time, but wakes nobody: if the other side is at work, it is the fastest. A thread
// that sits in recvmsg is woken by the kernel itself. The runtime's poller takes no thread,
// but the goroutine that it wakes comes by way of epoll and the scheduler; and a descriptor
// that it watches wakes one more thread at every message, whether anybody waits or not. Between
// two processes that answer each other at once that is two to four switches of threads in
// place of one.
//
// So a streamSocket is not in the poller to begin with. A call first asks a few times, if that has
// been of use lately; it then waits in the kernel, for a clock tick. If nothing has come by
// then there is no hurry, and it goes on waiting in the poller, which the socket enters for
// that. It leaves the poller when a call is to wait in the kernel again.
//
// Neither contexts nor Close end a wait in the kernel, other than by its tick. So calls whose
// context can end do not wait there, and Close is felt within a tick or two. No more than
// socketThreads wait in the kernel at once, in a process.
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
	// file is in blocking mode and not in the poller; calls that must not wait say
	// MSG_DONTWAIT. fd is its descriptor, open until both directions are ended.
	file  *os.File
	fd    int
	ended atomic.Int32 // directions
	// patient: SO_RCVTIMEO and SO_SNDTIMEO are set. Only from the first wait in the kernel
	// on, so that a socket that is just passed on is as it was.
	patient atomic.Bool

	polled    atomic.Bool // poller is there, and not pinned
	mu        sync.Mutex  // guards the rest
	poller    netSocket   // a duplicate, in the poller
	pollerRaw syscall.RawConn
	users     int  // who wait there
	pinned    bool // it stays there
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

// hurry is one direction's memory of how its waits have ended.
type hurry struct {
	asks  int // how often to ask before a wait
	waits int // since asking was of no use

	rest  int // so many waits go to the poller at once, not to the kernel
	pause int // how long rest was the last time
	hits  int
}

const (
	hurryAsks  = 32      // about 10 µs
	hurryProbe = 8       // asks, when they are tried again
	hurryEvery = 64      // waits until then
	hurryHits  = 32      // waits in the kernel that were of use, until the past is forgotten
	hurryPause = 1 << 16 // the longest rest
)

// With one processor nobody can answer while this one asks.
var socketAsks = runtime.NumCPU() > 1

func (h *hurry) begin() (asks int) {
	if h.asks == 0 && socketAsks {
		if h.waits++; h.waits >= hurryEvery {
			h.waits, h.asks = 0, hurryProbe
		}
	}
	return h.asks
}

// asked is told which of the asks was answered; none of them if it was not fewer than h.asks.
func (h *hurry) asked(answered int) {
	if answered < h.asks {
		h.asks = min(hurryAsks, max(h.asks, 2*answered+2))
	} else {
		h.asks /= 4
	}
}

// waited is told how a wait in the kernel ended. In vain end those that stand in the way of
// the very goroutine they wait for, where there is but one processor for them. Then it is some
// time until the next one.
func (h *hurry) waited(inVain bool) {
	if inVain {
		h.pause = min(2*h.pause+1, hurryPause)
		h.rest, h.hits = h.pause, 0
	} else if h.hits++; h.hits == hurryHits {
		h.pause = 0
	}
}

// sit takes a seat for a wait in the kernel; then rise gives it back.
func (s *streamSocket) sit() bool {
	if socketSeats.Add(1) > socketThreads || !s.patient.Load() && !s.bePatient() {
		socketSeats.Add(-1)
		return false
	}
	if s.polled.Load() {
		s.leavePoller()
	}
	return true
}

func (s *streamSocket) rise() { socketSeats.Add(-1) }

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
	if pin {
		s.pinned = true
	} else {
		s.users++
	}
	s.polled.Store(!s.pinned)
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
	if s.users == 0 && !s.pinned && s.poller != nil {
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
