package fallback

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"time"

	"golang.org/x/sys/unix"
)

const (
	lockPauseLeast = time.Millisecond
	lockPauseMost  = 32 * time.Millisecond
)

// lockCall runs one system call on f's descriptor, which stays open meanwhile.
func lockCall(f *os.File, call string, do func(fd int) error) error {
	rc, err := f.SyscallConn() // not Fd, which would make f blocking
	if err != nil {
		return lockError(f, os.ErrClosed)
	}
	var errno error
	err = rc.Control(func(fd uintptr) {
		for {
			if errno = do(int(fd)); errno != unix.EINTR {
				return
			}
		}
	})
	switch {
	case err != nil:
		return lockError(f, os.ErrClosed)
	case errno == nil:
		return nil
	case errno == unix.EAGAIN, errno == unix.EACCES && call != "flock":
		return lockError(f, ErrWouldBlock) // fcntl_locking(2) allows either
	}
	return lockError(f, os.NewSyscallError(call, errno))
}

func lockError(f *os.File, err error) error {
	if f == nil {
		return fmt.Errorf("lock: %w", err)
	}
	return fmt.Errorf("lock %q: %w", f.Name(), err)
}

// lockWait takes a lock: with block, in the kernel, when ctx never ends, else with try,
// again and again.
func lockWait(ctx context.Context, f *os.File, block, try func() error) error {
	if err := memEnded(ctx); err != nil {
		return lockError(f, err)
	}
	if memDone(ctx) == nil {
		return block()
	}
	err := try()
	if !errors.Is(err, ErrWouldBlock) {
		return err
	}
	pause := lockPauseLeast
	timer := time.NewTimer(pause)
	defer timer.Stop()
	for {
		select {
		case <-ctx.Done():
			return lockError(f, ctx.Err())
		case <-timer.C:
		}
		if err = try(); !errors.Is(err, ErrWouldBlock) {
			return err
		}
		pause = min(2*pause, lockPauseMost)
		timer.Reset(pause)
	}
}

// lockFcntl is one of fcntl's lock commands, on a range.
func lockFcntl(f *os.File, call string, cmd int, typ int16, r LockRange) (unix.Flock_t, error) {
	if r.Start < 0 || r.Len < 0 || r.Start+r.Len < 0 {
		return unix.Flock_t{}, lockError(f, fmt.Errorf("range %d+%d: %w", r.Start, r.Len, fs.ErrInvalid))
	}
	lk := unix.Flock_t{Type: typ, Whence: io.SeekStart, Start: r.Start, Len: r.Len}
	err := lockCall(f, call, func(fd int) error { return unix.FcntlFlock(uintptr(fd), cmd, &lk) })
	return lk, err
}

func lockType(m LockMode) int16 {
	if m == LockShared {
		return unix.F_RDLCK
	}
	return unix.F_WRLCK
}

// lockHolder asks who stands in the way; nil: nobody.
func lockHolder(f *os.File, call string, cmd int, m LockMode, r LockRange) (*LockHolder, error) {
	lk, err := lockFcntl(f, call, cmd, lockType(m), r)
	if err != nil || lk.Type == unix.F_UNLCK {
		return nil, err
	}
	h := &LockHolder{PID: int(lk.Pid), Mode: LockExclusive, Range: LockRange{lk.Start, lk.Len}}
	if lk.Type == unix.F_RDLCK {
		h.Mode = LockShared
	}
	return h, nil
}
