package fallback

import (
	"context"
	"errors"
	"os"
	"runtime"
	"sync/atomic"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// A pipeEnd is one non-blocking descriptor in the runtime's poller. Whoever holds its
// turn uses all of it; the descriptor's deadline therefore ends nobody else's call.
type pipeEnd struct {
	file   *os.File
	raw    syscall.RawConn
	closed atomic.Bool

	// turn is 0: free, 1: somebody's, 2: somebody's, and others may be waiting, of whom a
	// token in next lets one look again. A context ends that wait, as it could not a mutex's.
	turn   atomic.Int32
	next   chan struct{}
	parked atomic.Bool // who has the turn waits for the other side

	// What attempt needs and says. It is one func value made once, as a func literal for
	// each call would be an allocation for each message.
	attempt func(fd uintptr) (done bool)
	perform func(fd int, vec [][]byte) (int, error)
	vec     [][]byte
	wait    bool
	hangUp  bool // 0 bytes are the end of file only if the kernel also says POLLHUP
	n       int
	err     error

	expired chan struct{} // one value each time that a context's end has set the deadline
}

func (e *pipeEnd) init(file *os.File, perform func(int, [][]byte) (int, error)) (err error) {
	e.file, e.perform = file, perform
	e.next, e.expired = make(chan struct{}, 1), make(chan struct{}, 1)
	e.attempt = e.try
	if e.raw, err = file.SyscallConn(); err != nil {
		return err
	}
	// A descriptor that the poller does not take (there is none known) would block threads.
	return file.SetDeadline(time.Time{})
}

// enter gets the turn, in no particular order with others who wait for it. Without
// waiting it does so unless somebody has the turn who waits for the other side; for
// somebody who is about to be done it waits. stuck, if not nil, is asked
// whether the sleeper has to sleep, since it may have been woken and not yet run. The
// error is EAGAIN or the context's.
func (e *pipeEnd) enter(ctx context.Context, wait bool, stuck func() bool) error {
	cancelable := ctx != nil && ctx.Done() != nil
	if cancelable {
		if err := ctx.Err(); err != nil {
			return err
		}
	}
	if e.turn.CompareAndSwap(0, 1) {
		return nil
	}
	if !wait {
		return e.tryEnter(stuck)
	}
	var done <-chan struct{}
	if cancelable {
		done = ctx.Done()
	}
	for e.turn.Swap(2) != 0 {
		select {
		case <-e.next:
		case <-done:
			return ctx.Err()
		}
	}
	return nil
}

func (e *pipeEnd) tryEnter(stuck func() bool) error {
	for !e.turn.CompareAndSwap(0, 1) {
		if e.parked.Load() && (stuck == nil || stuck()) {
			return unix.EAGAIN
		}
		runtime.Gosched()
	}
	return nil
}

// nothingCame is stuck for a reading end.
func (e *pipeEnd) nothingCame() bool {
	n, err := PipeQueued(e.file)
	return err != nil || n == 0
}

func (e *pipeEnd) give() {
	if e.turn.Swap(0) == 2 {
		select {
		case e.next <- struct{}{}:
		default: // somebody has yet to look again anyway
		}
	}
}

// do performs vec once with at least one byte, or waits until it can. It returns EAGAIN if
// it would have to wait and must not. The caller has the turn.
func (e *pipeEnd) do(ctx context.Context, wait bool, rw func(func(uintptr) bool) error) (int, error) {
	cancelable := wait && ctx != nil && ctx.Done() != nil
	e.wait = wait && !cancelable
	n, err := e.run(rw)
	if !cancelable || err != unix.EAGAIN {
		return n, err
	}
	stop := context.AfterFunc(ctx, e.expire)
	e.wait = true
	n, err = e.run(rw)
	if !stop() {
		<-e.expired
		_ = e.file.SetDeadline(time.Time{}) // fails if closed meanwhile; then err says so
		if errors.Is(err, os.ErrDeadlineExceeded) {
			err = ctx.Err()
		}
	}
	return n, err
}

func (e *pipeEnd) expire() {
	_ = e.file.SetDeadline(time.Unix(1, 0)) // fails if closed, which ends the call as well
	e.expired <- struct{}{}
}

func (e *pipeEnd) run(rw func(func(uintptr) bool) error) (int, error) {
	e.n, e.err = 0, nil
	err := rw(e.attempt)
	if e.parked.Load() {
		e.parked.Store(false)
	}
	switch {
	case err == nil:
		return e.n, e.err
	case e.closed.Load():
		return 0, os.ErrClosed
	}
	return 0, err
}

// try is attempt.
func (e *pipeEnd) try(fd uintptr) bool {
	for {
		e.n, e.err = e.perform(int(fd), e.vec)
		switch {
		case e.err == unix.EINTR:
			continue
		case e.err == nil && e.n == 0 && e.hangUp:
			switch events := pipePoll(int(fd), unix.POLLIN); {
			case events&unix.POLLIN != 0: // a writer came since
				continue
			case events&unix.POLLHUP != 0:
				return true
			}
			e.err = unix.EAGAIN // nobody came since this end was opened
		}
		if e.err != unix.EAGAIN {
			return true
		}
		e.n = 0
		if e.wait {
			e.parked.Store(true)
		}
		return !e.wait
	}
}

// pipePoll is what poll(2) says of fd at this moment.
func pipePoll(fd int, events int16) int16 {
	p := [1]unix.PollFd{{Fd: int32(fd), Events: events}}
	for {
		if _, err := unix.Poll(p[:], 0); err != unix.EINTR {
			return p[0].Revents
		}
	}
}

// close lets blocked calls return with os.ErrClosed.
func (e *pipeEnd) close() error {
	if e.closed.Swap(true) {
		return os.ErrClosed
	}
	return e.file.Close()
}

// readPipe and writePipe are perform: one plain system call for one slice.
func readPipe(fd int, vec [][]byte) (int, error) {
	if len(vec) == 1 {
		return unix.Read(fd, vec[0])
	}
	return unix.Readv(fd, vec)
}

func writePipe(fd int, vec [][]byte) (int, error) {
	if len(vec) == 1 {
		return unix.Write(fd, vec[0])
	}
	return unix.Writev(fd, vec)
}
