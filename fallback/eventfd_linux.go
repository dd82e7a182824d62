package fallback

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"strconv"
	"sync"
	"sync/atomic"
	"syscall"

	"golang.org/x/sys/unix"
)

// An Eventfd is a 64-bit counter in the kernel that one can sleep on, eventfd(2),
// Linux 2.6.27: a wake-up that poll, epoll and select understand. It carries no
// message. It lives as long as anybody has a descriptor of it, and has no name: another
// process gets it through File, by exec's ExtraFiles or over a UNIX socket.
//
// Add raises the counter, Wait takes: all of it, or, in semaphore mode, 1. The
// descriptor polls readable while the counter is above 0, and writable while 1 can be
// added.
//
// All methods may be called by any number of goroutines, and those of several Eventfds
// on one counter by any number of processes, at once. Waiting costs no thread. A process
// that dies takes nothing back: what it had added stays, what it had taken is gone.
// There is no end of file, so a waiter whose last partner died waits on.
//
// After Close every method fails with os.ErrClosed, and calls that were blocked in this
// Eventfd return with it at once.
type Eventfd struct {
	f      *os.File
	rc     syscall.RawConn
	in     memWay
	out    memWay
	gone   chan struct{}
	closed atomic.Bool
}

// NewEventfd makes a counter. In semaphore mode each Wait takes 1; that belongs to the
// counter, and so to all who have it. The error is eventfd's: EMFILE, ENFILE, ENOMEM.
func NewEventfd(initial uint32, semaphore bool) (*Eventfd, error) {
	flags := unix.EFD_CLOEXEC | unix.EFD_NONBLOCK
	if semaphore {
		flags |= unix.EFD_SEMAPHORE
	}
	fd, err := unix.Eventfd(uint(initial), flags)
	if err != nil {
		return nil, os.NewSyscallError("eventfd2", err)
	}
	return newEventfd(fd)
}

// EventfdFromFile makes an Eventfd of a descriptor that this process was given or has
// inherited. f stays the caller's, who may close it at once; but the counter becomes
// non-blocking for everybody, since O_NONBLOCK belongs to what all descriptors of it
// share: a C program that reads it then gets EAGAIN rather than sleeping, unless it polls
// first. What is no eventfd is refused with an error that errors.Is fs.ErrInvalid.
func EventfdFromFile(f *os.File) (*Eventfd, error) {
	own := -1
	var inner error
	rc, err := f.SyscallConn()
	if err == nil {
		err = rc.Control(func(fd uintptr) {
			if inner = eventfdCheck(int(fd)); inner != nil {
				return
			}
			own, inner = unix.FcntlInt(fd, unix.F_DUPFD_CLOEXEC, 0)
			inner = os.NewSyscallError("fcntl(F_DUPFD_CLOEXEC)", inner)
		})
	}
	switch {
	case err != nil:
		return nil, fmt.Errorf("eventfd: from file: %w", os.ErrClosed)
	case inner != nil:
		return nil, fmt.Errorf("eventfd: from file %q: %w", f.Name(), inner)
	}
	if err := unix.SetNonblock(own, true); err != nil {
		unix.Close(own)
		return nil, os.NewSyscallError("fcntl(F_SETFL)", err)
	}
	return newEventfd(own)
}

func newEventfd(fd int) (*Eventfd, error) {
	f := os.NewFile(uintptr(fd), "eventfd")
	rc, err := f.SyscallConn()
	if err != nil {
		f.Close()
		return nil, err
	}
	e := &Eventfd{f: f, rc: rc, gone: make(chan struct{})}
	e.in, e.out = memWays(f, rc)
	return e, nil
}

// eventfdCheck asks /proc what the descriptor is; without /proc it asks the kernel for
// something that an eventfd alone refuses as it does: a read of less than 8 bytes.
func eventfdCheck(fd int) error {
	name, err := os.Readlink("/proc/self/fd/" + strconv.Itoa(fd))
	if err == nil && name == "anon_inode:[eventfd]" {
		return nil
	}
	if err != nil {
		var st unix.Stat_t
		if unix.Fstat(fd, &st) == nil && st.Mode&unix.S_IFMT == 0 {
			return nil // anonymous, as an eventfd is; no more can be found out
		}
	}
	return fmt.Errorf("%s is no eventfd: %w", name, fs.ErrInvalid)
}

// eventfdCall is one read or write under way; the kernel's 8 bytes must not lie on a
// stack that may move, and a closure per call would be garbage.
type eventfdCall struct {
	buf   [8]byte
	write bool
	err   unix.Errno
	f     func(fd uintptr) bool // until it is done
	once  func(fd uintptr)
}

var eventfdCalls = sync.Pool{New: func() any {
	c := new(eventfdCall)
	c.f = func(fd uintptr) bool { c.attempt(fd); return c.err != unix.EAGAIN }
	c.once = c.attempt
	return c
}}

func (c *eventfdCall) attempt(fd uintptr) {
	for {
		c.err = 0
		var err error
		if c.write {
			_, err = unix.Write(int(fd), c.buf[:])
		} else {
			_, err = unix.Read(int(fd), c.buf[:])
		}
		if err != nil && !errors.As(err, &c.err) {
			c.err = unix.EIO
		}
		if c.err != unix.EINTR {
			return
		}
	}
}

// do reads or writes: at once if it can, else, with wait, when it can.
func (e *Eventfd) do(ctx context.Context, write, wait bool, v uint64) (uint64, error) {
	c := eventfdCalls.Get().(*eventfdCall)
	defer eventfdCalls.Put(c)
	c.write = write
	binary.NativeEndian.PutUint64(c.buf[:], v)
	op := "read"
	if write {
		op = "write"
	}
	if err := e.run(ctx, wait, c); err != nil {
		return 0, fmt.Errorf("eventfd: %s: %w", op, err)
	}
	if c.err != 0 {
		return 0, fmt.Errorf("eventfd: %w", os.NewSyscallError(op, c.err))
	}
	return binary.NativeEndian.Uint64(c.buf[:]), nil
}

func (e *Eventfd) run(ctx context.Context, wait bool, c *eventfdCall) error {
	way := &e.in
	if c.write {
		way = &e.out
	}
	if wait {
		if done, err := way.straight(ctx, c.f); done {
			return err
		}
	}
	if err := e.rc.Control(c.once); err != nil {
		return os.ErrClosed
	}
	switch {
	case c.err != unix.EAGAIN:
		return nil
	case !wait:
		return ErrWouldBlock
	}
	return way.until(ctx, e.gone, c.f)
}

// Add adds n, waiting while the counter would exceed EventfdMax. ctx may be nil: never
// ends. With an error nothing was added: ctx.Err(), os.ErrClosed, or fs.ErrInvalid for
// an n over EventfdMax, which could never be added. An n of 0 changes nothing.
func (e *Eventfd) Add(ctx context.Context, n uint64) error {
	if err := e.addable(ctx, n); err != nil {
		return err
	}
	_, err := e.do(ctx, true, true, n)
	return err
}

// TryAdd is Add that does not wait: ErrWouldBlock.
func (e *Eventfd) TryAdd(n uint64) error {
	if err := e.addable(forever, n); err != nil {
		return err
	}
	_, err := e.do(forever, true, false, n)
	return err
}

func (e *Eventfd) addable(ctx context.Context, n uint64) error {
	if n > EventfdMax {
		return fmt.Errorf("eventfd: %d is more than the counter can hold: %w", n, fs.ErrInvalid)
	}
	if err := memEnded(ctx); err != nil {
		return fmt.Errorf("eventfd: write: %w", err)
	}
	return nil
}

// Signal adds 1, for use as a wake-up, and does not block: a counter that is full wakes
// its waiters as it is, so that is no error.
func (e *Eventfd) Signal() error {
	_, err := e.do(forever, true, false, 1)
	if errors.Is(err, ErrWouldBlock) {
		return nil
	}
	return err
}

// Wait waits until the counter is above 0, takes it, and returns what it took: all of
// it, or 1 in semaphore mode. ctx may be nil: never ends. With an error nothing was
// taken: ctx.Err() or os.ErrClosed.
func (e *Eventfd) Wait(ctx context.Context) (uint64, error) {
	if err := memEnded(ctx); err != nil {
		return 0, fmt.Errorf("eventfd: read: %w", err)
	}
	return e.do(ctx, false, true, 0)
}

// TryWait is Wait that does not wait: ErrWouldBlock while the counter is 0.
func (e *Eventfd) TryWait() (uint64, error) { return e.do(forever, false, false, 0) }

// Value is the counter as it was a moment ago, and whether it is in semaphore mode. It
// takes nothing and does not block. It reads /proc/self/fdinfo (count: Linux 3.8;
// semaphore: 6.5, false before), so it is for people rather than for decisions.
func (e *Eventfd) Value() (count uint64, semaphore bool, err error) {
	var info []byte
	if cerr := e.rc.Control(func(fd uintptr) {
		info, err = os.ReadFile("/proc/self/fdinfo/" + strconv.Itoa(int(fd)))
	}); cerr != nil {
		return 0, false, fmt.Errorf("eventfd: value: %w", os.ErrClosed)
	}
	if err != nil {
		return 0, false, fmt.Errorf("eventfd: value: %w", err)
	}
	found := false
	for line := range bytes.Lines(info) {
		key, value, _ := bytes.Cut(line, []byte(":"))
		switch value := string(bytes.TrimSpace(value)); string(key) {
		case "eventfd-count":
			count, err = strconv.ParseUint(value, 16, 64)
			found = err == nil
		case "eventfd-semaphore":
			semaphore = value == "1"
		}
	}
	if !found {
		return 0, false, fmt.Errorf("eventfd: value: /proc does not tell it: %w", errors.ErrUnsupported)
	}
	return count, semaphore, nil
}

// File returns a new descriptor of the counter, to be passed on; it is the caller's to
// close. It is close-on-exec here, and non-blocking.
func (e *Eventfd) File() (*os.File, error) {
	own := -1
	var err error
	if cerr := e.rc.Control(func(fd uintptr) {
		own, err = unix.FcntlInt(fd, unix.F_DUPFD_CLOEXEC, 0)
	}); cerr != nil {
		return nil, fmt.Errorf("eventfd: file: %w", os.ErrClosed)
	}
	if err != nil {
		return nil, fmt.Errorf("eventfd: %w", os.NewSyscallError("fcntl(F_DUPFD_CLOEXEC)", err))
	}
	return os.NewFile(uintptr(own), "eventfd"), nil
}

// SyscallConn gives the descriptor itself, for a poll loop of one's own.
func (e *Eventfd) SyscallConn() (syscall.RawConn, error) { return e.f.SyscallConn() }

// Close closes this descriptor; the counter lives on in others. A second Close is
// os.ErrClosed.
func (e *Eventfd) Close() error {
	if !e.closed.CompareAndSwap(false, true) {
		return fmt.Errorf("eventfd: close: %w", os.ErrClosed)
	}
	close(e.gone)
	return e.f.Close()
}

var _ syscall.Conn = (*Eventfd)(nil)
