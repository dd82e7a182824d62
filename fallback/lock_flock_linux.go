package fallback

import (
	"context"
	"os"

	"golang.org/x/sys/unix"
)

func flock(f *os.File, how int) error {
	return lockCall(f, "flock", func(fd int) error { return unix.Flock(fd, how) })
}

func flockHow(m LockMode) int {
	if m == LockShared {
		return unix.LOCK_SH
	}
	return unix.LOCK_EX
}

// Flock locks the whole of f, waiting while others stand in the way, flock(2). The file
// may be open in any mode, a directory too. ctx may be nil: never ends. A lock that f's
// description has already is replaced; see the top of lock.go for the traps, and for
// how it waits.
//
// The error is ctx.Err(), os.ErrClosed when f is closed, or flock's: ENOLCK where the
// kernel has no memory for locks, errors.ErrUnsupported where the file system has none.
// Closing f does not interrupt a wait in the kernel (nil ctx).
func Flock(ctx context.Context, f *os.File, m LockMode) error {
	return lockWait(ctx, f, func() error { return flock(f, flockHow(m)) }, func() error { return TryFlock(f, m) })
}

// TryFlock is Flock that does not wait: ErrWouldBlock. Then a lock of the other mode that
// f's description had may be lost.
func TryFlock(f *os.File, m LockMode) error { return flock(f, flockHow(m)|unix.LOCK_NB) }

// Funlock gives the lock up, for all who share f's description. Without one it does
// nothing.
func Funlock(f *os.File) error { return flock(f, unix.LOCK_UN) }
