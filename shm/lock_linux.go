package shm

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"math"
	"os"

	"golang.org/x/sys/unix"
)

// Invariants of the locks:
//
//  1. They belong to an open file description, not to a process: F_OFD_SETLK of
//     fcntl_locking(2), Linux 3.15. The kernel drops them when the last reference
//     to the description is gone, so when the process is, however it went.
//     POSIX record locks would not do: closing any descriptor of the file in the
//     process drops them all, and they name a PID that other PID namespaces
//     cannot see. flock(2) has one lock for the whole file.
//  2. References are descriptors, duplicates of them in other processes, and
//     mappings. So the locks are on a description that is never mapped, never
//     duplicated and never handed on. Then the only reference is one
//     close-on-exec descriptor in this process.
//  3. The exception to 2 is the moment between fork and exec of a child, which has
//     copies of all descriptors. Close and Unlock therefore unlock by hand; after
//     a SIGKILL in that moment the child's exec, or its death, ends it.

// lockFile is a descriptor for locks, or the reason why there is none.
type lockFile struct {
	fd  int
	err error
}

// lockFileOf gives the file of fd a description for locks: through /proc, else
// through the name, if it has one (dirfd < 0 says that it has none).
func lockFileOf(fd, dirfd int, name string) lockFile {
	own, err := reopen(fd)
	if err != nil && dirfd >= 0 {
		var e error
		if own, e = reopenAt(fd, dirfd, name); e != nil {
			err = errors.Join(err, e)
		} else {
			err = nil
		}
	}
	if err != nil {
		return lockFile{-1, fmt.Errorf("no open file description of its own for locks: %w", err)}
	}
	return lockFile{own, nil}
}

func (l lockFile) fcntl(call string, cmd int, lk *unix.Flock_t) error {
	if l.err != nil {
		return l.err
	}
	return retry(call, func() error { return unix.FcntlFlock(uintptr(l.fd), cmd, lk) })
}

// try takes the byte at the offset for writing, without waiting.
func (l lockFile) try(offset int64) (bool, error) {
	if l.err != nil {
		return false, l.err
	}
	lk := unix.Flock_t{Type: unix.F_WRLCK, Whence: io.SeekStart, Start: offset, Len: 1}
	err := l.fcntl("fcntl(F_OFD_SETLK)", unix.F_OFD_SETLK, &lk)
	if errors.Is(err, unix.EAGAIN) || errors.Is(err, unix.EACCES) {
		return false, nil // fcntl_locking(2) allows a kernel either
	}
	return err == nil, err
}

func (l lockFile) unlock(offset, length int64) error {
	lk := unix.Flock_t{Type: unix.F_UNLCK, Whence: io.SeekStart, Start: offset, Len: length}
	return l.fcntl("fcntl(F_OFD_SETLK)", unix.F_OFD_SETLK, &lk)
}

// held tells whether another description stands in the way of a lock on the byte.
func (l lockFile) held(offset int64) (bool, error) {
	lk := unix.Flock_t{Type: unix.F_WRLCK, Whence: io.SeekStart, Start: offset, Len: 1}
	err := l.fcntl("fcntl(F_OFD_GETLK)", unix.F_OFD_GETLK, &lk)
	return err == nil && lk.Type != unix.F_UNLCK, err
}

// close unlocks everything by hand and closes.
func (l lockFile) close() error {
	if l.fd < 0 {
		return nil
	}
	err := l.unlock(0, 0) // length 0: to the end of all offsets
	if e := unix.Close(l.fd); e != nil && err == nil {
		err = os.NewSyscallError("close", e)
	}
	return err
}

// TryLock takes lock byte i for writing and says whether it has it. It does not
// block: false means that another Object holds it, in this process or another.
// An Object that holds the byte already has it still, and gets true.
//
// The lock lasts until Unlock or Close, or until the process is gone, whichever
// way it went: so a lock that is held is the kernel's proof that its holder lives.
// It covers no memory, and hinders nobody's reads and writes.
//
// The error [errors.Is] [fs.ErrInvalid] for an i below 0, and [os.ErrClosed]
// after Close. It tells of a permission or of a missing /proc where this Object
// could not be given an open file description of its own.
func (o *Object) TryLock(i int) (locked bool, err error) {
	defer annotate(&err, "lock", o.title)
	err = o.withLock(i, func(offset int64) (e error) {
		locked, e = o.lock.try(offset)
		return e
	})
	return locked, err
}

// Unlock gives lock byte i back. A byte that this Object does not hold stays as
// it is, and that is no error. Errors are TryLock's.
func (o *Object) Unlock(i int) (err error) {
	defer annotate(&err, "unlock", o.title)
	return o.withLock(i, func(offset int64) error { return o.lock.unlock(offset, 1) })
}

// Held tells whether an Object other than this one holds lock byte i, in this
// process or any other, in whatever PID namespace that is. A stopped or swapped
// out process holds its locks still. Held does not block and takes nothing.
// Errors are TryLock's.
func (o *Object) Held(i int) (held bool, err error) {
	defer annotate(&err, "look at lock of", o.title)
	err = o.withLock(i, func(offset int64) (e error) {
		held, e = o.lock.held(offset)
		return e
	})
	return held, err
}

func (o *Object) withLock(i int, f func(offset int64) error) error {
	if i < 0 || int64(i) > math.MaxInt64-LockBase-1 {
		return fmt.Errorf("there is no lock byte %d: %w", i, fs.ErrInvalid)
	}
	o.mu.RLock()
	defer o.mu.RUnlock()
	if o.mem == nil {
		return os.ErrClosed
	}
	return f(LockBase + int64(i))
}
