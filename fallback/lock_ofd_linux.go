package fallback

import (
	"context"
	"os"

	"golang.org/x/sys/unix"
)

// OFDLock takes a lock on the range for f's open file description, waiting while
// others stand in the way, fcntl_locking(2), F_OFD_SETLK, Linux 3.15. f must be readable
// for a shared lock, writable for an exclusive one (EBADF). ctx may be nil: never ends.
//
// The lock goes with the last descriptor of the description: also one that a child
// inherited, or that a mapping keeps. See the top of lock.go.
//
// The error is ctx.Err(), os.ErrClosed when f is closed, fs.ErrInvalid for an impossible
// range, ENOLCK where there is no memory for locks.
func OFDLock(ctx context.Context, f *os.File, m LockMode, r LockRange) error {
	return lockWait(ctx, f, func() error {
		_, err := lockFcntl(f, "fcntl(F_OFD_SETLKW)", unix.F_OFD_SETLKW, lockType(m), r)
		return err
	}, func() error { return TryOFDLock(f, m, r) })
}

// TryOFDLock is OFDLock that does not wait: ErrWouldBlock, and then what the description
// had before it has still.
func TryOFDLock(f *os.File, m LockMode, r LockRange) error {
	_, err := lockFcntl(f, "fcntl(F_OFD_SETLK)", unix.F_OFD_SETLK, lockType(m), r)
	return err
}

// OFDUnlock gives up the description's locks in the range, for all who share it. Where
// there are none it does nothing.
func OFDUnlock(f *os.File, r LockRange) error {
	_, err := lockFcntl(f, "fcntl(F_OFD_SETLK)", unix.F_OFD_SETLK, unix.F_UNLCK, r)
	return err
}

// OFDLockHolder says who would stand in the way of such a lock of f's description: nil
// when nobody does, one of them when there are several. What it says may be over when it
// returns.
func OFDLockHolder(f *os.File, m LockMode, r LockRange) (*LockHolder, error) {
	return lockHolder(f, "fcntl(F_OFD_GETLK)", unix.F_OFD_GETLK, m, r)
}
