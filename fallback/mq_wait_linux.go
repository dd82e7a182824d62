package fallback

import (
	"context"
	"errors"
	"os"
	"sync/atomic"
	"syscall"
	"time"
)

// mqFD is a descriptor that is tried directly, and waited for in the runtime's poller.
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
	file    *os.File
	raw     syscall.RawConn
	users   atomic.Int64
	closing chan struct{} // closed when Close begins
	gone    chan struct{} // closed when the descriptor is
	in, out mqTurn
}

const mqClosed = 1 << 62

// mqTurn is one direction of an mqFD.
type mqTurn struct {
	f       *mqFD
	turn    chan struct{} // who has put something in has the turn
	dated   bool          // a deadline is set; the turn's
	poll    func(func(uintptr) bool) error
	setTime func(time.Time) error
}

// newMQFD takes over a descriptor that is non-blocking at the moment (os.NewFile looks at
// that to choose the poller); it may be made blocking afterwards.
func newMQFD(fd int, name string) (*mqFD, error) {
	f := &mqFD{fd: fd, file: os.NewFile(uintptr(fd), name), closing: make(chan struct{}), gone: make(chan struct{})}
	var err error
	if f.raw, err = f.file.SyscallConn(); err == nil {
		err = f.file.SetDeadline(time.Time{}) // os.ErrNoDeadline: epoll did not take it
	}
	if err != nil {
		_ = f.file.Close()
		return nil, err
	}
	f.in = mqTurn{f: f, turn: make(chan struct{}, 1), poll: f.raw.Read, setTime: f.file.SetReadDeadline}
	f.out = mqTurn{f: f, turn: make(chan struct{}, 1), poll: f.raw.Write, setTime: f.file.SetWriteDeadline}
	return f, nil
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
		if f.users.CompareAndSwap(n, n|mqClosed) {
			close(f.closing)
			if n == 0 {
				f.destroy()
			}
			<-f.gone
			return nil
		}
	}
}

func (f *mqFD) destroy() {
	_ = f.file.Close() // wakes who waits in the poller
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
// did not return true. os.ErrDeadlineExceeded, os.ErrClosed, or ctx's error.
func (t *mqTurn) until(ctx context.Context, deadline time.Time, try func(fd uintptr) bool) error {
	if !deadline.IsZero() || t.dated {
		// time.Until inside uses the monotonic reading, if there is one.
		if err := t.setTime(deadline); err != nil {
			return t.reason(ctx, err)
		}
		t.dated = !deadline.IsZero()
	}
	if ctx == nil || ctx.Done() == nil {
		return t.reason(ctx, t.poll(try))
	}
	set := make(chan struct{})
	stop := context.AfterFunc(ctx, func() {
		_ = t.setTime(time.Unix(1, 0)) // fails when closed, which wakes as well
		close(set)
	})
	err := t.poll(try)
	if !stop() {
		<-set // or it would end the next one's call
		t.dated = true
	}
	return t.reason(ctx, err)
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
	if err := t.take(nil, time.Time{}); err != nil {
		return err
	}
	defer t.pass()
	return t.until(nil, time.Time{}, f)
}
