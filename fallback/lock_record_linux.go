package fallback

import (
	"context"
	"os"

	"golang.org/x/sys/unix"
)

// The only place of this project that uses POSIX's record locks: for those who have to
// meet a program that does. The linter forbids them everywhere else, for the trap in
// lock.go: any close of the file drops them.
const (
	recordSet  = unix.F_SETLK  //nolint:forbidigo // the wrapper of this very call; its trap is documented
	recordWait = unix.F_SETLKW //nolint:forbidigo // as above
)

// RecordLock takes a POSIX record lock on the range for this process, waiting while
// other processes stand in the way, fcntl_locking(2). f must be readable for a shared
// lock, writable for an exclusive one (EBADF). ctx may be nil: never ends. It is lost as
// soon as this process closes any descriptor of that file; see the top of lock.go.
//
// The error is ctx.Err(), os.ErrClosed when f is closed, fs.ErrInvalid for an impossible
// range, syscall.EDEADLK when waiting (nil ctx) would be a deadlock, which the kernel
// notices between two processes, ENOLCK where there is no memory for locks.
func RecordLock(ctx context.Context, f *os.File, m LockMode, r LockRange) error {
	return lockWait(ctx, f, func() error {
		_, err := lockFcntl(f, "fcntl(F_SETLKW)", recordWait, lockType(m), r)
		return err
	}, func() error { return TryRecordLock(f, m, r) })
}

// TryRecordLock is RecordLock that does not wait: ErrWouldBlock, and then what the
// process had before it has still.
func TryRecordLock(f *os.File, m LockMode, r LockRange) error {
	_, err := lockFcntl(f, "fcntl(F_SETLK)", recordSet, lockType(m), r)
	return err
}

// RecordUnlock gives up this process's record locks in the range, whoever of it took
// them. Where there are none it does nothing.
func RecordUnlock(f *os.File, r LockRange) error {
	_, err := lockFcntl(f, "fcntl(F_SETLK)", recordSet, unix.F_UNLCK, r)
	return err
}

// RecordLockHolder says who would stand in the way of such a record lock: nil when
// nobody does, one of them when there are several. This process's own record locks are
// never in its way. What it says may be over when it returns.
func RecordLockHolder(f *os.File, m LockMode, r LockRange) (*LockHolder, error) {
	return lockHolder(f, "fcntl(F_GETLK)", unix.F_GETLK, m, r)
}
