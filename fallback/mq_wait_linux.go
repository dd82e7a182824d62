package fallback

import (
	"context"
	"errors"
	"os"
	"runtime"
	"sync"
	"sync/atomic"
	"time"

	"golang.org/x/sys/unix"
)

// mqFD is a descriptor that is tried directly, and waited for: a moment in the kernel
// (mq_hurry_linux.go), then in the runtime's poller.
//
// It is not in the poller itself: whatever is there costs each message a tenth more, since
// the kernel then has somebody to tell, and wakes an idle thread in epoll_wait for
// nothing. Each direction has an epoll of its own, which is in the poller (epolls nest),
// made at the first wait; the descriptor is in that while somebody waits, and only then.
//
// Invariants:
//   - The number fd is used between hold and release only. users counts those, and
//     once mqClosed is in it, it only falls; whoever brings it to mqClosed alone closes
//     the descriptor. So the number is never another file's.
//   - At most one goroutine per direction waits in the poller: it has the
//     direction's turn. The others wait for the turn, which a context can end, while the
//     locks inside os.File could not be left.
//   - A direction's deadline belongs to who has its turn, and is cleared before it is
//     used again: nobody's deadline ends another's call.
type mqFD struct {
	fd      int
	users   atomic.Int64
	closing chan struct{} // closed when Close begins
	gone    chan struct{} // closed when the descriptor is
	in, out mqTurn
	leak    runtime.Cleanup // closes fd if nobody else does

	mu     sync.Mutex
	closed bool // no epoll is made any more
}

const mqClosed = 1 << 62

// mqTurn is one direction of an mqFD.
type mqTurn struct {
	f      *mqFD
	events uint32
	turn   chan struct{} // who has put something in has the turn

	epoll   *os.File // nil before the first wait; f.mu
	poll    func(func(uintptr) bool) error
	control func(func(uintptr)) error

	hurried mqHurried

	// The rest belongs to the turn.
	dated      bool                    // a deadline is set
	try        func(fd uintptr) bool   // what is tried
	step       func(epfd uintptr) bool // tries it: t.tryOnce
	watch      func(epfd uintptr)      // t.watchFD
	unwatch    func(epfd uintptr)      // t.unwatchFD
	watchError error
}

// newMQFD takes over a descriptor.
func newMQFD(fd int) *mqFD {
	f := &mqFD{fd: fd, closing: make(chan struct{}), gone: make(chan struct{})}
	f.in.init(f, unix.EPOLLIN)
	f.out.init(f, unix.EPOLLOUT)
	f.leak = runtime.AddCleanup(f, func(fd int) { _ = unix.Close(fd) }, fd)
	return f
}

func (t *mqTurn) init(f *mqFD, events uint32) {
	t.f, t.events, t.turn = f, events, make(chan struct{}, 1)
	t.step, t.watch, t.unwatch = t.tryOnce, t.watchFD, t.unwatchFD
}

// hold keeps fd open until release. False: it is closed.
func (f *mqFD) hold() bool {
	for {
		n := f.users.Load()
		if n&mqClosed != 0 {
			return false
		}
		if f.users.CompareAndSwap(n, n+1) {
			return true
		}
	}
}

func (f *mqFD) release() {
	if f.users.Add(-1) == mqClosed {
		f.destroy()
	}
}

// close makes every waiting call return os.ErrClosed. It returns when the kernel has
// closed the descriptor.
func (f *mqFD) close() error {
	for {
		n := f.users.Load()
		if n&mqClosed != 0 {
			return os.ErrClosed
		}
		if f.users.CompareAndSwap(n, n+1|mqClosed) { // one of the users itself
			break
		}
	}
	close(f.closing)
	f.mu.Lock()
	f.closed = true
	f.mu.Unlock()
	// An os.File's Close waits until nobody is inside its functions. So it is done here, and
	// not by whoever releases last, which may be a function inside.
	for _, t := range []*mqTurn{&f.in, &f.out} {
		if t.epoll != nil {
			_ = t.epoll.Close() // wakes who waits there
		}
	}
	f.release()
	f.rouseSleepers()
	return nil
}

func (f *mqFD) destroy() {
	f.leak.Stop()
	_ = unix.Close(f.fd)
	close(f.gone)
}

func (f *mqFD) isClosed() bool { return f.users.Load()&mqClosed != 0 }

// take waits for the turn. ctx may be nil; a zero deadline is none.
func (t *mqTurn) take(ctx context.Context, deadline time.Time) error {
	select {
	case t.turn <- struct{}{}:
		return nil
	default:
	}
	var done <-chan struct{}
	if ctx != nil {
		done = ctx.Done()
	}
	var late <-chan time.Time
	if !deadline.IsZero() {
		timer := time.NewTimer(time.Until(deadline))
		defer timer.Stop()
		late = timer.C
	}
	select {
	case t.turn <- struct{}{}:
		return nil
	case <-done:
		return ctx.Err()
	case <-late:
		return os.ErrDeadlineExceeded
	case <-t.f.closing:
		return os.ErrClosed
	}
}

func (t *mqTurn) pass() { <-t.turn }

// until runs try, and again whenever the descriptor may have become ready, until it
// returns true; the caller has the turn. What try did counts: an error means that it
// did not return true. os.ErrDeadlineExceeded, os.ErrClosed, ctx's error, or what
// keeps the descriptor out of the poller.
func (t *mqTurn) until(ctx context.Context, deadline time.Time, try func(fd uintptr) bool) error {
	if err := t.enterPoller(); err != nil {
		return err
	}
	if !deadline.IsZero() || t.dated {
		// time.Until inside uses the monotonic reading, if there is one.
		if err := t.epoll.SetReadDeadline(deadline); err != nil {
			return t.reason(ctx, err)
		}
		t.dated = !deadline.IsZero()
	}
	err := t.control(t.watch)
	if err == nil {
		err = t.watchError
	}
	if err != nil {
		return t.reason(ctx, err)
	}
	t.try = try
	if ctx == nil || ctx.Done() == nil {
		err = t.poll(t.step)
	} else {
		err = t.pollContext(ctx)
	}
	t.try = nil
	_ = t.control(t.unwatch) // fails when closed: then it is watched by nobody
	return t.reason(ctx, err)
}

func (t *mqTurn) pollContext(ctx context.Context) error {
	set := make(chan struct{})
	stop := context.AfterFunc(ctx, func() {
		_ = t.epoll.SetReadDeadline(time.Unix(1, 0)) // fails when closed, which wakes as well
		close(set)
	})
	err := t.poll(t.step)
	if !stop() {
		<-set // or it would end the next one's call
		t.dated = true
	}
	return err
}

// enterPoller makes the direction's epoll, once.
func (t *mqTurn) enterPoller() error {
	t.f.mu.Lock()
	defer t.f.mu.Unlock()
	switch {
	case t.f.closed:
		return os.ErrClosed
	case t.epoll != nil:
		return nil
	}
	epfd, err := unix.EpollCreate1(unix.EPOLL_CLOEXEC)
	if err != nil {
		return os.NewSyscallError("epoll_create1", err)
	}
	if err := unix.SetNonblock(epfd, true); err != nil { // what os.NewFile knows pollable files by
		_ = unix.Close(epfd)
		return os.NewSyscallError("fcntl", err)
	}
	epoll := os.NewFile(uintptr(epfd), "epoll")
	raw, err := epoll.SyscallConn()
	if err == nil {
		err = epoll.SetReadDeadline(time.Time{}) // os.ErrNoDeadline: the poller did not take it
	}
	if err != nil {
		_ = epoll.Close()
		return err
	}
	t.epoll, t.poll, t.control = epoll, raw.Read, raw.Control
	return nil
}

func (t *mqTurn) watchFD(epfd uintptr) {
	if !t.f.hold() {
		t.watchError = os.ErrClosed
		return
	}
	defer t.f.release()
	event := unix.EpollEvent{Events: t.events}
	t.watchError = os.NewSyscallError("epoll_ctl", unix.EpollCtl(int(epfd), unix.EPOLL_CTL_ADD, t.f.fd, &event))
}

func (t *mqTurn) unwatchFD(epfd uintptr) {
	if t.f.hold() {
		_ = unix.EpollCtl(int(epfd), unix.EPOLL_CTL_DEL, t.f.fd, nil) // it is there
		t.f.release()
	}
}

func (t *mqTurn) tryOnce(uintptr) bool {
	if !t.f.hold() {
		return false // and the wait that follows fails
	}
	defer t.f.release()
	return t.try(uintptr(t.f.fd))
}

// reason says why poll ended. Closed comes first: os.File says so with an error of its own.
func (t *mqTurn) reason(ctx context.Context, err error) error {
	switch {
	case err == nil:
		return nil
	case t.f.isClosed():
		return os.ErrClosed
	case ctx != nil && ctx.Err() != nil && errors.Is(err, os.ErrDeadlineExceeded):
		return ctx.Err()
	}
	return err
}

// mqRaw is a syscall.RawConn that keeps to the turns.
type mqRaw struct{ f *mqFD }

// Control runs f with the descriptor, which stays open meanwhile.
func (r mqRaw) Control(f func(fd uintptr)) error {
	if !r.f.hold() {
		return os.ErrClosed
	}
	defer r.f.release()
	f(uintptr(r.f.fd))
	return nil
}

// Read runs f until it returns true, and waits for the descriptor to become readable between.
func (r mqRaw) Read(f func(fd uintptr) (done bool)) error { return r.f.in.run(f) }

// Write is Read for becoming writable.
func (r mqRaw) Write(f func(fd uintptr) (done bool)) error { return r.f.out.run(f) }

func (t *mqTurn) run(f func(fd uintptr) bool) error {
	if err := t.take(forever, time.Time{}); err != nil {
		return err
	}
	defer t.pass()
	return t.until(forever, time.Time{}, f)
}
