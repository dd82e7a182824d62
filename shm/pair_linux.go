package shm

import (
	"fmt"
	"os"

	"golang.org/x/sys/unix"
)

// An anonymous object for a stranger. FromFile trusts the file of a named object, which
// its owner can cut short, and makes the description for the locks through /proc, which
// a sandbox may not have. A pair needs neither trust nor /proc.

// Pair returns two descriptors of an anonymous object for [FromPair], in another
// process: of the memory, and of an open file description for that process's locks,
// which nobody else has once the caller has closed both. They are close-on-exec.
//
// The error [errors.Is] [ErrNotSealed] for an object that is not a sealed memfd,
// [os.ErrClosed] after Close, and tells what is wrong where /proc is missing.
func (o *Object) Pair() (mem, lock *os.File, err error) {
	defer annotate(&err, "pair", o.title)
	o.mu.RLock()
	defer o.mu.RUnlock()
	if o.mem == nil {
		return nil, nil, os.ErrClosed
	}
	fd := int(o.file.Fd())
	if err := mustBeSealed(fd); err != nil {
		return nil, nil, err
	}
	one, err := reopen(fd)
	if err != nil {
		return nil, nil, err
	}
	two, err := reopen(fd)
	if err != nil {
		closeFd(one)
		return nil, nil, err
	}
	return os.NewFile(uintptr(one), o.file.Name()), os.NewFile(uintptr(two), o.file.Name()), nil
}

// FromPair is [FromFile] for what came from another process's [Object.Pair], whoever
// that is: nothing but a memfd that is sealed against shrinking and growing is taken, and
// [Object.TryLock] works also where /proc is missing. lock must be a descriptor of
// the same file. Both stay the caller's, who closes them at once: a lock lasts
// until the last duplicate is closed.
//
// The errors are those of FromFile; fs.ErrInvalid when lock is of another file.
func FromPair(mem, lock *os.File, minSize int64) (_ *Object, err error) {
	if mem == nil || lock == nil {
		return nil, fmt.Errorf("shm: from pair: %w", os.ErrInvalid)
	}
	title := mem.Name()
	defer annotate(&err, "from pair", title)
	own := -1
	if err := control(mem, func(fd int) (err error) {
		if own, err = takeFile(fd); err != nil {
			return err
		}
		return mustBeSealed(own)
	}); err != nil {
		closeFd(own)
		return nil, err
	}
	file := os.NewFile(uintptr(own), title)
	o, err := mapWhole(file, minSize, "", title, func() (l lockFile) {
		if err := control(lock, func(fd int) (err error) {
			l, err = takeLock(fd, own)
			return err
		}); err != nil {
			return lockFile{-1, err}
		}
		return l
	})
	if err != nil {
		_ = file.Close()
		return nil, err
	}
	if o.lock.err != nil {
		err := o.lock.err
		_ = o.Close()
		return nil, err
	}
	return o, nil
}

// takeLock returns a description for locks: one of our own making, which nobody else ever
// had, else, without /proc, the one that was sent along.
func takeLock(fd, own int) (lockFile, error) {
	if l := lockFileOf(own, -1, ""); l.err == nil {
		return l, nil
	}
	want, err := fstat(own)
	if err != nil {
		return lockFile{}, err
	}
	have, err := fstat(fd)
	if err != nil {
		return lockFile{}, err
	}
	flags, err := unix.FcntlInt(uintptr(fd), unix.F_GETFL, 0)
	if err != nil {
		return lockFile{}, os.NewSyscallError("fcntl(F_GETFL)", err)
	}
	if !sameFile(&want, &have) || flags&unix.O_ACCMODE != unix.O_RDWR || flags&unix.O_PATH != 0 {
		return lockFile{}, fmt.Errorf("the descriptor for locks is not of that memory: %w", os.ErrInvalid)
	}
	d, err := dup(fd)
	return lockFile{fd: d}, err
}

func mustBeSealed(fd int) error {
	const fixed = unix.F_SEAL_SHRINK | unix.F_SEAL_GROW
	seals, err := unix.FcntlInt(uintptr(fd), unix.F_GET_SEALS, 0)
	if err != nil {
		return fmt.Errorf("%w: it has no seals at all: %w", ErrNotSealed, os.NewSyscallError("fcntl(F_GET_SEALS)", err))
	}
	if seals&fixed != fixed {
		return fmt.Errorf("%w (its seals are %#x)", ErrNotSealed, seals)
	}
	return nil
}

// control runs f with the descriptor of file, open meanwhile.
func control(file *os.File, f func(fd int) error) error {
	conn, err := file.SyscallConn() // not Fd, which would make it blocking
	if err != nil {
		return err
	}
	var inner error
	if err := conn.Control(func(fd uintptr) { inner = f(int(fd)) }); err != nil {
		return fmt.Errorf("%w: %w", os.ErrClosed, err) // only a closed file refuses this
	}
	return inner
}
